"""What is counted, for Prometheus. Labels are bounded sets: route, status, reason; never a voice or a text.

Each instance has a registry of its own. Knows nothing about requests but their Record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.records import Record
from server.shared import KEYS

if TYPE_CHECKING:  # glmtts.engine imports torch, which this package does without
    from glmtts.engine.job import EngineInfo

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0)
RATIOS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class _Discovery(Collector):
    """The state that holds as a labelled 1, and the registry's own counts."""

    def __init__(self, state: Callable[[], str], counts: Callable[[], Mapping[str, int]]) -> None:
        self._state = state
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        state = GaugeMetricFamily("glmtts_consul_state", "1 for the state of discovery.", labels=["state"])
        state.add_metric([self._state()], 1.0)
        yield state
        events = CounterMetricFamily("glmtts_consul_events", "What happened with Consul so far.", labels=["event"])
        for event, count in self._counts().items():
            events.add_metric([event], count)
        yield events


class Metrics:
    """The series of one process."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self._requests = Counter(
            "glmtts_requests", "Answers, by route and status.", ["route", "status", "via_consul"], registry=own
        )
        self._rejections = Counter("glmtts_rejections", "Refused speech requests, by reason.", ["reason"], registry=own)
        self._audio = Counter("glmtts_audio_seconds", "Seconds of audio made.", registry=own)
        self._queue = Histogram("glmtts_queue_seconds", "Seconds in line.", buckets=SECONDS, registry=own)
        self._first = Histogram(
            "glmtts_first_audio_seconds", "Seconds from request to first audio.", buckets=SECONDS, registry=own
        )
        self._rtf = Histogram(
            "glmtts_real_time_factor", "Seconds of work a second of audio.", buckets=RATIOS, registry=own
        )
        self._disconnects = Counter("glmtts_disconnects", "Callers who hung up before the end.", registry=own)
        self.cut = Counter("glmtts_drain_cut_requests", "Requests cut at the end of the grace.", registry=own)
        self._changes = Counter(
            "glmtts_shared_config_changes",
            "Documents of the shared configuration that changed, applied or refused.",
            ["key", "result"],
            registry=own,
        )
        for key, result in product(KEYS, ("applied", "refused")):  # there at 0, so that the first one is an increase
            self._changes.labels(key, result)
        self._build = Gauge(
            "glmtts_build_info", "1, labelled with what was loaded.", ["model", "model_version", "device"], registry=own
        )

    def watch(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge that is asked for its value at every scrape."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def loaded(self, info: EngineInfo) -> None:
        """Notes what was loaded."""
        self._build.labels(info.model, info.model_version, info.device).set(1)

    def config_changed(self, key: str, result: str) -> None:
        """Counts a document of the shared configuration; `result` is applied or refused."""
        self._changes.labels(key, result).inc()

    def watch_discovery(self, state: Callable[[], str], counts: Callable[[], Mapping[str, int]]) -> None:
        """How the registration in Consul stands, asked at every scrape."""
        self.registry.register(_Discovery(state, counts))

    def count(self, record: Record) -> None:
        """Counts a finished request."""
        self._requests.labels(record.route, str(record.status), str(record.via_consul).lower()).inc()
        if record.error == "cancelled":
            self._disconnects.inc()
        if record.status in (429, 503, 507) and record.route.startswith("/tts"):
            self._rejections.labels(record.error or "unknown").inc()
        if record.report is None:
            return
        self._audio.inc(record.report.audio_seconds)
        if "queue" in record.report.stage_seconds:
            self._queue.observe(record.report.stage_seconds["queue"])
        if record.first_audio is not None:
            self._first.observe(record.first_audio)
        if (rtf := record.rtf()) is not None and record.error is None:
            self._rtf.observe(rtf)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
