"""The figures of a fault: from the batch's results, the streams, the nodes' logs and the observers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.faults.load import LoadResult, StreamResult

LENGTH_TOLERANCE = 0.25
"""Relative difference in length from the baseline that is allowed where nodes don't sample the same tokens twice."""
SAME_SOUND_TOLERANCE = 0.05
"""Two streams of the same tokens sound the same if the norm of their difference is at most this share of the norm."""


@dataclass(frozen=True)
class Times:
    """Seconds; None if there was no such event.

    `removed`: from the fault until Consul stops returning the node; `last_request`: until the last new request to it.
    `restored`: from recovery (from the fault itself where there is none) until Consul returns all nodes and lists no
    other.
    """

    removed: float | None = None
    last_request: float | None = None
    restored: float | None = None


@dataclass(frozen=True)
class Bounds:
    """Seconds that may not be exceeded: of a listener's silence, and until the last request to a dead node."""

    silence: float = 3.0
    last_request: float = 2.0


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True)
class FaultReport:
    """One row of the table.

    `wasted`: items that a node finished although another node did too. `joins`: where a node continued in the middle
    of another one's segment, `audible` of which can be heard. `max_wait_seconds`: the longest wait for samples.
    `max_silence_seconds`: the longest time that a listener in real time hears nothing. `same`: streams that sound like
    their baseline.
    """

    fault: str
    times: Times
    retried: int
    lost: int
    duplicated: int
    wasted: int
    streams: int
    broken: int
    joins: int
    audible: int
    max_wait_seconds: float
    max_silence_seconds: float
    same: int
    problems: Sequence[str]

    @property
    def passed(self) -> bool:
        return not (self.lost or self.duplicated or self.broken or self.problems)


