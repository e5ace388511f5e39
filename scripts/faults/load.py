"""The load on a cluster: a batch of many items, and listeners that stream one text after the other meanwhile.

It uses glmtts_client as anybody would; the client's settings are the defaults.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from glmtts_client import Cluster, Query, SpeechOptions
from glmtts_client.batch.items import read_items
from glmtts_client.batch.output_folder import RESULTS_FILE
from glmtts_client.batch.runner import BATCH_RETRY, run_batch
from glmtts_client.consul import ConsulAddress
from glmtts_client.failover_stream import SegmentReport
from glmtts_client.stream import SpeechStream

SENTENCES = (
    "Please come in.", "请进来坐吧。", "The door is open.", "今天天气很好。", "We begin at nine.", "他在看书。",
    "She likes the sea.", "我们走吧。", "It rained all night.", "月亮出来了。",
)  # fmt: skip
STORIES = (
    ("The children ran down to the river.", "The water was cold and clear.", "They stayed until the sun went down."),
    ("老人坐在火炉旁边看报纸。", "外面的风吹动着树枝。", "孩子们在隔壁的房间里唱歌。"),
    ("A letter came in the morning.", "Nobody knew who had sent it.", "It lay on the table all day."),
    ("他每天早上都去公园。", "那里有很多树和花。", "他坐在湖边听鸟叫。"),
    ("The train was late again.", "People looked at their watches.", "Then they heard it in the distance."),
    ("春天来了，雪慢慢地化了。", "小河又开始流动。", "田里的人都很高兴。"),
)
"""The text of each listener, a sentence a segment."""
SEED = 7
BYTES_PER_SAMPLE = 2


@dataclass
class StreamResult:
    """One stream as its listener received it.

    `audio`: 16-bit little-endian samples. `max_wait_seconds`: the longest wait between two chunks.
    `max_silence_seconds`: the longest time without sound for someone who plays the stream in real time from its first
    samples on, the time from the request to these included. `error`: "" if the stream was not interrupted. `cuts`: how
    often it was cut, seen as cut and asked for again.
    """

    listener: int
    audio: bytes = field(default=b"", repr=False)
    sample_rate: int = 0
    max_wait_seconds: float = 0.0
    segments: tuple[SegmentReport, ...] = ()
    error: str = ""
    complete: bool = False
    max_silence_seconds: float = 0.0
    cuts: int = 0

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return len(self.audio) / BYTES_PER_SAMPLE / self.sample_rate if self.sample_rate else 0.0


class Playout:
    """Someone who plays a stream in real time from its first samples on, waiting since `start`."""

    def __init__(self, start: float) -> None:
        self._end = start
        self.max_silence_seconds = 0.0

    def on_samples(self, now: float, seconds: float) -> None:
        """Samples of so many seconds arrive."""
        self.max_silence_seconds = max(self.max_silence_seconds, now - self._end)
        self._end = max(self._end, now) + seconds


@dataclass
class LoadResult:
    """The batch's results.jsonl, the `folder` of its audio files, every stream, and how the batch failed ("": not)."""

    items: int
    folder: Path
    results: list[dict[str, Any]] = field(default_factory=list)
    streams: list[StreamResult] = field(default_factory=list)
    failure: str = ""


def undisturbed(streams: Sequence[StreamResult]) -> dict[int, StreamResult]:
    """The first stream of each listener that was not cut."""
    return {stream.listener: stream for stream in reversed(streams) if stream.complete and not stream.cuts}


class Load(Protocol):
    """What loads a cluster. It runs until `stop_streams` is set and the batch is done; then call `result`."""

    stop_streams: threading.Event

    def start(self) -> None: ...

    @property
    def items_done(self) -> int: ...

    @property
    def batch_is_done(self) -> bool: ...

    def streams_from(self, url: str) -> int:
        """How many listeners are in the middle of a stream from the node at `url`."""
        ...

    def result(self, timeout: float) -> LoadResult:
        """Waits until all threads have ended, at most `timeout` seconds; unfinished streams are incomplete."""
        ...


