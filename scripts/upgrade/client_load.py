"""The load of a client, in a process: python -m scripts.upgrade.client_load CONSUL FOLDER CACHE_SECONDS [VERSION].

The client is the first `glmtts_client` on the path; with VERSION it uses that version of the model only. Runs until
SIGTERM, then writes summary.json into FOLDER.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

from glmtts_client import Cluster, Query, SpeechOptions
from glmtts_client.consul import ConsulAddress

from scripts.faults.load import LoadGenerator, LoadResult

ITEMS = 100_000
"""Of the batch: more than are ever spoken."""
JOBS, LISTENERS = 1, 3
RESULT_TIMEOUT = 300.0
WRITTEN = ("It is wri", "tten pie", "ce by piece. ", "A model wri", "tes it. ")
PIECE_SECONDS = 0.2


@dataclass
class Summary:
    """What a client noticed. `failures`: how requests ended that did not succeed, whatever their kind.

    `without_history`: segments, other than the first of a stream, that were spoken without the ones before them.
    """

    items: int = 0
    streams: int = 0
    sessions: int = 0
    failures: list[str] = field(default_factory=list)
    retries: int = 0
    cut: int = 0
    audible: int = 0
    without_history: int = 0
    segments: int = 0
    max_silence_seconds: float = 0.0
    versions: list[str] = field(default_factory=list)


class Sessions:
    """Speaks a text that is being written, over WebSockets, until `stop` is set."""

    def __init__(self, consul: str, version: str | None) -> None:
        self._cluster = Cluster(ConsulAddress(f"http://{consul}", ""), watch=True, query=Query(version=version))
        self.stop = threading.Event()
        self.count = 0
        self.failures: list[str] = []
        self.thread = threading.Thread(target=self._run, name="sessions", daemon=True)

    def _run(self) -> None:
        while not self.stop.is_set():
            self.count += 1
            try:
                with self._cluster.follow(_written(), SpeechOptions(seed=1)) as speech:
                    if not b"".join(speech):
                        self.failures.append("session: no audio")
            except Exception as error:  # any error is a result here
                self.failures.append(f"session: {type(error).__name__}: {error}")


def _written() -> Iterator[str]:
    for piece in WRITTEN:
        sleep(PIECE_SECONDS)
        yield piece


def main() -> None:
    consul, folder, cache_seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    version = (sys.argv[4:] or [None])[0]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    load = LoadGenerator(
        consul, "", folder, items=ITEMS, jobs=JOBS, cache=cache_seconds, listeners=LISTENERS, version=version
    )
    sessions = Sessions(consul, version)
    load.start()
    sessions.thread.start()
    stop.wait()
    for event in (load.stop_batch, load.stop_streams, sessions.stop):
        event.set()
    sessions.thread.join(RESULT_TIMEOUT)
    summary = summarize(load.result(RESULT_TIMEOUT), sessions)
    (folder / "summary.json").write_text(json.dumps(asdict(summary)))


def summarize(load: LoadResult, sessions: Sessions) -> Summary:
    """All that the batch, the listeners and the sessions noticed."""
    segments = [segment for stream in load.streams for segment in stream.segments]
    joins = [join for segment in segments for join in segment.splice_points]
    return Summary(
        items=len(load.results),
        streams=len(load.streams),
        sessions=sessions.count,
        failures=[*_failures(load), *sessions.failures],
        retries=sum(entry.get("attempts", 1) - 1 for entry in load.results)
        + sum(len(segment.nodes) - 1 for segment in segments),
        cut=len(joins),
        audible=sum(not join.seamless for join in joins),
        without_history=sum(not segment.used_history for segment in segments),
        segments=len(segments),
        max_silence_seconds=max((stream.max_silence_seconds for stream in load.streams), default=0.0),
        versions=sorted({entry["model_version"] for entry in load.results if "model_version" in entry}),
    )


def _failures(load: LoadResult) -> Iterator[str]:
    if load.failure:
        yield f"batch: {load.failure}"
    for entry in load.results:
        if problem := _problem(load.folder, entry):
            yield f"{entry['id']}: {problem}"
    for stream in load.streams:
        if not stream.complete or not stream.audio:
            yield f"listener {stream.listener}: {stream.error or 'never ended'}"


def _problem(folder: Path, entry: dict[str, Any]) -> str:
    if entry["error"] is not None:
        return str(entry["error"])
    file = folder / entry["file"]
    return "" if file.exists() and file.stat().st_size else "no file"


if __name__ == "__main__":
    main()
