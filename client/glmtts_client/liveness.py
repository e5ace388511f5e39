"""Whether a node that sends nothing is alive: it is asked, while a request waits for it.

Silence alone proves nothing: a request may wait in the node's queue, or for audio that is not due yet. So once nothing
has come from a node for QUIET_SECONDS, on any connection, it is asked on another one. A node that leaves PROBES
questions in a row unanswered, or whose answers say that its engine is stuck, is dead: every request that waits for it
fails at once and can go elsewhere. A node that answers and gets on is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from glmtts_client.deadlines import UNKNOWN, Progress, seconds_until_stuck
from glmtts_client.errors import NodeError

QUIET_SECONDS = 0.25
"""Silence after which a node is asked."""
REPEAT_SECONDS = 0.5
"""From an answer to the next question, while the silence lasts; less if the engine will count as stuck sooner."""
PROBE_TIMEOUT = 0.5
"""Seconds for a connection, and for an answer: ten times what a busy node needs."""
PROBES = 2
SUSPECT_SECONDS = 0.2
"""A question that is open for longer keeps new requests away from the node."""
POLL_SECONDS = 0.05
"""How often waiting threads look whether a question was answered."""
MAX_PARALLEL_PROBES = 8
FORGET_SECONDS = 600.0
"""Nodes that were silent for so long are forgotten: addresses come and go."""


class Answer(NamedTuple):
    """A node's answer: whether it is `ready` for new requests, and how its engine gets on.

    `failure`: why it counts as dead; "" if it is alive.
    """

    failure: str
    ready: bool
    progress: Progress = UNKNOWN


@dataclass
class _State:
    """What is known of a node; times are on the clock of `Liveness`.

    `quiet_at`: when it counts as quiet unless it sends something. `probe`: the question that is open since `asked_at`.
    `dead_at`: when it was last found dead, for `reason`. `progress`: what it answered at `answered_at`.
    """

    heard_at: float
    quiet_at: float
    probe: Future[Answer] | None = None
    asked_at: float = 0.0
    dead_at: float = float("-inf")
    reason: str = ""
    progress: Progress = UNKNOWN
    answered_at: float = float("-inf")


class Liveness:
    """Thread-safe. `ask` sends one question to the node at a URL."""

    def __init__(self, ask: Callable[[str], Answer], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._states: dict[str, _State] = {}
        self._threads = ThreadPoolExecutor(MAX_PARALLEL_PROBES, thread_name_prefix="node-probe")

    def heard(self, url: str) -> None:
        """Records that the node has sent something."""
        with self._lock:
            now = self._clock()
            state = self._state(url, now)
            state.heard_at, state.quiet_at = now, now + QUIET_SECONDS

    def check(self, url: str, since: float) -> float:
        """For a thread that has waited for the node since then: seconds until it should check again.

        Raises NodeError if the node was found dead meanwhile.
        """
        with self._lock:
            now = self._clock()
            state = self._state(url, now)
            self._take_answer(state, now)
            if state.dead_at > max(since, state.heard_at):
                raise NodeError(url, state.reason)
            quiet_at = max(state.quiet_at, since + QUIET_SECONDS)
            if state.probe is None and now >= quiet_at:
                state.probe, state.asked_at = self._threads.submit(self._probe, url), now
            return POLL_SECONDS if state.probe is not None else quiet_at - now

    def is_suspect(self, url: str) -> bool:
        """Whether the node has left a question open for longer than usual."""
        with self._lock:
            state, now = self._states.get(url), self._clock()
            if state is None or state.probe is None or state.probe.done():
                return False
            return now - state.asked_at > SUSPECT_SECONDS and state.heard_at < state.asked_at

    def progress(self, url: str, max_age: float = float("inf")) -> Progress:
        """What the node last said of its engine, at most so many seconds ago; UNKNOWN if it has not."""
        with self._lock:
            state = self._states.get(url)
            is_known = state is not None and self._clock() - state.answered_at <= max_age
            return state.progress if state is not None and is_known else UNKNOWN

    def if_ready(self, url: str, action: Callable[[], None]) -> None:
        """Asks the node once, in the background; calls `action` if it is ready."""

        def ask() -> None:
            if self._ask(url).ready:
                action()

        self._threads.submit(ask)

    def close(self) -> None:
        """Asks no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _probe(self, url: str) -> Answer:
        answer = self._ask(url)
        for _ in range(PROBES - 1):
            answer = self._ask(url) if answer.failure else answer
        return answer

    def _take_answer(self, state: _State, now: float) -> None:
        if state.probe is None or not state.probe.done():
            return
        answer, state.probe = state.probe.result(), None
        state.progress, state.answered_at = answer.progress, now
        if answer.failure:
            state.dead_at, state.reason = now, answer.failure
        else:
            repeat = min(REPEAT_SECONDS, seconds_until_stuck(answer.progress) + POLL_SECONDS)
            state.quiet_at = max(state.quiet_at, now + repeat)

    def _state(self, url: str, now: float) -> _State:
        state = self._states.get(url)
        if state is None:
            forgotten = [u for u, s in self._states.items() if s.probe is None and s.heard_at < now - FORGET_SECONDS]
            for old in forgotten:
                del self._states[old]
            state = self._states[url] = _State(now, now)
        return state
