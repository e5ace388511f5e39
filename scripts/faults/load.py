"""Who calls the herd: a batch of many items, and listeners who hear one text after the other meanwhile.

They use glmtts_client as anybody does; all of its settings are the default ones. Knows nothing about faults.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glmtts_client import Cluster, SpeechOptions
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
"""One for each listener: its sentences are its segments."""
SEED = 7
BYTES_PER_SAMPLE = 2


@dataclass
class Heard:
    """One story as its listener had it. `silence`: the longest wait for the next samples (s). `error`: if it broke."""

    listener: int
    audio: bytes = field(default=b"", repr=False)
    rate: int = 0
    silence: float = 0.0
    segments: tuple[SegmentReport, ...] = ()
    error: str = ""
    ended: bool = False

    @property
    def seconds(self) -> float:
        return len(self.audio) / BYTES_PER_SAMPLE / self.rate if self.rate else 0.0


@dataclass
class Work:
    """What callers got: the batch's results.jsonl and `folder` of files, and each story. `failure`: of the batch."""

    items: int
    folder: Path
    results: list[dict[str, Any]] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    failure: str = ""


class Callers:
    """Everybody who calls, at once, until `enough` is set and the batch is done; then `join`."""

    def __init__(self, consul: str, token: str, folder: Path, *, items: int, jobs: int, cache: float) -> None:
        address = ConsulAddress(f"http://{consul}", token)
        self._folder, self._source, self._jobs = folder / "out", folder / "in.jsonl", jobs
        self._source.write_text(
            "".join(
                json.dumps({"id": f"item-{n:03}", "text": SENTENCES[n % len(SENTENCES)], "seed": n}) + "\n"
                for n in range(items)
            )
        )
        # A program with a command's habits, and one that keeps its list fresh, as the README's does.
        self._batch_cluster = Cluster(address, retry=BATCH_RETRY, cache_seconds=cache)
        self._live_cluster = Cluster(address, cache_seconds=cache, watch=True)
        self.enough = threading.Event()
        self.done = 0
        self._work = Work(items, self._folder)
        self._live: dict[int, SpeechStream] = {}
        self._threads = [threading.Thread(target=self._batch, name="batch", daemon=True)]
        self._threads += [
            threading.Thread(target=self._listen, args=(n,), name=f"listener-{n}", daemon=True)
            for n in range(len(STORIES))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def batch_is_done(self) -> bool:
        return not self._threads[0].is_alive()

    def speaking(self, url: str) -> int:
        """How many listeners hear a segment that the node at `url` is in the middle of."""
        latest = [stream.segments[-1] for stream in list(self._live.values()) if stream.segments]
        return sum(report.nodes[-1:] == [url] and report.audio_seconds > 0 for report in latest)

    def work(self, patience: float) -> Work:
        """What came of it, when everybody is done; after `patience` s also of what is not."""
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._batch_cluster.close()
        self._live_cluster.close()
        lines = (self._folder / RESULTS_FILE).read_text(encoding="utf-8").splitlines()
        return replace(self._work, results=[json.loads(line) for line in lines])

    def _batch(self) -> None:
        try:
            run_batch(
                self._batch_cluster, read_items(self._source), self._folder, jobs=self._jobs, on_result=self._count
            )
        except BaseException as error:  # a thread's end says nothing
            self._work.failure = f"{type(error).__name__}: {error}"

    def _count(self, _entry: dict[str, Any] | None) -> None:
        self.done += 1

    def _listen(self, listener: int) -> None:
        while not (self.enough.is_set() and self.batch_is_done):
            self._work.heard.append(heard := Heard(listener))
            self._hear(heard)
            if heard.error:
                return

    def _hear(self, heard: Heard) -> None:
        options = SpeechOptions(seed=SEED + heard.listener)
        space = " " if STORIES[heard.listener][0].isascii() else ""
        stream = self._live_cluster.stream(space.join(STORIES[heard.listener]), options)
        self._live[heard.listener] = stream
        audio, last = bytearray(), 0.0
        try:
            for samples in stream:
                now = time.monotonic()
                heard.silence = max(heard.silence, now - last if last else 0.0)
                audio += samples
                last = time.monotonic()
            heard.ended = True
        except Exception as error:  # whatever it is, it is what this listener saw
            heard.error = f"{type(error).__name__}: {error}"
        del self._live[heard.listener]
        heard.audio, heard.segments = bytes(audio), stream.segments
        heard.rate = stream.sample_rate if audio else 0