def make_report(
    fault: str,
    load: LoadResult,
    times: Times,
    logs: Sequence[Path],
    baseline: Mapping[int, StreamResult],
    *,
    exact: bool,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> FaultReport:
    """`baseline`: each listener's stream without a fault. `exact`: nodes produce the same samples every time."""
    succeeded = Counter(entry["id"] for entry in load.results if entry["error"] is None)
    files = {entry["id"] for entry in load.results if "file" in entry and _has_content(load.folder / entry["file"])}
    defects = [d for s in load.streams if (d := _defect(s, baseline.get(s.listener), exact=exact))]
    segments = [report for stream in load.streams for report in stream.segments]
    joins = [join for report in segments for join in report.splice_points]
    comparable = [stream for stream in load.streams if stream.listener in baseline]
    return FaultReport(
        fault=fault,
        times=times,
        retried=sum(entry.get("attempts", 1) - 1 for entry in load.results)
        + sum(len(report.nodes) - 1 for report in segments)
        + sum(stream.cuts for stream in load.streams),
        lost=load.items - len(succeeded.keys() & files),
        duplicated=sum(succeeded.values()) - len(succeeded),
        wasted=wasted_responses(logs),
        streams=len(load.streams),
        broken=len(defects),
        joins=len(joins),
        audible=sum(not join.seamless for join in joins),
        max_wait_seconds=max((stream.max_wait_seconds for stream in load.streams), default=0.0),
        max_silence_seconds=max((stream.max_silence_seconds for stream in load.streams), default=0.0),
        same=sum(_sounds_the_same(stream, baseline[stream.listener]) for stream in comparable),
        problems=[*defects, *_failures(load, succeeded), *_exceeded(load, times, bounds)],
    )


def _failures(load: LoadResult, succeeded: Container[str]) -> list[str]:
    """Why items failed for good, and the batch itself."""
    failures = [f"{entry['id']}: {entry['error']}" for entry in load.results if entry["id"] not in succeeded]
    return [*failures, f"the batch: {load.failure}"] if load.failure else failures


def _exceeded(load: LoadResult, times: Times, bounds: Bounds) -> list[str]:
    """What took longer than it may."""
    expected = f"expected at most {bounds.silence:g} s of silence"
    exceeded = [
        f"listener {stream.listener}: {expected}, got {stream.max_silence_seconds:.1f} s"
        for stream in load.streams
        if stream.max_silence_seconds > bounds.silence
    ]
    if times.last_request is not None and times.last_request > bounds.last_request:
        expected = f"expected no request {bounds.last_request:g} s after the node died"
        exceeded.append(f"{expected}, got one after {times.last_request:.1f} s")
    return exceeded


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def wasted_responses(logs: Sequence[Path]) -> int:
    """Complete /tts responses beyond one for each request, from the nodes' logs."""
    responses: Counter[str] = Counter()
    for log in logs:
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = _request_entry(line)
            if entry.get("route") == "/tts" and entry.get("status") == 200 and "error" not in entry:
                # The client appends the number of the attempt to the request id.
                responses[str(entry["client_request_id"]).rpartition("-")[0]] += 1
    return sum(responses.values()) - len(responses)


def _request_entry(line: str) -> dict[str, object]:
    """The log entry of a request; empty for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:  # a line that was being written when the process was killed
        return {}
    return entry if isinstance(entry, dict) and entry.get("message") == "request" else {}


def _defect(stream: StreamResult, baseline: StreamResult | None, *, exact: bool) -> str:
    """What is wrong with a stream; "" if nothing is."""
    name = f"listener {stream.listener}"
    if stream.error or not stream.complete:
        return f"{name}: {stream.error or 'never ended'}"
    if not stream.audio:
        return f"{name}: no audio"
    if baseline is None:
        return ""
    if [report.text for report in stream.segments] != [report.text for report in baseline.segments]:
        return f"{name}: expected {len(baseline.segments)} segments, got {len(stream.segments)}"
    if exact and stream.audio != baseline.audio:
        return f"{name}: samples differ from the baseline ({stream.seconds:.2f} s, baseline {baseline.seconds:.2f} s)"
    if _length_difference(stream, baseline) > LENGTH_TOLERANCE:
        return f"{name}: expected about {baseline.seconds:.2f} s, got {stream.seconds:.2f} s"
    return ""


def _length_difference(stream: StreamResult, baseline: StreamResult) -> float:
    return abs(stream.seconds / baseline.seconds - 1) if baseline.seconds and stream.complete else 0.0


def _sounds_the_same(stream: StreamResult, baseline: StreamResult) -> bool:
    if len(stream.audio) != len(baseline.audio):
        return False
    one, other = (np.frombuffer(each.audio, "<i2").astype(np.float64) for each in (stream, baseline))
    return float(np.linalg.norm(one - other)) <= SAME_SOUND_TOLERANCE * float(np.linalg.norm(other))


HEADER = (
    "fault", "out of discovery (s)", "last new request (s)", "all back (s)", "retries", "items lost",
    "items duplicated", "wasted responses", "streams", "broken", "same sound", "joins (audible)", "longest wait (s)",
    "longest silence (s)",
)  # fmt: skip


def table(rows: Sequence[FaultReport], skipped: Mapping[str, str]) -> str:
    """The table in Markdown; `skipped` gives the reason for each fault that could not be injected."""
    lines = [HEADER, tuple("---" for _ in HEADER), *map(_cells, rows)]
    lines += [(fault, f"skipped: {reason}", *[""] * (len(HEADER) - 2)) for fault, reason in skipped.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: FaultReport) -> tuple[str, ...]:
    times = map(_seconds, (row.times.removed, row.times.last_request, row.times.restored))
    counts = (row.retried, row.lost, row.duplicated, row.wasted, row.streams, row.broken, row.same)
    waits = (f"{row.max_wait_seconds:.1f}", f"{row.max_silence_seconds:.1f}")
    return (row.fault, *times, *map(str, counts), f"{row.joins} ({row.audible})", *waits)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
