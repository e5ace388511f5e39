"""Clients that disconnect while nothing is written to them."""

import socket
import threading
from collections.abc import Iterator

import pytest

from server.http.disconnect import DisconnectWatcher


@pytest.fixture
def watcher() -> Iterator[DisconnectWatcher]:
    watcher = DisconnectWatcher()
    yield watcher
    watcher.close()
    assert not any(thread.name == "disconnect" for thread in threading.enumerate())


def test_a_disconnect_is_reported(watcher: DisconnectWatcher) -> None:
    """Closing the far end calls back, without anything being read or written."""
    near, far = socket.socketpair()
    disconnected = threading.Event()
    with near, watcher.watch(near, disconnected.set):
        far.close()
        assert disconnected.wait(30)


def test_data_is_no_disconnect_and_nothing_is_reported_after_the_block(watcher: DisconnectWatcher) -> None:
    """A pipelined request does not end the one before it; another connection may get a closed one's descriptor."""
    near, far = socket.socketpair()
    reported = threading.Event()
    other = threading.Event()
    with near, far:
        with watcher.watch(near, reported.set):
            far.send(b"x")
        second, second_far = socket.socketpair()
        with second, watcher.watch(second, other.set):
            far.close()
            second_far.close()
            assert other.wait(30)
        assert not reported.is_set()


def test_without_a_socket_nothing_is_watched(watcher: DisconnectWatcher) -> None:
    """Outside of gunicorn there is no socket, and everything else works."""
    near, far = socket.socketpair()
    disconnected = threading.Event()
    with near, watcher.watch(None, pytest.fail), watcher.watch(near, disconnected.set):
        far.close()
        assert disconnected.wait(30)
