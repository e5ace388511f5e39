"""What all requests of a program share: discovery, load balancer, HTTP API and retry policy."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests

from glmtts_client import long_text
from glmtts_client.api import Api
from glmtts_client.balancer import LoadBalancer, RequestHints
from glmtts_client.deadlines import MAX_HEDGED_CHARACTERS, is_hedge_due, may_take_hedge
from glmtts_client.discovery import Discovery
from glmtts_client.errors import NodeError, NoNodeAvailableError, TextTooLongError, VoiceNotFoundError
from glmtts_client.hedging import Answer, Hedge, OnWait, hedged
from glmtts_client.liveness import NO_ANSWER, SUSPECT_SECONDS, VERDICT_SECONDS
from glmtts_client.node import Node, Query
from glmtts_client.retry import Deadline, RetryBudget, RetryPolicy
from glmtts_client.speech import Segment, SpeechOptions
from glmtts_client.voice_misses import VoiceMisses

TEXT_FIELDS = ("language", "phoneme", "voice", "reference_text")
"""The options that decide how a text is read: fields of POST /segments."""
HEDGED_SHARE, HEDGE_RESERVE = 0.05, 2.0
"""At most a twentieth of the streams get a second request, and two more."""
CHECK_SECONDS = 0.5
"""For which nodes are asked in turn before one gets a request unasked."""
ANSWER_SECONDS = 1.0
"""How old a node's word on its queue may be."""


@dataclass(frozen=True)
class NodePool:
    """Thread-safe. Share one in a program, so that every request benefits from what others learnt about the nodes."""

    discovery: Discovery
    balancer: LoadBalancer
    api: Api
    retry: RetryPolicy
    voice_misses: VoiceMisses
    hedges: RetryBudget = field(default_factory=lambda: RetryBudget(HEDGED_SHARE, HEDGE_RESERVE))

    def nodes(self, query: Query) -> list[Node]:
        """The passing nodes that match `query`. Raises ResponseError if all of them lack its voice."""
        matching = [node for node in self.discovery.nodes() if query.matches(node)]
        return self.voice_misses.nodes_with(query.voice, matching)

    def pick(self, query: Query, hints: RequestHints, avoid: Collection[str] = ()) -> Node:
        """A node that matches `query`. Raises NoNodeAvailableError, and ResponseError if all lack its voice."""
        return self.pick_among(self.nodes(query), hints, avoid)

    def pick_among(self, nodes: Sequence[Node], hints: RequestHints, avoid: Collection[str] = ()) -> Node:
        """One of `nodes`, outside `avoid` (addresses) and ready if possible. Raises NoNodeAvailableError."""
        node, ready = self._pick(nodes, hints, avoid)
        # The others are busy, or there are none: better to know whether this one is dead than to lose the request.
        if ready or self.is_ready(node, VERDICT_SECONDS):
            return node
        return self.balancer.pick(nodes, hints, avoid=avoid)

    def _pick(self, nodes: Sequence[Node], hints: RequestHints, avoid: Collection[str]) -> tuple[Node, bool]:
        """See `pick_among`; whether the node seems to be ready.

        Ejected ones are probed in the background when it is time.
        """
        for node in self.balancer.take_due_probes(nodes):
            self.api.liveness.if_ready(node.url, partial(self.balancer.readmit, node))
        silent = {node.url for node in nodes if self.api.liveness.is_suspect(node.url)}
        end = time.monotonic() + CHECK_SECONDS
        while True:
            node = self.balancer.pick(nodes, hints, avoid={*avoid, *silent})
            if node.url in silent:
                node = self.balancer.pick(nodes, hints, avoid=silent)
            if node.url in silent:
                return node, False
            if time.monotonic() > end or self.is_ready(node):
                return node, True
            silent.add(node.url)

    def is_ready(self, node: Node, patience: float = SUSPECT_SECONDS) -> bool:
        """Whether the node seems to be alive and ready; asks it, for `patience` s, if it has been quiet for some time.

        One that is dead is left out from then on.
        """
        try:
            return self.api.liveness.is_ready(node.url, patience)
        except NodeError as error:
            self.record(node, error)
            return False

    def is_healthy(self, node: Node, query: Query) -> bool:
        """Whether discovery still lists `node`, and it has not failed recently and is not silent."""
        if not self.balancer.is_healthy(node) or self.api.liveness.is_suspect(node.url):
            return False
        return any(node.url == other.url for other in self.nodes(query))

    @contextmanager
    def stream(self, node: Node, body: Mapping[str, Any], headers: Mapping[str, str], query: Query) -> Iterator[Answer]:
        """POST /tts/stream: the answer of `node`, or that of a second one with its model if it comes first.

        Read the body inside the block. Raises NodeError and ResponseError.
        """
        self.hedges.deposit()
        hedge = Hedge(
            partial(self._is_hedge_due, node, len(body["text"])),
            partial(self._open_second, node, body, headers, query),
        )

        def open_first(on_wait: OnWait) -> AbstractContextManager[requests.Response]:
            return self.api.stream(node, body, headers, on_wait)

        with (
            hedged(node, open_first, hedge, partial(self.record, node)) as answer,
            nullcontext() if answer.node is node else self.api.reading(answer.node),
        ):
            yield answer

    def _is_hedge_due(self, node: Node, text_chars: int, waited: float) -> bool:
        suspect, progress = self.api.liveness.is_suspect(node.url), self.api.liveness.progress(node.url, ANSWER_SECONDS)
        return text_chars <= MAX_HEDGED_CHARACTERS and is_hedge_due(waited, progress, suspect=suspect)

    @contextmanager
    def _open_second(
        self, first: Node, body: Mapping[str, Any], headers: Mapping[str, str], query: Query, on_wait: OnWait
    ) -> Iterator[Answer]:
        """The same from another node that can take it. Raises ClientError, also if there is none or no budget left."""
        suspect = self.api.liveness.is_suspect(first.url)
        others = [node for node in self.nodes(query) if node.url != first.url and node.same_model(first)]
        node, ready = self._pick([node for node in others if self.is_healthy(node, query)], _hints(body), ())
        answer = self.api.ask(node.url) if ready else NO_ANSWER
        if not (answer.ready and may_take_hedge(answer.progress, suspect=suspect) and self.hedges.try_withdraw()):
            raise NoNodeAvailableError("no second node can take the request")
        with self.track_request(node), self.api.stream(node, body, headers, on_wait) as response:
            yield Answer(node, response)

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


def _hints(body: Mapping[str, Any]) -> RequestHints:
    return RequestHints(len(body["text"]), body.get("sample_rate"))
