"""What is asked of the program's parts at every scrape: discovery, the voices kept, the engine, its device.

Each collector takes functions and knows nothing about who answers. An answer that fails leaves its series out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from glmtts.engine.stats import EngineStats, HistogramSnapshot
from server.discovery.registration_state import Status
from server.observability import device
from server.voices.cache import CacheStats

log = logging.getLogger(__name__)


class DiscoveryCollector(Collector):
    """The state that holds is 1, the others 0; and the registry's own counts."""

    def __init__(self, state: Callable[[], str], counts: Callable[[], Mapping[str, int]]) -> None:
        self._state = state
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        held = self._state()
        states = GaugeMetricFamily("glmtts_consul_state", "1 for the state of discovery that holds.", labels=["state"])
        for name in get_args(Status):
            states.add_metric([name], float(name == held))
        yield states
        events = CounterMetricFamily("glmtts_consul_events", "What happened with Consul so far.", labels=["event"])
        for event, count in self._counts().items():
            events.add_metric([event], count)
        yield events


class VoiceCacheCollector(Collector):
    """How the cache of prepared voices does."""

    def __init__(self, stats: Callable[[], CacheStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        asked = CounterMetricFamily("glmtts_voice_cache_requests", "Voices asked for, by result.", labels=["result"])
        asked.add_metric(["hit"], stats.hits)
        asked.add_metric(["miss"], stats.misses)
        yield asked
        yield GaugeMetricFamily("glmtts_voice_cache_voices", "Prepared voices kept.", stats.voices)
        yield GaugeMetricFamily("glmtts_voice_cache_bytes", "Memory of the prepared voices.", stats.bytes)


HISTOGRAMS = {
    "step_seconds": ("decode_step_seconds", "Seconds of a decode step."),
    "step_rows": ("decode_step_rows", "Rows in a decode step: the batch."),
    "flow_rows": ("flow_step_rows", "Rows in a solver step of the flow."),
}
GAUGES = {
    "slots_total": ("kv_slots", "Slots of the KV cache."),
    "slots_used": ("kv_slots_used", "Slots that a job holds."),
    "reserved_bytes": ("engine_reserved_bytes", "Memory of weights, KV cache and flow, fixed at start."),
    "voice_cache_bytes": (
        "voice_prompt_cache_bytes",
        "Memory in use by the cache of voice prompts; part of the reserved bytes.",
    ),
    "buffered_seconds": ("buffered_seconds", "Seconds of audio made and not yet read by clients."),
    "backpressured_jobs": ("backpressured_jobs", "Jobs paused because their client does not read."),
    "realtime_ratio": ("engine_realtime_ratio", "Seconds of audio made per second of work, recently."),
}
COUNTERS = {
    "retries": ("batch_retries", "Batches that failed and were tried again row by row."),
    "failures": ("engine_failures", "Jobs that ended by a fault of ours."),
    "voice_cache_hits": ("voice_prompt_cache_hits", "Jobs whose voice prompt was in the cache."),
    "voice_cache_misses": ("voice_prompt_cache_misses", "Jobs whose voice prompt had to be computed."),
}
"""Fields of EngineStats: the name that each has here, and its text."""


class EngineCollector(Collector):
    """What the engine says of its steps, its slots and what it makes; names without values while it loads."""

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


def _histogram(name: str, text: str, histogram: HistogramSnapshot | None) -> Metric:
    family = HistogramMetricFamily(name, text)
    if histogram is not None:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        family.add_metric([], [*zip(bounds, histogram.cumulative, strict=True)], histogram.total)
    return family


class DeviceCollector(Collector):
    """Memory and load of the model's device; names without values while it is not known, or does not tell."""

    def __init__(self) -> None:
        self.read: device.Reader | None = None

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily("glmtts_device_memory_bytes", "Memory of the device.", labels=["kind"])
        busy = GaugeMetricFamily("glmtts_device_busy_ratio", "Share of time that the GPU was at work, 0 to 1.")
        try:
            state = self.read() if self.read is not None else None
        except Exception:  # a GPU that fell off the bus must not take the other series along
            log.debug("while asking the device", exc_info=True)
            state = None
        if state is not None:
            memory.add_metric(["used"], state.used)
            memory.add_metric(["total"], state.total)
            if state.busy is not None:
                busy.add_metric([], state.busy)
        yield memory
        yield busy
