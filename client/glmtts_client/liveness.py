"""Whether a node that sends nothing is alive: it is asked, before it gets a request and while one waits for it.

Silence alone proves nothing: a request may wait in the node's queue, or for audio that is not due yet. So once nothing
has come from a node for QUIET_SECONDS, on any connection, it is asked on another one. A node that leaves PROBES
questions in a row unanswered, or whose answers say that its engine is stuck, is dead: every request that waits for it
fails at once and can go elsewhere. A node that answers and gets on is waited for.

A node that has said nothing for FRESH_SECONDS, since nobody has used it, may have died meanwhile, and the list that it
is on may not know. So it is asked before it gets a request; without an answer within SUSPECT_SECONDS another one does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
VERDICT_SECONDS = 2 * PROBES * PROBE_TIMEOUT
"""Within which it is known whether a node is dead."""
SUSPECT_SECONDS = 0.2
"""A question that is open for longer keeps new requests away from the node."""
POLL_SECONDS = 0.05
"""How often waiting threads look whether a question was answered."""
FRESH_SECONDS = 1.0
"""For which a sign of life counts: a node that has said nothing since is asked before it gets a request."""
MAX_PARALLEL_PROBES = 32
FORGET_SECONDS = 600.0
"""Nodes that were silent for so long are forgotten: addresses come and go."""


class Answer(NamedTuple):
    """A node's answer: whether it is `ready` for new requests, and how its engine gets on.

    `failure`: why it counts as dead; "" if it is alive.
    """

    failure: str
    ready: bool
    progress: Progress = UNKNOWN


NO_ANSWER = Answer("no answer", ready=False)


@dataclass
class _State:
    """What is known of a node; times are on the clock of `Liveness`.

    `heard_at`: when it last sent something to a request. `alive_at`: or answered. `ready`: whether it then said
    so. `quiet_at`: when it counts as quiet unless it sends something. `probe`: the question that is open since
    `asked_at`. `dead_at`: when it was last found dead, for `reason`. `progress`: what it answered at `answered_at`.
    """

    heard_at: float
    quiet_at: float
    alive_at: float = float("-inf")
    ready: bool = True
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
        self._closed = False
        self._threads = ThreadPoolExecutor(MAX_PARALLEL_PROBES, thread_name_prefix="node-probe")

    def heard(self, url: str) -> None:
        """Records that the node has sent something."""
        with self._lock:
            now = self._clock()
            state = self._state(url, now)
            state.heard_at = state.alive_at = now
            state.quiet_at = now + QUIET_SECONDS

    def check(self, url: str, since: float) -> float:
        """For a thread that has waited for the node since then: seconds until it should check again.

        Raises NodeError if the node was found dead meanwhile.
        """
        with self._lock:
            now = self._clock()
            state = self._state(url, now)
            if state.dead_at > max(since, state.heard_at):
                raise NodeError(url, state.reason)
            quiet_at = max(state.quiet_at, since + QUIET_SECONDS)
            if state.probe is None and now < quiet_at:
                return quiet_at - now
            self._open_probe(url, state, now)
            return POLL_SECONDS

    def is_suspect(self, url: str) -> bool:
        """Whether the node has left a question open for longer than usual."""
        with self._lock:
            state, now = self._states.get(url), self._clock()
            if state is None or state.probe is None:
                return False
            return now - state.asked_at > SUSPECT_SECONDS and state.heard_at < state.asked_at

    def is_ready(self, url: str, patience: float = SUSPECT_SECONDS) -> bool:
        """Whether the node has shown life within FRESH_SECONDS, or says within `patience` that it is ready.

        Raises NodeError if it was asked and found dead.
        """
        with self._lock:
            now = self._clock()
            state = self._state(url, now)
            if state.ready and now - state.alive_at <= FRESH_SECONDS and state.alive_at > state.dead_at:
                return True
            probe = self._open_probe(url, state, now)
            if probe is None:
                return True
            timeout = max(0.0, state.asked_at + patience - now)
        wait([probe], timeout)
        if not probe.done() or probe.cancelled():
            return False
        answer = probe.result()
        if answer.failure:
            raise NodeError(url, answer.failure)
        return answer.ready

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

        with self._lock:
            if not self._closed:
                self._threads.submit(ask)

    def close(self) -> None:
        """Asks no more."""
        with self._lock:
            self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _open_probe(self, url: str, state: _State, now: float) -> Future[Answer] | None:
        """The question that is open, or else a new one; None after `close`."""
        if state.probe is None and not self._closed:
            state.probe, state.asked_at = self._threads.submit(self._probe, url, state), now
        return state.probe

    def _probe(self, url: str, state: _State) -> Answer:
        answer = self._ask(url)
        for _ in range(PROBES - 1):
            answer = self._ask(url) if answer.failure else answer
        with self._lock:
            self._take_answer(state, answer, self._clock())
        return answer

    def _take_answer(self, state: _State, answer: Answer, now: float) -> None:
        state.probe = None
        state.progress, state.answered_at, state.ready = answer.progress, now, answer.ready
        if answer.failure:
            state.dead_at, state.reason = now, answer.failure
        else:
            state.alive_at = now
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
