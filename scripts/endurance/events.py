"""What happens around a node: its shared configuration changes, and its Consul agent restarts with no data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import requests

from scripts.faults.agents import Agent

TIMEOUT = 90.0
SPEEDS = (1.0, 1.1)
_SERVICE = "/v1/health/service/glm-tts?passing"


@dataclass
class Events:
    """The events of one node and its agent. `seconds` has how long the node took to follow each, by event."""

    agent: Agent
    url: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"reload": [], "restart": []})
    failures: list[str] = field(default_factory=list)
    count: int = 0

    def next(self) -> None:
        """A new configuration or a restart of the agent, in turn; waits until the node has followed."""
        self.count += 1
        if self.count % 2:
            self._follow("reload", self._reload())
        else:
            self.agent.restart_empty()
            self.agent.wait()
            self._follow("restart", self.is_discovered)

    def _reload(self) -> Callable[[], bool]:
        """Changes the default speed."""
        speed = SPEEDS[self.count // 2 % len(SPEEDS)]
        self.agent.call("PUT", "/v1/kv/glm-tts/default_style", {"speed": speed})
        return lambda: bool(requests.get(f"{self.url}/info", timeout=10).json()["default_style"]["speed"] == speed)

    def is_discovered(self) -> bool:
        """Whether clients find the node."""
        return bool(self.agent.call("GET", _SERVICE))

    def _follow(self, event: str, has_followed: Callable[[], bool]) -> None:
        start = time.monotonic()
        while time.monotonic() < start + TIMEOUT:
            try:
                if has_followed():
                    self.seconds[event].append(time.monotonic() - start)
                    return
            except requests.RequestException:
                pass
            time.sleep(0.2)
        self.failures.append(f"{event} was not followed within {TIMEOUT:g} s")

    def slowest(self) -> dict[str, float]:
        """The longest time of each event that occurred."""
        return {event: max(times) for event, times in self.seconds.items() if times}
