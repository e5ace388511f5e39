"""What came of a fault, in figures: from the batch's results, the streams, the nodes' logs and what was seen outside.

Knows nothing about how it came about.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.faults.load import Heard, Work

LENGTH = 0.25
"""By how much a story's length may differ from the undisturbed one where nodes do not draw the same tokens twice."""
SAME = 0.05
"""Two stories sound the same if their difference is no louder than this fraction: other sums, the same tokens."""


@dataclass(frozen=True)
class Times:
    """Seconds; None where there was no such thing.

    `out`: from the fault until discovery no longer hands the node out; `last`: until the last new request to it.
    `whole`: from the end of the fault, or from its beginning if nobody mends it, until discovery hands all nodes out.
    """

    out: float | None = None
    last: float | None = None
    whole: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table. `vain`: items that a node made to the end though another one did, too.

    `joins`: where a node went on in the midst of another one's segment, and how many of them are `audible`. `silence`:
    the longest wait for samples (s). `same`: streams that sound as they do undisturbed, sample for sample.
    """

    fault: str
    times: Times
    retried: int
    lost: int
    twice: int
    vain: int
    streams: int
    broken: int
    joins: int
    audible: int
    silence: float
    same: int
    troubles: Sequence[str]

    @property
    def good(self) -> bool:
        return not (self.lost or self.twice or self.broken or self.troubles)


def judge(fault: str, work: Work, times: Times, logs: Sequence[Path], calm: Mapping[int, Heard], *, exact: bool) -> Row:
    """`calm`: each story as it is undisturbed. `exact`: whether nodes make the very same samples each time."""
    made = Counter(entry["id"] for entry in work.results if entry["error"] is None)
    files = {entry["id"] for entry in work.results if "file" in entry and _filled(work.folder / entry["file"])}
    flaws = [flaw for story in work.heard if (flaw := _flaw(story, calm.get(story.listener), exact=exact))]
    segments = [report for story in work.heard for report in story.segments]
    joins = [join for report in segments for join in report.splice_points]
    known = [story for story in work.heard if story.listener in calm]
    return Row(
        fault=fault,
        times=times,
        retried=sum(entry.get("attempts", 1) - 1 for entry in work.results)
        + sum(len(report.nodes) - 1 for report in segments),
        lost=work.items - len(made.keys() & files),
        twice=sum(made.values()) - len(made),
        vain=made_in_vain(logs),
        streams=len(work.heard),
        broken=len(flaws),
        joins=len(joins),
        audible=sum(not join.seamless for join in joins),
        silence=max((story.silence for story in work.heard), default=0.0),
        same=sum(_same(story, calm[story.listener]) for story in known),
        troubles=[*flaws, *([f"the batch: {work.failure}"] if work.failure else [])],
    )


def _filled(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def made_in_vain(logs: Sequence[Path]) -> int:
    """Whole utterances that nodes made and sent to the end, beyond one for each request."""
    finished: Counter[str] = Counter()
    for log in logs:
        for line in log.read_text(encoding="utf-8").splitlines():
            facts = _facts(line)
            if facts.get("route") == "/tts" and facts.get("status") == 200 and "error" not in facts:
                # The client numbers its tries: the same request, another end.
                finished[str(facts["request_id"]).rpartition("-")[0]] += 1
    return sum(finished.values()) - len(finished)


def _facts(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:  # a line that a killed process did not finish
        return {}
    return found if isinstance(found, dict) and found.get("message") == "request" else {}


def _flaw(story: Heard, calm: Heard | None, *, exact: bool) -> str:
    """What is wrong with a stream; "" if nothing is."""
    who = f"listener {story.listener}"
    if story.error or not story.ended:
        return f"{who}: {story.error or 'never ended'}"
    if not story.audio:
        return f"{who}: no sound"
    if calm is None:
        return ""
    if [report.text for report in story.segments] != [report.text for report in calm.segments]:
        return f"{who}: {len(story.segments)} segments instead of {len(calm.segments)}"
    if exact and story.audio != calm.audio:
        return f"{who}: other samples than undisturbed ({story.seconds:.2f} instead of {calm.seconds:.2f} s)"
    if _stretch(story, calm) > LENGTH:
        return f"{who}: {story.seconds:.2f} s instead of {calm.seconds:.2f} s"
    return ""


def _stretch(story: Heard, calm: Heard) -> float:
    return abs(story.seconds / calm.seconds - 1) if calm.seconds and story.ended else 0.0


def _same(story: Heard, calm: Heard) -> bool:
    if len(story.audio) != len(calm.audio):
        return False
    one, other = (np.frombuffer(each.audio, "<i2").astype(np.float64) for each in (story, calm))
    return float(np.linalg.norm(one - other)) <= SAME * float(np.linalg.norm(other))


HEAD = (
    "fault", "out of discovery (s)", "last new request (s)", "all back (s)", "requests retried", "items lost",
    "items made twice", "made in vain", "streams", "broken", "same sound", "joins (audible)",
    "longest wait (s)",
)  # fmt: skip


def table(rows: Sequence[Row], skipped: Mapping[str, str]) -> str:
    """Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *map(_cells, rows)]
    lines += [(fault, f"skipped: {why}", *[""] * (len(HEAD) - 2)) for fault, why in skipped.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    times = (_seconds(row.times.out), _seconds(row.times.last), _seconds(row.times.whole))
    counts = (row.retried, row.lost, row.twice, row.vain, row.streams, row.broken, row.same)
    return (row.fault, *times, *map(str, counts), f"{row.joins} ({row.audible})", f"{row.silence:.1f}")


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
