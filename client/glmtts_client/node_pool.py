"""What all requests of a program share: discovery, load balancer, HTTP API and retry policy."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from glmtts_client import long_text
from glmtts_client.api import Api
from glmtts_client.balancer import LoadBalancer, RequestHints
from glmtts_client.discovery import Discovery
from glmtts_client.errors import NodeError, TextTooLongError, VoiceNotFoundError
from glmtts_client.node import Node, Query
from glmtts_client.retry import Deadline, RetryPolicy
from glmtts_client.speech import Segment, SpeechOptions
from glmtts_client.voice_misses import VoiceMisses

TEXT_FIELDS = ("language", "phoneme", "voice", "reference_text")
"""The options that decide how a text is read: fields of POST /segments."""


@dataclass(frozen=True)
class NodePool:
    """Thread-safe. Share one in a program, so that every request benefits from what others learnt about the nodes."""

    discovery: Discovery
    balancer: LoadBalancer
    api: Api
    retry: RetryPolicy
    voice_misses: VoiceMisses

    def nodes(self, query: Query) -> list[Node]:
        """The passing nodes that match `query`. Raises ResponseError if all of them lack its voice."""
        matching = [node for node in self.discovery.nodes() if query.matches(node)]
        return self.voice_misses.nodes_with(query.voice, matching)

    def pick(self, query: Query, hints: RequestHints, avoid: Collection[str] = ()) -> Node:
        """A node that matches `query`. Raises NoNodeAvailableError, and ResponseError if all lack its voice."""
        return self.pick_among(self.nodes(query), hints, avoid)

    def pick_among(self, nodes: Sequence[Node], hints: RequestHints, avoid: Collection[str] = ()) -> Node:
        """One of `nodes`, outside `avoid` (addresses) and not silent if possible. Raises NoNodeAvailableError.

        Ejected ones are probed in the background when it is time.
        """
        for node in self.balancer.take_due_probes(nodes):
            self.api.liveness.if_ready(node.url, partial(self.balancer.readmit, node))
        suspects = [node.url for node in nodes if self.api.liveness.is_suspect(node.url)]
        return self.balancer.pick(nodes, hints, avoid={*avoid, *suspects})

    def is_healthy(self, node: Node, query: Query) -> bool:
        """Whether discovery still lists `node`, and it has not failed recently and is not silent."""
        if not self.balancer.is_healthy(node) or self.api.liveness.is_suspect(node.url):
            return False
        return any(node.url == other.url for other in self.nodes(query))

    @contextmanager
    def track_request(self, node: Node) -> Iterator[None]:
        """Counts the block as a request in flight at `node`, and records whether it raised NodeError."""
        with self.balancer.track(node):
            try:
                yield
            except NodeError as error:
                self.record(node, error)
                raise
        self.record(node, None)

    def record(self, node: Node, error: NodeError | None) -> None:
        """Tells the balancer how a request ended, and notes that a node lacks a voice."""
        if error is None:
            self.balancer.record_success(node)
        elif isinstance(error, VoiceNotFoundError):
            self.voice_misses.record(error, self.discovery.nodes())
        else:
            self.balancer.record_failure(node, busy=error.busy, retry_after=error.retry_after)

    def segments(
        self,
        text: str,
        options: SpeechOptions,
        query: Query,
        headers: Mapping[str, str],
        cancel: threading.Event | None = None,
        *,
        pronunciation: bool = False,
    ) -> list[Segment]:
        """The segments in which a server would speak `text`. Raises ClientError, also after `cancel` is set."""
        fields = {name: value for name, value in options.to_json().items() if name in TEXT_FIELDS}
        if pronunciation:
            fields["pronunciation"] = True

        def of_text(part: str) -> list[Segment]:
            try:
                return self._segments({"text": part, **fields}, options, query, headers, cancel)
            except TextTooLongError as error:
                limit = error.limit
            parts = long_text.for_each_part(part, limit, of_text)
            return [segment for _, segments in parts for segment in segments or ()]

        return of_text(text)

    def _segments(
        self,
        body: Mapping[str, Any],
        options: SpeechOptions,
        query: Query,
        headers: Mapping[str, str],
        cancel: threading.Event | None,
    ) -> list[Segment]:
        used: list[str] = []
        segments: list[Segment] = []
        for attempt in self.retry.retrying(Deadline(self.retry.timeout), cancel=cancel):
            with attempt:
                node = self.pick(query, RequestHints(len(body["text"]), options.sample_rate), used)
                used.append(node.url)
                with self.track_request(node):
                    segments = self.api.segments(node, body, headers)
        return segments
