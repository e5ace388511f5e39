"""Prometheus collectors, which read their values at every scrape: discovery, voice cache, engine, device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from glmtts.engine.stats import EngineStats, HistogramSnapshot, RedrawReason
from server.discovery.registration_state import Status
from server.observability import device
from server.voices.cache import CacheStats
from server.worker_pool import Workers

log = logging.getLogger(__name__)


class DiscoveryCollector(Collector):
    """The status of the Consul registration: 1 for the current one, 0 for the others; and its counts of events."""

    def __init__(self, status: Callable[[], str], counts: Callable[[], Mapping[str, int]]) -> None:
        self._status = status
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        current = self._status()
        states = GaugeMetricFamily(
            "glmtts_consul_state", "State of the Consul registration: 1 for the current one.", labels=["state"]
        )
        for status in get_args(Status):
            states.add_metric([status], float(status == current))
        yield states
        events = CounterMetricFamily(
            "glmtts_consul_events", "Registrations, heartbeats and failures with Consul.", labels=["event"]
        )
        for event, count in self._counts().items():
            events.add_metric([event], count)
        yield events


class VoiceCacheCollector(Collector):
    """Hits, misses and size of the cache of prepared voices."""

    def __init__(self, stats: Callable[[], CacheStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        lookups = CounterMetricFamily("glmtts_voice_cache_requests", "Voice cache lookups.", labels=["result"])
        lookups.add_metric(["hit"], stats.hits)
        lookups.add_metric(["miss"], stats.misses)
        yield lookups
        yield GaugeMetricFamily("glmtts_voice_cache_voices", "Prepared voices in the cache.", stats.voices)
        yield GaugeMetricFamily("glmtts_voice_cache_bytes", "Memory of the prepared voices.", stats.bytes)


class WorkersCollector(Collector):
    """How many texts and recordings wait to be prepared."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("glmtts_preparing_waiting", "Calls that wait for a thread.", labels=["kind"])
        for field in fields(self._workers):
            waiting.add_metric([field.name], getattr(self._workers, field.name).waiting)
        yield waiting


HISTOGRAMS = {
    "step_seconds": ("decode_step_seconds", "Duration of a decode step."),
    "step_rows": ("decode_step_rows", "Rows in a decode step (its batch size)."),
    "flow_rows": ("flow_step_rows", "Rows in a step of the flow (its batch size)."),
}
GAUGES = {
    "slots_total": ("kv_slots", "Slots of the KV cache."),
    "slots_used": ("kv_slots_used", "Slots of the KV cache in use."),
    "reserved_bytes": ("engine_reserved_bytes", "Memory for weights, KV cache and flow, fixed at startup."),
    "voice_cache_bytes": (
        "voice_prompt_cache_bytes",
        "Memory in use by the cache of voice prompts; part of the reserved bytes.",
    ),
    "buffered_seconds": ("buffered_seconds", "Seconds of audio made and not yet read by clients."),
    "backpressured_jobs": ("backpressured_jobs", "Jobs paused because their client does not read."),
    "realtime_ratio": ("engine_realtime_ratio", "Seconds of audio made per second of work, recently."),
}
COUNTERS = {
    "retries": ("batch_retries", "Batches that failed and were retried row by row."),
    "failures": ("engine_failures", "Jobs that ended with an error of the engine."),
    "voice_cache_hits": ("voice_prompt_cache_hits", "Jobs whose voice prompt was in the cache."),
    "voice_cache_misses": ("voice_prompt_cache_misses", "Jobs whose voice prompt had to be computed."),
}
"""For fields of EngineStats the name of the metric, without the prefix, and its help text."""


class EngineCollector(Collector):
    """The engine's statistics; metrics without samples while it is loading."""

    def __init__(self, stats: Callable[[], EngineStats | None]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()

        def value(field: str) -> Any:
            return None if stats is None else getattr(stats, field)

        for field, (name, text) in HISTOGRAMS.items():
            yield _histogram(f"glmtts_{name}", text, value(field))
        for field, (name, text) in GAUGES.items():
            yield GaugeMetricFamily(f"glmtts_{name}", text, value(field))
        for field, (name, text) in COUNTERS.items():
            yield CounterMetricFamily(f"glmtts_{name}", text, value(field))
        yield _redraws(stats)
        yield from _recorded_steps(stats)


def _redraws(stats: EngineStats | None) -> Metric:
    family = CounterMetricFamily("glmtts_redraws", "Segments drawn again for an implausible length.", labels=["reason"])
    if stats is not None:
        for reason in get_args(RedrawReason):
            family.add_metric([reason], stats.redraws.get(reason, 0))
    return family


def _recorded_steps(stats: EngineStats | None) -> Iterator[Metric]:
    shapes = GaugeMetricFamily("glmtts_recorded_shapes", "Shapes of a stage with a CUDA graph.", labels=["stage"])
    steps = CounterMetricFamily(
        "glmtts_recorded_steps",
        "Steps that were replayed from a CUDA graph, and plain ones whose shape has none.",
        labels=["stage", "launch"],
    )
    for stage, counts in stats.recorded_steps.items() if stats is not None else ():
        shapes.add_metric([stage], counts.shapes)
        steps.add_metric([stage, "replayed"], counts.replayed)
        steps.add_metric([stage, "plain"], counts.plain)
    yield shapes
    yield steps


def _histogram(name: str, text: str, histogram: HistogramSnapshot | None) -> Metric:
    family = HistogramMetricFamily(name, text)
    if histogram is not None:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        family.add_metric([], [*zip(bounds, histogram.cumulative, strict=True)], histogram.total)
    return family


class DeviceCollector(Collector):
    """Memory and utilization of the model's device; metrics without samples if they cannot be read."""

    def __init__(self) -> None:
        self.read: device.Reader | None = None

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily("glmtts_device_memory_bytes", "Memory of the device.", labels=["kind"])
        utilization = GaugeMetricFamily("glmtts_device_busy_ratio", "Utilization of the GPU, 0 to 1.")
        try:
            state = self.read() if self.read is not None else None
        except Exception:  # a GPU that fell off the bus must not stop the other metrics
            log.debug("while reading the state of the device", exc_info=True)
            state = None
        if state is not None:
            memory.add_metric(["used"], state.used_bytes)
            memory.add_metric(["total"], state.total_bytes)
            if state.utilization is not None:
                utilization.add_metric([], state.utilization)
        yield memory
        yield utilization
