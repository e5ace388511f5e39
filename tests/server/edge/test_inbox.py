"""What a connection has received reaches its protocol whole, in order, in portions, and only while it wants data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from server.edge.inbox import MAX_PORTION, TURN_SECONDS, Inbox, Turns
from server.edge.transport import MeteredTransport


class FakeTransport:
    """Counts as reading or not, and as closing or not."""

    def __init__(self) -> None:
        self.is_reading, self.closed = True, False

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def is_closing(self) -> bool:
        return self.closed


class Receiver:
    """A protocol that takes so many seconds of work for each portion, and one connection's inbox for it."""

    def __init__(self, turns: Turns, seconds: float = 0.0, log: list[Receiver] | None = None) -> None:
        self.portions: list[bytes] = []
        self.inner = FakeTransport()
        self.transport = MeteredTransport(cast(Any, self.inner), lambda: None, lambda protocol: None)
        self.inbox = Inbox(turns, self.transport, self._take)
        self._seconds, self._log = seconds, log if log is not None else []

    def _take(self, data: bytes) -> None:
        self.portions.append(data)
        self._log.append(self)
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass

    @property
    def received(self) -> bytes:
        return b"".join(self.portions)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen")


@given(st.lists(st.integers(1, 3 * MAX_PORTION), min_size=1, max_size=5), st.booleans())
@settings(max_examples=20)
def test_all_bytes_arrive_in_order(sizes: list[int], pause: bool) -> None:
    """In portions, and reading stops while some of them wait."""

    async def run() -> None:
        receiver, sent = Receiver(Turns()), b""
        for number, size in enumerate(sizes):
            data = bytes([number]) * size
            sent += data
            receiver.inbox.receive(data)
            assert receiver.inner.is_reading == (receiver.received == sent)
            if pause:
                receiver.transport.pause_reading()
                await asyncio.sleep(0)
                receiver.transport.resume_reading()
        await until(lambda: receiver.received == sent)
        assert receiver.inner.is_reading
        assert max(map(len, receiver.portions)) <= MAX_PORTION

    asyncio.run(run())


def test_a_paused_protocol_gets_nothing() -> None:
    """Until it wants data again."""

    async def run() -> None:
        receiver = Receiver(Turns())
        receiver.transport.pause_reading()
        receiver.inbox.receive(b"x" * 100)
        await asyncio.sleep(0.02)
        assert (receiver.portions, receiver.inner.is_reading) == ([], False)
        receiver.transport.resume_reading()
        await until(lambda: receiver.received == b"x" * 100)
        assert receiver.inner.is_reading

    asyncio.run(run())


def test_what_a_closed_connection_has_sent_is_dropped() -> None:
    """It takes no turns any more."""

    async def run() -> None:
        receiver = Receiver(Turns(), TURN_SECONDS)
        receiver.inbox.receive(b"x" * 10**6)
        taken = len(receiver.received)
        assert taken < 10**6
        receiver.inner.closed = True
        await asyncio.sleep(0.05)
        assert len(receiver.received) == taken

    asyncio.run(run())


def test_expensive_data_leaves_the_loop_free() -> None:
    """Its portions become small; a connection that sends little is served at once meanwhile, and others have turns."""

    async def run() -> None:
        turns, log = Turns(), list[Receiver]()
        first, second = (Receiver(turns, 5 * TURN_SECONDS, log) for _ in range(2))
        for receiver in (first, second):
            receiver.inbox.receive(b"x" * 10**6)
        little = Receiver(turns, log=log)
        await until(lambda: len(log) > 20)
        little.inbox.receive(b"GET / HTTP/1.1\r\n\r\n")
        assert log[-1] is little
        assert len(first.portions[-1]) < len(first.portions[0])
        assert min(log.count(first), log.count(second)) > 5

    asyncio.run(run())
