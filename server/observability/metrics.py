"""The Prometheus metrics of the server. Labels have few values: route, status, reason; never a voice or a text.

Values that are read at every scrape are in server.observability.collectors.
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

from glmtts.engine.api import EngineInfo, FinishReason, Report
from server.cluster_config import KEYS
from server.observability import collectors
from server.observability.device import make_reader
from server.observability.request_log import Cancellation, RequestRecord

TTFA_BUCKETS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
QUEUE_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
UNDERRUN_BUCKETS = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
STAGE_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
RTF_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)

REJECTIONS = ("busy", "queue_timeout", "loading", "draining", "device_memory")
"""Error codes of valid requests that are rejected for lack of capacity."""
FINISH_REASONS = get_args(FinishReason)
STAGES = ("text", "voice", "prefill", "decode", "flow", "vocoder", "send")


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        # prometheus_client would add a `_created` series to each metric.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._device = collectors.DeviceCollector()
        self.register(self._device)
        self._requests = self._counter("requests", "Responses by route and status.", "route", "status", "via_consul")
        self._rejections = self._counter("rejections", "Requests rejected for lack of capacity.", reason=REJECTIONS)
        self._cancellations = self._counter(
            "cancellations", "Jobs cancelled: disconnected, slow_reader or shutdown.", reason=get_args(Cancellation)
        )
        self._finishes = self._counter(
            "finished", "Finished jobs; length and implausible are anomalies.", reason=FINISH_REASONS
        )
        self._broken = self._counter("broken_streams", "Streams cut off by an error of the server.")
        self._audio = self._counter("audio_seconds", "Seconds of audio generated.")
        self._characters = self._counter("characters", "Characters of the texts of all jobs.")
        self._tokens = self._counter("speech_tokens", "Speech tokens generated.")
        self._queue = self._histogram("queue_seconds", "Seconds that jobs waited in the queue.", QUEUE_BUCKETS)
        self._first = self._histogram("first_audio_seconds", "Seconds from request to first audio.", TTFA_BUCKETS)
        self._underrun = self._histogram(
            "underrun_seconds", "Seconds of silence within a stream for a listener in real time.", UNDERRUN_BUCKETS
        )
        self._rtf = self._histogram("real_time_factor", "Seconds of work per second of audio.", RTF_BUCKETS)
        self._stages = self._histogram("stage_seconds", "Seconds of a request per stage.", STAGE_BUCKETS, stage=STAGES)
        self._changes = self._counter(
            "shared_config_changes",
            "Changes of the shared configuration by document and result.",
            key=KEYS,
            result=("applied", "refused"),
        )
        self.drain_cut = self._counter("drain_cut_requests", "Requests cut off when the drain timed out.")
        self._load = Gauge("glmtts_load_seconds", "Seconds that loading and warming up took.", registry=self.registry)
        labels = ["model", "model_version", "device"]
        self._build = Gauge("glmtts_build_info", "1, labelled with the loaded model.", labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str, **bounded: tuple[str, ...]) -> Counter:
        """A counter. `bounded` labels start at 0 for each of their values, so that the first event is an increase."""
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
        """Adds a gauge that calls `value` at every scrape."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def register(self, *collectors: Collector) -> None:
        """Adds collectors."""
        for collector in collectors:
            self.registry.register(collector)

    def set_model_info(self, info: EngineInfo, seconds: float) -> None:
        """Sets the loaded model, the seconds that loading took, and the device to watch."""
        self._build.labels(info.model, info.model_version, info.device).set(1)
        self._load.set(seconds)
        self._device.read = make_reader(info.device)

    def observe_config_change(self, key: str, result: str) -> None:
        """Counts a change of the shared configuration; `result` is applied or refused."""
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
            self._observe_job(record, record.report)

    def _observe_job(self, record: RequestRecord, report: Report) -> None:
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
        if record.first_audio_seconds is not None:
            self._first.observe(record.first_audio_seconds)
        if record.first_audio_seconds is not None and record.underrun_meter is not None:
            self._underrun.observe(record.underrun_meter.underrun_seconds)
        if (rtf := record.rtf()) is not None and record.error is None:
            self._rtf.observe(rtf)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
