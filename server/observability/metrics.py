"""What is counted, for Prometheus. Labels are bounded sets: route, status, reason; never a voice or a text.

Each instance has a registry of its own. What is read at every scrape instead is in server.observability.collectors.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from glmtts.engine.api import EngineInfo
from server.cluster_config import KEYS
from server.observability import collectors
from server.observability.device import reader
from server.observability.request_log import Cancellation, RequestRecord

FIRST_AUDIO = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
QUEUE = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
UNDERRUN = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
STAGE = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
RATIOS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)

REJECTIONS = ("busy", "queue_timeout", "loading", "draining", "device_memory")
"""Error codes of what was asked rightly and not done for want of room."""
FINISHES = ("stop", "length", "cancelled", "error")
STAGES = ("text", "voice", "prefill", "decode", "flow", "vocoder", "send")


class Metrics:
    """The series of one process."""

    def __init__(self) -> None:
        # A second series for each one, with the time of its birth, that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._device = collectors.DeviceCollector()
        self.register(self._device)
        self._requests = self._counter("requests", "Answers, by route and status.", "route", "status", "via_consul")
        self._rejections = self._counter("rejections", "Requests refused for want of room.", reason=REJECTIONS)
        self._cancellations = self._counter(
            "cancellations", "Jobs cancelled: disconnected, slow_reader or shutdown.", reason=get_args(Cancellation)
        )
        self._finishes = self._counter("finished", "Jobs ended; length is an anomaly.", reason=FINISHES)
        self._broken = self._counter("broken_streams", "Streams that a fault of ours broke off after their first byte.")
        self._audio = self._counter("audio_seconds", "Seconds of audio made.")
        self._characters = self._counter("characters", "Characters of the texts taken on.")
        self._tokens = self._counter("speech_tokens", "Speech tokens drawn.")
        self._queue = self._histogram("queue_seconds", "Seconds in line.", QUEUE)
        self._first = self._histogram("first_audio_seconds", "Seconds from request to first audio.", FIRST_AUDIO)
        self._underrun = self._histogram(
            "underrun_seconds", "Silence that a listener at real time had to bear within a stream.", UNDERRUN
        )
        self._rtf = self._histogram("real_time_factor", "Seconds of work a second of audio.", RATIOS)
        self._stages = self._histogram("stage_seconds", "Seconds of a request in a stage.", STAGE, stage=STAGES)
        self._changes = self._counter(
            "shared_config_changes",
            "Changed documents of it, by what came of them.",
            key=KEYS,
            result=("applied", "refused"),
        )
        self.drain_cut = self._counter("drain_cut_requests", "Requests cut off when the drain timed out.")
        self._load = Gauge("glmtts_load_seconds", "How long loading and warming up took.", registry=self.registry)
        labels = ["model", "model_version", "device"]
        self._build = Gauge("glmtts_build_info", "1, labelled with what was loaded.", labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str, **bounded: tuple[str, ...]) -> Counter:
        """A counter. A label whose values are given has them from the start, at 0: so the first one is an increase."""
        counter = Counter(f"glmtts_{name}", text, [*labels, *bounded], registry=self.registry)
        for values in product(*bounded.values()) if bounded else ():
            counter.labels(*values)
        return counter

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], **bounded: tuple[str, ...]) -> Histogram:
        histogram = Histogram(f"glmtts_{name}", text, [*bounded], buckets=buckets, registry=self.registry)
        for values in product(*bounded.values()) if bounded else ():
            histogram.labels(*values)
        return histogram

    def add_gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge that is asked for its value at every scrape."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def register(self, *collectors: Collector) -> None:
        """Collectors that are asked at every scrape."""
        for collector in collectors:
            self.registry.register(collector)

    def set_model_info(self, info: EngineInfo, seconds: float) -> None:
        """Notes what was loaded, how long it took, and on what device."""
        self._build.labels(info.model, info.model_version, info.device).set(1)
        self._load.set(seconds)
        self._device.read = reader(info.device)

    def observe_config_change(self, key: str, result: str) -> None:
        """Counts a document of the shared configuration; `result` is applied or refused."""
        self._changes.labels(key, result).inc()

    def observe_request(self, record: RequestRecord) -> None:
        """Counts a finished request."""
        self._requests.labels(record.route, str(record.status), str(record.via_consul).lower()).inc()
        if record.error in REJECTIONS and record.status != 200:
            self._rejections.labels(record.error).inc()
        for stage, seconds in record.timings().items():
            if stage in STAGES and record.characters is not None:
                self._stages.labels(stage).observe(seconds)
        if record.report is not None:
            self._count_job(record)

    def _count_job(self, record: RequestRecord) -> None:
        report = record.report
        assert report is not None
        self._finishes.labels(report.finish_reason or "error").inc()
        if (reason := record.cancellation()) is not None:
            self._cancellations.labels(reason).inc()
        elif record.status == 200 and record.error not in (None, "draining"):
            self._broken.inc()
        self._characters.inc(record.characters or 0)
        self._audio.inc(report.audio_seconds)
        self._tokens.inc(report.speech_tokens)
        if "queue" in report.stage_seconds:
            self._queue.observe(report.stage_seconds["queue"])
        if record.first_audio is not None:
            self._first.observe(record.first_audio)
        if record.first_audio is not None and record.underrun_meter is not None:
            self._underrun.observe(record.underrun_meter.underrun_seconds)
        if (rtf := record.rtf()) is not None and record.error is None:
            self._rtf.observe(rtf)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
