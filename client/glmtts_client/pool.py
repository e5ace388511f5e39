"""What every request works with: where nodes are found, which one is taken, how it is spoken to, when to try again.

Knows nothing about what is done with the sound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from glmtts_client.api import Api
from glmtts_client.balancer import Ask, Chooser
from glmtts_client.discovery import Directory
from glmtts_client.errors import NodeError
from glmtts_client.node import Node, Query
from glmtts_client.retry import Clock, RetryPolicy
from glmtts_client.speech import Options


@dataclass(frozen=True)
class Pool:
    """Thread-safe; one for a whole program, so that all its requests learn from each other."""

    directory: Directory
    chooser: Chooser
    api: Api
    policy: RetryPolicy

    def nodes(self, query: Query) -> list[Node]:
        """Those that `query` admits."""
        return [node for node in self.directory.nodes() if query.admits(node)]

    def pick(self, query: Query, ask: Ask, avoid: Collection[str] = ()) -> Node:
        """One of them; NoNodeError."""
        return self.chooser.pick(self.nodes(query), ask, avoid=avoid)

    def is_well(self, node: Node, query: Query) -> bool:
        """Whether discovery still hands `node` out, and it has not failed lately."""
        return self.chooser.is_well(node) and any(node.url == other.url for other in self.nodes(query))

    @contextmanager
    def trying(self, node: Node) -> Iterator[None]:
        """Counts what the block does as a request at `node`, and remembers how it went."""
        with self.chooser.using(node):
            try:
                yield
            except NodeError as error:
                self.chooser.failed(node, busy=error.busy, retry_after=error.retry_after)
                raise
        self.chooser.succeeded(node)

    def segments(
        self,
        text: str,
        options: Options,
        query: Query,
        headers: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> list[str]:
        """`text` in the pieces in which it will be spoken."""
        failed: list[str] = []
        found: list[str] = []
        for attempt in self.policy.retrying(Clock(self.policy.deadline), sleep):
            with attempt:
                node = self.pick(query, Ask(len(text), options.sample_rate), failed)
                failed.append(node.url)
                with self.trying(node):
                    found = self.api.segments(node, text, options.phoneme, headers)
        return found
