"""Threads that share a host and a device: each has as much of one as the others on it leave, that is an equal share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

Resource = Literal["host", "device", "clock"]


class Use(NamedTuple):
    """So many seconds of the host, of the device, or of nothing but time."""

    resource: Resource
    seconds: float


Thread = Iterator["Use | None"]
"""What a thread does next; None while there is nothing to do."""
_NOTHING = 1e-12


class Clock:
    """The time of the simulation, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def run(self, threads: list[Thread]) -> None:
        """Runs until no thread has anything to do. One that ends is no longer asked."""
        running: dict[int, list[Use]] = {}
        while True:
            self._ask(threads, running)
            if not running:
                return
            sharing = {name: sum(use[0].resource == name for use in running.values()) for name in ("host", "device")}
            pace = {number: 1.0 / sharing.get(use[0].resource, 1) for number, use in running.items()}
            passed = min(use[0].seconds / pace[number] for number, use in running.items())
            self.now += passed
            for number, use in list(running.items()):
                use[0] = Use(use[0].resource, use[0].seconds - passed * pace[number])
                if use[0].seconds <= _NOTHING:
                    del running[number]

    @staticmethod
    def _ask(threads: list[Thread], running: dict[int, list[Use]]) -> None:
        """Twice, as what one thread does may give another one something to do."""
        for _ in range(2):
            for number, thread in enumerate(threads):
                if number not in running and (use := next(thread, None)) is not None:
                    running[number] = [use]
