"""A second request for what a first one waits for, on another node: the first of the two to answer wins.

The thread that waits for the first node looks around now and then (`Hedge.poll`), and begins the second request, in a
thread of its own, once it is due. The loser's connection is closed, which cancels its work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import requests

from glmtts_client.errors import ClientError, NodeError
from glmtts_client.node import Node

POLL_SECONDS = 0.05

OnWait = Callable[[float], float]
"""Called by a thread that has waited for so many seconds: returns seconds until the next call, or raises."""


@dataclass(frozen=True)
class Answer:
    """A response that has begun, and the node that it comes from."""

    node: Node
    response: requests.Response


class OvertakenError(Exception):
    """Ends the wait for the first node: the second one has answered."""


class _CancelledError(Exception):
    """Ends the wait for the second node: it is not needed any more."""


class Hedge:
    """The second request. `is_due`: whether to begin it after so many seconds; `open_second` opens it."""

    def __init__(
        self, is_due: Callable[[float], bool], open_second: Callable[[OnWait], AbstractContextManager[Answer]]
    ) -> None:
        self._is_due, self._open_second = is_due, open_second
        self._thread: threading.Thread | None = None
        self._settled, self._over = threading.Event(), threading.Event()
        self._answer: Answer | None = None

    def poll(self, waited: float) -> float:
        """For the thread that waits for the first node: see `OnWait`. Raises OvertakenError."""
        if self._over.is_set():
            return float("inf")
        if self._answer is not None:
            raise OvertakenError
        if self._thread is None and self._is_due(waited):
            name = f"{threading.current_thread().name} hedge"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()
        return POLL_SECONDS

    def _run(self) -> None:
        try:
            with self._open_second(self._check) as self._answer:
                self._settled.set()
                self._over.wait()  # another thread reads it
        except (ClientError, _CancelledError):
            pass  # the first node may still answer
        finally:
            self._settled.set()

    def _check(self, _waited: float) -> float:
        if self._over.is_set():
            raise _CancelledError
        return POLL_SECONDS

    def answer(self) -> Answer | None:
        """The second node's, once it comes; None if it was not asked, or failed."""
        if self._thread is not None:
            self._settled.wait()
        return self._answer

    def end(self) -> None:
        """The answer was read, or is not needed."""
        self._over.set()


@contextmanager
def hedged(
    node: Node,
    open_first: Callable[[OnWait], AbstractContextManager[requests.Response]],
    hedge: Hedge,
    on_failure: Callable[[NodeError], None],
) -> Iterator[Answer]:
    """The answer of `node`; that of the hedge if it comes first, or if `node` fails, of which `on_failure` hears then.

    Raises NodeError if both fail, and what else opening the first raises.
    """
    with ExitStack() as stack:
        stack.callback(hedge.end)
        try:
            answer: Answer | None = Answer(node, stack.enter_context(open_first(hedge.poll)))
            hedge.end()
        except (OvertakenError, NodeError) as error:
            answer = hedge.answer()
            if isinstance(error, NodeError):
                if answer is None:
                    raise
                on_failure(error)
        assert answer is not None
        yield answer
