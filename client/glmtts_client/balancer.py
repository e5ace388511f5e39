"""Which node a request goes to: filters by soft preferences, then takes the less busy of two random nodes.

Nodes that failed are ejected (outlier ejection) until they answer a probe. Policy only: it opens no connections.
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
from glmtts_client.node import Node, version_matches

INITIAL_PROBE_DELAY, MAX_PROBE_DELAY = 1.0, 10.0
"""Seconds from a failure to the first probe, and between two at most."""
FORGET_SECONDS = 600.0
"""A node that has not been used for so long after a failure is forgotten."""
MAX_RETRY_AFTER = 300.0
"""Seconds; a longer Retry-After is shortened to this."""


@dataclass(frozen=True)
class RequestHints:
    """What the balancer knows of a request: the number of characters of its text, and the sample rate (Hz) if given."""

    text_chars: int
    sample_rate: int | None = None


class Preference(Protocol):
    """Returns those of `nodes` that suit the request best; an empty result is ignored."""

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]: ...


class NativeRate:
    """Prefers nodes that produce the requested sample rate without resampling."""

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        if hints.sample_rate is None:
            return nodes
        return [node for node in nodes if hints.sample_rate in node.sample_rates]


@dataclass(frozen=True)
class TierByLength:
    """Sends texts of at most `short` characters to the lowest tier available, and of at least `long` to the highest.

    This keeps strong nodes free for long texts, and long texts off weak nodes.
    """

    short: int = 60
    long: int = 400
    tiers: Sequence[str] = ("cpu", "small", "large")

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        available = [tier for tier in self.tiers if any(node.tier == tier for node in nodes)]
        if not available or self.short < hints.text_chars < self.long:
            return nodes
        best = available[0] if hints.text_chars <= self.short else available[-1]
        return [node for node in nodes if node.tier == best]


@dataclass(frozen=True)
class InRegion:
    """Prefers nodes of one region."""

    name: str

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        return [node for node in nodes if node.region == self.name]


@dataclass(frozen=True)
class OnVersion:
    """Prefers nodes whose model has this version, while there are any: the sound stays the same during an upgrade.

    `version`: as in `Query`.
    """

    version: str

    def __call__(self, nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        return [node for node in nodes if version_matches(node.version, self.version)]


DEFAULT_PREFERENCES: tuple[Preference, ...] = (NativeRate(), TierByLength())


@dataclass
class _NodeHealth:
    """Recent failures of a node; times are on the balancer's clock."""

    ejected: bool = False
    delays: int = 0
    next_probe: float = 0.0
    busy_until: float = 0.0


_HEALTHY = _NodeHealth()


class LoadBalancer:
    """Tracks requests in flight and failures by node address. Thread-safe; share one among all requests of a program.

    A node that fails is ejected until a probe or a request succeeds. Probes are due after `initial_probe_delay` s, then
    after twice as long each time up to `max_probe_delay`, less a random part. An ejected node is used if all are; a
    busy one is not, until its Retry-After ends.
    """

    def __init__(
        self,
        preferences: Sequence[Preference] = DEFAULT_PREFERENCES,
        *,
        initial_probe_delay: float = INITIAL_PROBE_DELAY,
        max_probe_delay: float = MAX_PROBE_DELAY,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._preferences = preferences
        self._initial_probe_delay, self._max_probe_delay = initial_probe_delay, max_probe_delay
        self._rng = rng or random.Random()
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight: Counter[str] = Counter()
        self._health: dict[str, _NodeHealth] = {}

    def pick(self, nodes: Sequence[Node], hints: RequestHints, *, avoid: Collection[str] = ()) -> Node:
        """The node for a request, outside `avoid` (addresses) if possible. Raises NoNodeAvailableError."""
        with self._lock:
            now = self._clock()
            # A busy node will have time again; an ejected one may be dead.
            alive = [node for node in nodes if not self._health_of(node).ejected] or nodes
            free = [node for node in alive if self._health_of(node).busy_until <= now]
            if not free:
                raise self._no_node_error(alive, now)
            candidates: Sequence[Node] = [node for node in free if node.url not in avoid] or free
            for preference in self._preferences:
                candidates = preference(candidates, hints) or candidates
            sample = self._rng.sample(candidates, min(2, len(candidates)))
            return min(sample, key=lambda node: self._in_flight[node.url])

    def _no_node_error(self, nodes: Sequence[Node], now: float) -> NoNodeAvailableError:
        if not nodes:
            return NoNodeAvailableError("no node matches the request")
        wait = min(self._health_of(node).busy_until for node in nodes) - now
        return NoNodeAvailableError(f"all {len(nodes)} nodes are busy for another {wait:.1f} s", retry_after=wait)

    @contextmanager
    def track(self, node: Node) -> Iterator[None]:
        """Counts a request as in flight at `node` for the duration of the block."""
        with self._lock:
            self._in_flight[node.url] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[node.url] -= 1
                self._in_flight += Counter()  # drops zeros: nodes come and go

    def in_flight(self, node: Node) -> int:
        """The number of this program's requests at `node`."""
        return self._in_flight[node.url]

    def is_healthy(self, node: Node) -> bool:
        """Whether the node is neither ejected nor busy."""
        with self._lock:
            health = self._health_of(node)
            return not health.ejected and health.busy_until <= self._clock()

    def take_due_probes(self, nodes: Sequence[Node]) -> list[Node]:
        """Those of `nodes` that are ejected and due for a probe now. Their next one is due a delay later.

        The caller reports a node that is ready with `readmit`.
        """
        with self._lock:
            now = self._clock()
            due = [node for node in nodes if self._health_of(node).ejected and self._health_of(node).next_probe <= now]
            for node in due:
                self._schedule_probe(self._health_of(node), now)
            return due

    def _schedule_probe(self, health: _NodeHealth, now: float) -> None:
        delay = min(self._max_probe_delay, self._initial_probe_delay * 2.0 ** min(health.delays, 30))
        health.delays += 1
        health.next_probe = now + delay * self._rng.uniform(0.5, 1.0)

    def record_failure(self, node: Node, *, busy: bool = False, retry_after: float | None = None) -> None:
        """Marks `node` as busy for `retry_after` s, and ejects it unless it is only `busy`."""
        with self._lock:
            now = self._clock()
            self._drop_expired(now)
            health = self._health.setdefault(node.url, _NodeHealth())
            if retry_after is not None:
                health.busy_until = max(health.busy_until, now + min(retry_after, MAX_RETRY_AFTER))
            # One crash may end many requests: they count as one failure.
            if not busy and not health.ejected:
                health.ejected = True
                self._schedule_probe(health, now)

    def readmit(self, node: Node) -> None:
        """Ends an ejection after a probe. If the node fails again, the delays go on from where they were."""
        with self._lock:
            if (health := self._health.get(node.url)) is not None:
                health.ejected = False

    def record_success(self, node: Node) -> None:
        """Clears the node's failures."""
        with self._lock:
            self._health.pop(node.url, None)

    def _health_of(self, node: Node) -> _NodeHealth:
        return self._health.get(node.url, _HEALTHY)

    def _drop_expired(self, now: float) -> None:
        """Drops nodes that failed long ago and have not been used since: addresses come and go."""
        limit = now - FORGET_SECONDS
        expired = [url for url, h in self._health.items() if max(h.next_probe, h.busy_until) < limit]
        for url in expired:
            del self._health[url]