class LoadGenerator:
    """Runs until `stop_streams` is set and the batch is done; then call `result`.

    `consul`: address of the agent. `jobs`: items of the batch at a time. `cache`: seconds for which clients reuse the
    list of nodes. `listeners`: at most as many as there are texts. `version`: of the model, the only one that is used.
    After `stop_batch` no further item is begun.
    """

    def __init__(
        self,
        consul: str,
        token: str,
        folder: Path,
        *,
        items: int,
        jobs: int,
        cache: float,
        listeners: int = len(STORIES),
        version: str | None = None,
    ) -> None:
        address = ConsulAddress(f"http://{consul}", token)
        self._folder, self._source, self._jobs = folder / "out", folder / "in.jsonl", jobs
        self._source.write_text(
            "".join(
                json.dumps({"id": f"item-{n:03}", "text": SENTENCES[n % len(SENTENCES)], "seed": n}) + "\n"
                for n in range(items)
            )
        )
        # One client as the command line uses it, one with the defaults, and one that watches Consul.
        query = Query(version=version)
        self._batch_cluster = Cluster(address, retry=BATCH_RETRY, cache_seconds=cache, query=query)
        self._stream_clusters = [
            Cluster(address, cache_seconds=cache, watch=watch, query=query) for watch in (True, False)
        ]
        self.stop_batch = threading.Event()
        self.stop_streams = threading.Event()
        self.items_done = 0
        self._result = LoadResult(items, self._folder)
        self._current: dict[int, SpeechStream] = {}
        self._threads = [threading.Thread(target=self._run_batch, name="batch", daemon=True)]
        self._threads += [
            threading.Thread(target=self._stream_repeatedly, args=(n,), name=f"listener-{n}", daemon=True)
            for n in range(listeners)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def batch_is_done(self) -> bool:
        return not self._threads[0].is_alive()

    def streams_from(self, url: str) -> int:
        """How many listeners are in the middle of a segment from the node at `url`."""
        latest = [stream.segments[-1] for stream in list(self._current.values()) if stream.segments]
        return sum(report.nodes[-1:] == [url] and report.audio_seconds > 0 for report in latest)

    def result(self, timeout: float) -> LoadResult:
        """Waits until all threads have ended, at most `timeout` seconds; unfinished streams are incomplete."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._batch_cluster.close()
        for cluster in self._stream_clusters:
            cluster.close()
        lines = (self._folder / RESULTS_FILE).read_text(encoding="utf-8").splitlines()
        return replace(self._result, results=[json.loads(line) for line in lines])

    def _run_batch(self) -> None:
        try:
            run_batch(
                self._batch_cluster,
                read_items(self._source),
                self._folder,
                jobs=self._jobs,
                on_result=self._count,
                stop=self.stop_batch,
            )
        except BaseException as error:  # otherwise the thread would end without a trace
            self._result.failure = f"{type(error).__name__}: {error}"

    def _count(self, _entry: dict[str, Any] | None) -> None:
        self.items_done += 1

    def _stream_repeatedly(self, listener: int) -> None:
        while not (self.stop_streams.is_set() and self.batch_is_done):
            self._result.streams.append(result := StreamResult(listener))
            self._stream_once(result)
            if result.error:
                return

    def _stream_once(self, result: StreamResult) -> None:
        """Fills in `result`."""
        options = SpeechOptions(seed=SEED + result.listener)
        space = " " if STORIES[result.listener][0].isascii() else ""
        cluster = self._stream_clusters[result.listener % len(self._stream_clusters)]
        stream = cluster.stream(space.join(STORIES[result.listener]), options)
        self._current[result.listener] = stream
        audio, last = bytearray(), 0.0
        playout = Playout(time.monotonic())
        try:
            for samples in stream:
                now = time.monotonic()
                result.max_wait_seconds = max(result.max_wait_seconds, now - last if last else 0.0)
                playout.on_samples(now, len(samples) / BYTES_PER_SAMPLE / stream.sample_rate)
                audio += samples
                last = time.monotonic()
            result.complete = True
        except Exception as error:  # any error is a result here
            result.error = f"{type(error).__name__}: {error}"
        result.max_silence_seconds = playout.max_silence_seconds
        del self._current[result.listener]
        result.audio, result.segments = bytes(audio), stream.segments
        result.sample_rate = stream.sample_rate if audio else 0
