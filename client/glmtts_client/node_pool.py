"""What every request works with: where nodes are found, which one is taken, how it is spoken to, when to try again.

Knows nothing about what is done with the sound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from glmtts_client.api import Api
from glmtts_client.balancer import LoadBalancer, RequestHints
from glmtts_client.discovery import Discovery
from glmtts_client.errors import NodeError
from glmtts_client.node import Node, Query
from glmtts_client.retry import Deadline, RetryPolicy
from glmtts_client.speech import SpeechOptions


@dataclass(frozen=True)
class NodePool:
    """Thread-safe; one for a whole program, so that all its requests learn from each other."""

    discovery: Discovery
    balancer: LoadBalancer
    api: Api
    retry: RetryPolicy

    def nodes(self, query: Query) -> list[Node]:
        """Those that `query` admits."""
        return [node for node in self.discovery.nodes() if query.matches(node)]

    def pick(self, query: Query, hints: RequestHints, avoid: Collection[str] = ()) -> Node:
        """One of them; NoNodeAvailableError."""
        return self.balancer.pick(self.nodes(query), hints, avoid=avoid)

    def is_healthy(self, node: Node, query: Query) -> bool:
        """Whether discovery still hands `node` out, and it has not failed lately."""
        return self.balancer.is_healthy(node) and any(node.url == other.url for other in self.nodes(query))

    @contextmanager
    def track_request(self, node: Node) -> Iterator[None]:
        """Counts what the block does as a request at `node`, and remembers how it went."""
        with self.balancer.track(node):
            try:
                yield
            except NodeError as error:
                self.balancer.record_failure(node, busy=error.busy, retry_after=error.retry_after)
                raise
        self.balancer.record_success(node)

    def segments(
        self,
        text: str,
        options: SpeechOptions,
        query: Query,
        headers: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> list[str]:
        """`text` in the pieces in which it will be spoken."""
        failed: list[str] = []
        found: list[str] = []
        for attempt in self.retry.retrying(Deadline(self.retry.deadline), sleep):
            with attempt:
                node = self.pick(query, RequestHints(len(text), options.sample_rate), failed)
                failed.append(node.url)
                with self.track_request(node):
                    found = self.api.segments(node, text, options.phoneme, headers)
        return found
