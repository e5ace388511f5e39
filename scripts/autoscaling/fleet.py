"""The nodes of a cluster on this machine, of which an autoscaler starts and stops some; with Consul and Prometheus."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from scripts.autoscaling.scaled_object import scalar
from scripts.cluster import HOST, fake_voices, prometheus_config, start_consul, start_node, start_prometheus
from scripts.processes import Processes, free_ports

SERVICE = "glm-tts"
QUERY_TIMEOUT = 10.0
DRAIN_TIMEOUT = 120.0
PASSING_TIMEOUT = 120.0
_WINDOW = re.compile(r"\[5m\]")
FIVE_MINUTES = 300.0
MIN_SCRAPES = 4
"""In a window, so that a rate has enough points."""


@dataclass
class Fleet:
    """`ports`: of the nodes that should run, the oldest first. `loading`: seconds from start to passing, of each."""

    processes: Processes
    checkpoint: str
    region: str
    consul: int = 0
    prometheus: int = 0
    voices: Mapping[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)
    _started: dict[int, float] = field(default_factory=dict)
    _draining: list[str] = field(default_factory=list)

    def start(self, nodes: int, interval: float, speedup: float) -> None:
        """Starts Consul, Prometheus and so many nodes, and waits until they pass. `interval`: of scrapes and rules (s).

        The windows of rules are shorter by `speedup`.
        """
        self.consul, self.prometheus, *inner = free_ports(5)
        start_consul(self.processes, self.consul, inner)
        config = prometheus_config(self.consul, f"{interval * 1000:.0f}ms")
        config["rule_files"] = [str(self._rules(Path(config["rule_files"][0]), interval, speedup))]
        start_prometheus(self.processes, self.prometheus, config)
        self.voices = fake_voices(self.processes.logs)
        for _ in range(nodes):
            self.add()
        deadline = time.monotonic() + PASSING_TIMEOUT
        while len(self.passing()) < nodes:
            if time.monotonic() > deadline:
                raise RuntimeError(f"fewer than {nodes} nodes pass after {PASSING_TIMEOUT:g} s")
            time.sleep(0.2)

    def _rules(self, file: Path, interval: float, speedup: float) -> Path:
        seconds = max(FIVE_MINUTES / speedup, MIN_SCRAPES * interval)
        copy = self.processes.logs / file.name
        copy.write_text(_WINDOW.sub(f"[{seconds * 1000:.0f}ms]", file.read_text("utf-8")), "utf-8")
        return copy

    @property
    def agent(self) -> str:
        return f"{HOST}:{self.consul}"

    def scale(self, change: int) -> None:
        """Starts nodes, or drains the newest ones; returns at once."""
        for _ in range(change):
            self.add()
        for _ in range(-change):
            name = f"node-{self.ports.pop()}"
            self.processes.running[name].terminate()
            self._draining.append(name)

    def add(self) -> None:
        [port] = free_ports(1)
        start_node(self.processes, port, self.consul, self.checkpoint, {"GLMTTS_REGION": self.region, **self.voices})
        self.ports.append(port)
        self._started[port] = time.monotonic()

    def passing(self) -> list[str]:
        """URLs of the nodes that Consul returns now."""
        url = f"http://{self.agent}/v1/health/service/{SERVICE}"
        entries = requests.get(url, {"passing": "1"}, timeout=QUERY_TIMEOUT).json()
        ports = [int(entry["Service"]["Port"]) for entry in entries]
        for port in ports:
            if (started := self._started.pop(port, None)) is not None:
                self.loading.append(time.monotonic() - started)
        return [f"http://{HOST}:{port}" for port in ports]

    def ask(self, query: str) -> float:
        """The value of a query to Prometheus. Raises requests' errors and ValueError."""
        url = f"http://{HOST}:{self.prometheus}/api/v1/query"
        response = requests.get(url, {"query": query}, timeout=QUERY_TIMEOUT)
        response.raise_for_status()
        return scalar(response.json()["data"]["result"])

    def wait_for_drains(self) -> list[int]:
        """The exit statuses of the nodes that were drained."""
        return [self.processes.running.pop(name).wait(DRAIN_TIMEOUT) for name in self._draining]


def every(seconds: float, goes_on: Callable[[], bool], action: Callable[[float], None]) -> None:
    """Calls `action(now)` every so many seconds, as long as `goes_on()`; the time is that of the monotonic clock."""
    following = time.monotonic()
    while goes_on():
        action(time.monotonic())
        following = max(following + seconds, time.monotonic())
        time.sleep(max(0.0, following - time.monotonic()))
