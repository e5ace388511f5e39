"""Which node a request goes to: soft preferences, then the less busy of two drawn at random, failing ones set aside.

Policy only: it sees what a caller tells it. Knows nothing about connections or Consul.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from glmtts_client.errors import NoNodeAvailableError
from glmtts_client.node import Node

INITIAL_EJECTION, MAX_EJECTION = 1.0, 60.0
MAX_BUSY = 300.0
"""Seconds; a node that asks for a longer pause gets this one."""


@dataclass(frozen=True)
class RequestHints:
    """What is known of a request before it is sent: how long its text is, and the rate (Hz) that it wants."""

    characters: int
    sample_rate: int | None = None


class Preference(Protocol):
    """A soft wish: those of `nodes` that `hints` had better go to. None of them: then it does not matter."""

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]: ...


class NativeRate:
    """Prefers nodes that make the wanted rate themselves to those that resample; without a wish, none."""

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        if hints.sample_rate is None:
            return nodes
        return [node for node in nodes if hints.sample_rate in node.sample_rates]


@dataclass(frozen=True)
class TierByLength:
    """Sends texts of at most `short` characters to the lowest tier there is, those of at least `long` to the highest.

    So that a strong node is not kept from a long text by short ones, nor a long text given to a weak node.
    """

    short: int = 60
    long: int = 400
    tiers: Sequence[str] = ("cpu", "small", "large")

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        there = [tier for tier in self.tiers if any(node.tier == tier for node in nodes)]
        if not there or self.short < hints.characters < self.long:
            return nodes
        wanted = there[0] if hints.characters <= self.short else there[-1]
        return [node for node in nodes if node.tier == wanted]


@dataclass(frozen=True)
class InRegion:
    """Prefers nodes of one region."""

    name: str

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        return [node for node in nodes if node.region == self.name]


DEFAULT_PREFERENCES: tuple[Preference, ...] = (NativeRate(), TierByLength())


@dataclass
class _NodeHealth:
    """How a node has done lately; times on the chooser's clock."""

    failures: int = 0
    ejected_until: float = 0.0
    busy_until: float = 0.0


class LoadBalancer:
    """Remembers, by address, requests in flight and failures. Thread-safe; one for all requests of a program.

    A node that fails is ejected for `initial_ejection` s, doubled at every further failure up to `max_ejection`, less a
    random part. An ejected node is used if there is no other; a busy one is not, until its Retry-After ends.
    """

    def __init__(
        self,
        preferences: Sequence[Preference] = DEFAULT_PREFERENCES,
        *,
        initial_ejection: float = INITIAL_EJECTION,
        max_ejection: float = MAX_EJECTION,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._preferences = preferences
        self._initial_ejection, self._max_ejection = initial_ejection, max_ejection
        self._rng = rng or random.Random()
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight: Counter[str] = Counter()
        self._standing: dict[str, _NodeHealth] = {}

    def pick(self, nodes: Sequence[Node], hints: RequestHints, *, avoid: Collection[str] = ()) -> Node:
        """The node for a request, outside `avoid` (addresses) if possible. Raises NoNodeAvailableError."""
        with self._lock:
            now = self._clock()
            free = [node for node in nodes if self._of(node).busy_until <= now]
            if not free:
                raise self._none(nodes, now)
            well = [node for node in free if self._of(node).ejected_until <= now]
            candidates: Sequence[Node] = well or free
            candidates = [node for node in candidates if node.url not in avoid] or candidates
            for preference in self._preferences:
                candidates = preference(candidates, hints) or candidates
            drawn = self._rng.sample(candidates, min(2, len(candidates)))
            return min(drawn, key=lambda node: self._in_flight[node.url])

    def _none(self, nodes: Sequence[Node], now: float) -> NoNodeAvailableError:
        if not nodes:
            return NoNodeAvailableError("no node is there that the request may go to")
        wait = min(self._of(node).busy_until for node in nodes) - now
        return NoNodeAvailableError(f"all {len(nodes)} nodes are busy for another {wait:.1f} s", retry_after=wait)

    @contextmanager
    def track(self, node: Node) -> Iterator[None]:
        """Counts a request as in flight at `node` while the block lasts."""
        with self._lock:
            self._in_flight[node.url] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[node.url] -= 1
                self._in_flight += Counter()  # forgets zeros: nodes come and go

    def in_flight(self, node: Node) -> int:
        """How many requests of this program are at `node`."""
        return self._in_flight[node.url]

    def is_healthy(self, node: Node) -> bool:
        """Whether it is neither set aside nor busy."""
        with self._lock:
            standing = self._of(node)
            return max(standing.ejected_until, standing.busy_until) <= self._clock()

    def record_failure(self, node: Node, *, busy: bool = False, retry_after: float | None = None) -> None:
        """Sets `node` aside: as busy for `retry_after` s, and as failing unless it is only `busy`."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            standing = self._standing.setdefault(node.url, _NodeHealth())
            if retry_after is not None:
                standing.busy_until = max(standing.busy_until, now + min(retry_after, MAX_BUSY))
            # Ten requests that one crash ends are one failure.
            if not busy and standing.ejected_until <= now:
                pause = min(self._max_ejection, self._initial_ejection * 2.0 ** min(standing.failures, 30))
                standing.failures += 1
                standing.ejected_until = now + pause * self._rng.uniform(0.5, 1.0)

    def record_success(self, node: Node) -> None:
        """Forgets that it ever failed."""
        with self._lock:
            self._standing.pop(node.url, None)

    def _of(self, node: Node) -> _NodeHealth:
        return self._standing.get(node.url) or _NodeHealth()

    def _forget(self, now: float) -> None:
        """What failed long ago and never came back: addresses come and go."""
        past = now - 10 * self._max_ejection
        old = [url for url, held in self._standing.items() if max(held.ejected_until, held.busy_until) < past]
        for url in old:
            del self._standing[url]
