"""Observers from outside, with timestamps: which nodes clients call, and which nodes Consul returns.

Requests are seen through Python's audit events, so the client needs no changes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import requests

from scripts.faults.agents import Agent
from scripts.faults.cluster import SERVICE

CLIENT_THREADS = ("batch", "speech-stream")
"""Prefixes of the names of the client's threads that send speech requests."""
POLL_SECONDS = 0.1


class Answer(NamedTuple):
    """Ids of the services that pass all their checks, and of all that are listed."""

    passing: frozenset[str]
    listed: frozenset[str]


@dataclass
class RequestObserver:
    """Every new request to a node and every connection opened for one, as (time, port).

    One per process: an audit hook can't be removed.
    """

    seen: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "http.client.send":
            connection, data = arguments
            if isinstance(data, bytes) and data.startswith(b"POST /"):
                self._record(connection.port)
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            self._record(arguments[1][1])

    def _record(self, port: int) -> None:
        if threading.current_thread().name.startswith(CLIENT_THREADS):
            self.seen.append((time.monotonic(), port))

    def last_request(self, port: int, since: float, until: float) -> float | None:
        """Time of the last request to `port` in [since, until); None if there was none."""
        return max((when for when, where in list(self.seen) if where == port and since <= when < until), default=None)


class DiscoveryObserver:
    """Polls the agent; `changes` has each new answer as (time, answer), None while the agent does not answer."""

    def __init__(self, agent: Agent, token: str) -> None:
        self._url = f"http://{agent.address}/v1/health/service/{SERVICE}"
        self._headers = {"X-Consul-Token": token}
        self.changes: list[tuple[float, Answer | None]] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)
        self._thread.start()

    def is_complete(self, ids: Collection[str]) -> bool:
        """Whether all of `ids` are passing now, and nothing else is listed."""
        return self.complete_since(ids) is not None

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def first_missing(self, ids: Collection[str], since: float, until: float) -> float | None:
        """Time in [since, until) at which one of `ids` was first missing; None if none ever was."""
        missing = (when for when, answer in self.changes if answer is not None and not set(ids) <= answer.passing)
        return min((when for when in missing if since <= when < until), default=None)

    def complete_since(self, ids: Collection[str]) -> float | None:
        """Since when all of `ids` have been passing and nothing else listed; None if that is not so now."""
        since = None
        for when, answer in self.changes:
            complete = answer is not None and answer.passing == answer.listed == set(ids)
            since = (since or when) if complete else None
        return since

    def _run(self) -> None:
        while not self._closed.wait(POLL_SECONDS):
            answer = self._query()
            if not self.changes or answer != self.changes[-1][1]:
                self.changes.append((time.monotonic(), answer))

    def _query(self) -> Answer | None:
        try:
            response = requests.get(self._url, {"stale": ""}, headers=self._headers, timeout=2)
            response.raise_for_status()
            status = {
                entry["Service"]["ID"]: {check["Status"] for check in entry["Checks"]} for entry in response.json()
            }
            return Answer(frozenset(node for node in status if status[node] == {"passing"}), frozenset(status))
        except (requests.RequestException, ValueError):
            return None
