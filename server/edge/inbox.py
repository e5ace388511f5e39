"""What connections have received reaches their protocols in portions, so that no stranger's bytes hold the event loop.

A chunk of a body or a frame of a WebSocket costs the same to parse whether it has one byte or sixty thousand. A single
read may hold forty thousand of them, and the loop would answer nobody for a second. So data that costs more than a
connection's own share waits for its turn: portions of a millisecond in all, then a rest that is longer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from server.edge.transport import MeteredTransport

SHARE, ADVANCE_SECONDS = 0.02, 0.01
"""Of the loop's time, what a connection may take at once, without a turn, and how much of that in advance."""
TURN_SECONDS, REST = 0.001, 2.0
"""About how long turns take before there is a rest, and how many times as long that is, by the clock on the wall."""
FIRST_PORTION, MIN_PORTION, MAX_PORTION = 1024, 64, 65536
"""Bytes. A portion grows while it takes less than a quarter of a turn, and shrinks when it takes a whole one."""


class Turns:
    """Of all connections of a loop. While they work on what waits, they leave it most of its time."""

    def __init__(self) -> None:
        self._waiting: deque[Inbox] = deque()
        self._is_scheduled = False

    def add(self, inbox: Inbox) -> None:
        self._waiting.append(inbox)
        self._schedule(0.0)

    def _schedule(self, seconds: float) -> None:
        if not self._is_scheduled and self._waiting:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(seconds, self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        start, spent = time.monotonic(), 0.0
        while self._waiting and spent < TURN_SECONDS:
            spent += self._waiting.popleft().take_turn()
        self._schedule(REST * (time.monotonic() - start))


class Inbox:
    """The bytes of one connection that its protocol has not got yet; it gets them with `deliver`."""

    def __init__(self, turns: Turns, transport: MeteredTransport, deliver: Callable[[bytes], None]) -> None:
        self._turns, self._transport, self._deliver = turns, transport, deliver
        self._data = bytearray()
        self._portion = FIRST_PORTION
        self._credit, self._credit_at = ADVANCE_SECONDS, time.monotonic()
        self._has_turn = False
        transport.on_resume = self._wait_for_turn

    def receive(self, data: bytes) -> None:
        """Delivers a portion at once if the connection may, and the rest when it is its turn."""
        self._data += data
        if self._has_turn:
            return
        now = time.monotonic()
        self._credit = min(ADVANCE_SECONDS, self._credit + SHARE * (now - self._credit_at))
        self._credit_at = now
        if self._credit > 0:
            self._credit -= self._deliver_portion()
        self._wait_for_turn()

    def take_turn(self) -> float:
        """Delivers a portion; returns the seconds that it took."""
        self._has_turn = False
        spent = self._deliver_portion()
        self._wait_for_turn()
        return spent

    def _wait_for_turn(self) -> None:
        self._transport.hold_reading(bool(self._data))
        if self._data and not self._has_turn and self._transport.wants_data:
            self._has_turn = True
            self._turns.add(self)

    def _deliver_portion(self) -> float:
        """Takes the thread's own time: another thread that has Python's lock is not the connection's fault."""
        if self._transport.is_closing():
            self._data.clear()
        if not self._data or not self._transport.wants_data:
            return 0.0
        portion = bytes(self._data[: self._portion])
        del self._data[: self._portion]
        start = time.thread_time()
        self._deliver(portion)
        spent = time.thread_time() - start
        if spent > TURN_SECONDS:
            self._portion = max(MIN_PORTION, self._portion // 2)
        elif spent < TURN_SECONDS / 4 and len(portion) == self._portion:
            self._portion = min(MAX_PORTION, self._portion * 2)
        return spent
