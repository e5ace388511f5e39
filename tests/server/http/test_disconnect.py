"""Callers who hang up while nothing is written to them."""

import socket
import threading
from collections.abc import Iterator

import pytest

from server.http.disconnect import HangupWatch


@pytest.fixture
def watch() -> Iterator[HangupWatch]:
    watch = HangupWatch()
    yield watch
    watch.close()
    assert not any(thread.name == "hangup" for thread in threading.enumerate())


def test_a_hangup_is_told(watch: HangupWatch) -> None:
    """Closing the far end calls back, without anything being read or written."""
    ours, theirs = socket.socketpair()
    gone = threading.Event()
    with ours, watch.watching(ours, gone.set):
        theirs.close()
        assert gone.wait(30)


def test_data_is_no_hangup_and_after_the_block_nothing_is_told(watch: HangupWatch) -> None:
    """A pipelined request does not end the one before it; a closed connection's number may be another's next."""
    ours, theirs = socket.socketpair()
    told = threading.Event()
    other = threading.Event()
    with ours, theirs:
        with watch.watching(ours, told.set):
            theirs.send(b"x")
        second, far = socket.socketpair()
        with second, watch.watching(second, other.set):
            theirs.close()
            far.close()
            assert other.wait(30)
        assert not told.is_set()


def test_no_socket_is_nothing_to_watch(watch: HangupWatch) -> None:
    """Outside of gunicorn there is no socket, and all else works."""
    ours, theirs = socket.socketpair()
    gone = threading.Event()
    with ours, watch.watching(None, pytest.fail), watch.watching(ours, gone.set):
        theirs.close()
        assert gone.wait(30)
