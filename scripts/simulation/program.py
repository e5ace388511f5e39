"""A client program: its own balancer, the one of glmtts_client, over its own list of nodes, which may be stale."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from glmtts_client.balancer import LoadBalancer, Preference, RequestHints
from glmtts_client.errors import NoNodeAvailableError
from glmtts_client.node import Node

from scripts.simulation.clock import Clock
from scripts.simulation.node import NodeModel, Request

HINTS = RequestHints(text_chars=100)
INITIAL_DELAY, MAX_DELAY = 0.25, 10.0
"""Seconds: RetryPolicy's."""
DEADLINE = 120.0
"""Seconds until a request is given up."""


@dataclass(eq=False)
class Utterance:
    """What a listener asked for at `asked` (s). `first_audio`: seconds until they heard something; None: never.

    `silence`: the longest wait in the middle, while another node takes over. `attempts`: requests to nodes.
    """

    audio_seconds: float
    asked: float
    first_audio: float | None = None
    silence: float = 0.0
    attempts: int = 0
    done: bool = False
    used: list[str] = field(default_factory=list)
    made: float = 0.0
    broke_off: float | None = None


class Program:
    """`list_nodes` returns what discovery shows now. A program asks it every `cache` seconds at most, from `phase` on.

    `silence_timeout`: seconds until a request to a node that says nothing counts as failed.
    """

    def __init__(
        self,
        clock: Clock,
        models: dict[str, NodeModel],
        list_nodes: Callable[[], Sequence[Node]],
        *,
        preferences: Sequence[Preference],
        cache: float,
        phase: float,
        silence_timeout: float,
        rng: random.Random,
        asks_for_segments: bool,
    ) -> None:
        self._clock, self._models, self._list_nodes, self._rng = clock, models, list_nodes, rng
        self._cache, self._silence_timeout = cache, silence_timeout
        self._asks_for_segments = asks_for_segments
        self._balancer = LoadBalancer(preferences, rng=rng, clock=clock)
        self._nodes: Sequence[Node] = []
        self._expires = phase - cache

    def start(self, utterance: Utterance) -> None:
        if self._asks_for_segments and (nodes := self._list()):
            self._balancer.pick(nodes, HINTS)
        self._attempt(utterance)

    def _list(self) -> Sequence[Node]:
        if self._clock.now >= self._expires:
            self._nodes = self._list_nodes()
            self._expires = max(self._expires, self._clock.now - self._cache) + self._cache
        return self._nodes

    def _attempt(self, utterance: Utterance) -> None:
        try:
            nodes = self._list()
            for node in self._balancer.take_due_probes(nodes):
                if self._models[node.url].is_up:
                    self._balancer.readmit(node)
            node = self._balancer.pick(nodes, HINTS, avoid=utterance.used)
        except NoNodeAvailableError as error:
            return self._retry(utterance, error.retry_after or 0.0)
        utterance.attempts += 1
        utterance.used.append(node.url)
        model = self._models[node.url]
        in_flight = self._balancer.track(node)
        in_flight.__enter__()

        def fail() -> None:
            in_flight.__exit__(None, None, None)
            self._balancer.record_failure(node)
            self._retry(utterance)

        if not model.is_up:
            return self._clock.after(self._silence_timeout, fail)

        def end(whole: bool) -> None:
            utterance.made += request.made
            if not whole:
                utterance.broke_off = self._clock.now
                return self._clock.after(self._silence_timeout, fail)
            in_flight.__exit__(None, None, None)
            self._balancer.record_success(node)
            utterance.done = True
            return None

        rest = utterance.audio_seconds - utterance.made
        request = Request(rest, lambda: self._first_audio(utterance), end)
        if not model.submit(request):
            in_flight.__exit__(None, None, None)
            self._balancer.record_failure(node, busy=True, retry_after=model.retry_after())
            return self._retry(utterance)
        return None

    def _first_audio(self, utterance: Utterance) -> None:
        if utterance.first_audio is None:
            utterance.first_audio = self._clock.now - utterance.asked
        elif utterance.broke_off is not None:
            utterance.silence = max(utterance.silence, self._clock.now - utterance.broke_off)

    def _retry(self, utterance: Utterance, at_least: float = 0.0) -> None:
        longest = min(MAX_DELAY, INITIAL_DELAY * 2.0 ** min(10, max(0, utterance.attempts - 1)))
        delay = max(at_least, self._rng.uniform(0.0, longest))
        if self._clock.now + delay - utterance.asked < DEADLINE:
            self._clock.after(delay, lambda: self._attempt(utterance))


def with_load(node: Node, model: NodeModel) -> Node:
    """The node as it would report its requests in flight in its metadata."""
    return replace(node, meta={**node.meta, "in_flight": str(model.in_flight)})
