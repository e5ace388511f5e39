"""What is seen from outside, with the time of each: whom callers turn to, and whom discovery hands out.

Requests are seen by Python's own audit events, so nothing of the client is touched. Knows nothing about faults.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import requests

from scripts.faults.agents import Agent
from scripts.faults.cluster import SERVICE

CALLERS = ("batch", "speech-stream")
"""How the client's threads are named that ask nodes for speech."""
PAUSE = 0.1


@dataclass
class Requests:
    """Each new request to a node, and each attempt to connect for one: (time, port). One in a program: it stays."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "http.client.send":
            connection, data = arguments
            if isinstance(data, bytes) and data.startswith(b"POST /"):
                self._note(connection.port)
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self._note(arguments[1][1])

    def _note(self, port: int) -> None:
        if threading.current_thread().name.startswith(CALLERS):
            self.seen.append((time.monotonic(), port))

    def last(self, port: int, since: float, until: float) -> float | None:
        """When the last one went there in that time; None if none did."""
        return max((when for when, where in list(self.seen) if where == port and since <= when < until), default=None)


class Discovery:
    """Asks the agent all the time whom it hands out; remembers each change: (time, ids), None while it is silent."""

    def __init__(self, agent: Agent, token: str) -> None:
        self._url = f"http://{agent.address}/v1/health/service/{SERVICE}"
        self._headers = {"X-Consul-Token": token}
        self.changes: list[tuple[float, frozenset[str] | None]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)
        self._thread.start()

    @property
    def now(self) -> frozenset[str] | None:
        return self.changes[-1][1] if self.changes else None

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def gone_since(self, ids: Collection[str], since: float, until: float) -> float | None:
        """When discovery first did not hand out one of `ids`, in that time; None if it always did."""
        gone = (when for when, seen in self.changes if seen is not None and not set(ids) <= seen)
        return min((when for when in gone if since <= when < until), default=None)

    def whole_since(self, ids: Collection[str]) -> float | None:
        """Since when it hands out all of `ids`; None if it does not."""
        since = None
        for when, seen in self.changes:
            whole = set(ids) <= (seen or set())
            since = (since or when) if whole else None
        return since

    def _run(self) -> None:
        while not self._over.wait(PAUSE):
            seen = self._ask()
            if not self.changes or seen != self.changes[-1][1]:
                self.changes.append((time.monotonic(), seen))

    def _ask(self) -> frozenset[str] | None:
        try:
            answer = requests.get(self._url, {"passing": "1", "stale": ""}, headers=self._headers, timeout=2)
            answer.raise_for_status()
            return frozenset(entry["Service"]["ID"] for entry in answer.json())
        except (requests.RequestException, ValueError):
            return None
