"""What is asked of the program's parts at every scrape: discovery, the voices kept, the engine, its device.

Each collector takes functions and knows nothing about who answers. An answer that fails leaves its series out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server import device
from server.registry import State
from server.voice_cache import Usage

log = logging.getLogger(__name__)


class Discovery(Collector):
    """The state that holds is 1, the others 0; and the registry's own counts."""

    def __init__(self, state: Callable[[], str], counts: Callable[[], Mapping[str, int]]) -> None:
        self._state = state
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        held = self._state()
        states = GaugeMetricFamily("glmtts_consul_state", "1 for the state of discovery that holds.", labels=["state"])
        for name in get_args(State):
            states.add_metric([name], float(name == held))
        yield states
        events = CounterMetricFamily("glmtts_consul_events", "What happened with Consul so far.", labels=["event"])
        for event, count in self._counts().items():
            events.add_metric([event], count)
        yield events


class VoicesKept(Collector):
    """How the cache of prepared voices does."""

    def __init__(self, usage: Callable[[], Usage]) -> None:
        self._usage = usage

    def collect(self) -> Iterator[Metric]:
        usage = self._usage()
        asked = CounterMetricFamily("glmtts_voice_cache_requests", "Voices asked for, by result.", labels=["result"])
        asked.add_metric(["hit"], usage.hits)
        asked.add_metric(["miss"], usage.misses)
        yield asked
        yield GaugeMetricFamily("glmtts_voice_cache_voices", "Prepared voices kept.", usage.voices)
        yield GaugeMetricFamily("glmtts_voice_cache_bytes", "Memory of the prepared voices.", usage.bytes)


class Device(Collector):
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
