"""Speaks a text segment by segment over the cluster, and replaces a node that fails.

Each segment is an explicit loop over attempts; an attempt returns how it ended. A segment goes to the node of the
previous one if possible, with a token of what was said before. When a node fails, the next attempt has the same seed
and history, and the part of it that was already heard is skipped.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import requests

from glmtts_client.api import abort, iter_chunks
from glmtts_client.balancer import RequestHints
from glmtts_client.errors import NodeError, NoNodeAvailableError, ResponseError, TokenTooNewError
from glmtts_client.node import Node, Query
from glmtts_client.node_pool import NodePool
from glmtts_client.retry import Deadline, RetryableFailure
from glmtts_client.speech import SpeechOptions
from glmtts_client.splice import SplicePoint, Splicer

log = logging.getLogger(__name__)

TOKEN_TOO_NEW = "unsupported_version"
"""Code of the error for a continuation token of a newer server."""


class AudioListener(Protocol):
    """Receives the audio of a stream, in the thread that runs it."""

    def on_start(self, sample_rate: int) -> None:
        """Called once, before the first samples. `sample_rate` in Hz."""

    def on_samples(self, samples: bytes) -> None:
        """Signed 16 bit, little endian, mono."""

    def wait_for_space(self) -> None:
        """Blocks while the listener has enough audio for now."""


@dataclass
class SegmentReport:
    """How a segment was spoken: the nodes that were tried, the last of which completed it, and where they were spliced.

    `used_history`: whether it was spoken with the history of the segments before it; true for the first segment.
    """

    text: str
    nodes: list[str] = field(default_factory=list)
    splice_points: tuple[SplicePoint, ...] = ()
    audio_seconds: float = 0.0
    used_history: bool = True


@dataclass
class _Carry:
    """What a segment hands to the next one: its node, the continuation token and the sample rate (Hz)."""

    node: Node | None = None
    token: str | None = None
    sample_rate: int | None = None


@dataclass
class _Segment:
    """The segment being spoken: what is kept from one attempt to the next.

    `speaker`: the node that spoke last, or was asked to. `failed`: addresses of failed nodes.
    """

    number: int
    report: SegmentReport
    deadline: Deadline
    speaker: Node | None = None
    splicer: Splicer | None = None
    failed: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Completed:
    """The segment was spoken to its end. `token`: of what was said so far, None if unknown."""

    node: Node
    token: str | None
    used_history: bool


@dataclass(frozen=True)
class _Stopped:
    """`stop` was called."""


@dataclass(frozen=True)
class _HistoryRejected:
    """The node does not accept the continuation token, for this `reason`."""

    reason: ResponseError


_Attempt = _Completed | _Stopped | RetryableFailure


class FailoverStream:
    """`run` speaks all of `text` to `listener`, in the calling thread. `segments` reports on the segments so far."""

    def __init__(
        self,
        pool: NodePool,
        text: str,
        options: SpeechOptions,
        query: Query,
        listener: AudioListener,
        *,
        headers: Mapping[str, str],
    ) -> None:
        self.segments: list[SegmentReport] = []
        self._pool = pool
        self._text = text
        self._options = options
        self._query = query
        self._listener = listener
        self._headers = headers
        self._id = uuid.uuid4().hex
        self._carry = _Carry()
        self._stopped = threading.Event()
        self._response: requests.Response | None = None

    def stop(self) -> None:
        """Makes `run` end soon; callable from any thread."""
        self._stopped.set()
        if (response := self._response) is not None:
            abort(response)

    def run(self) -> None:
        """Returns when the whole text is spoken. Raises ClientError; after `stop`, the error has no meaning."""
        segments = self._pool.segments(self._text, self._options, self._query, self._headers, cancel=self._stopped)
        for number, segment in enumerate(segments):
            self._listener.wait_for_space()
            if self._stopped.is_set():
                return
            self._speak_segment(number, segment.text)

    def _speak_segment(self, number: int, text: str) -> None:
        """Tries nodes until one completes the segment. Raises RetriesExhaustedError or ResponseError."""
        segment = _Segment(number, SegmentReport(text), Deadline(self._pool.retry.timeout))
        self.segments.append(segment.report)
        for attempt in self._pool.retry.retrying(segment.deadline, cancel=self._stopped):
            result = self._attempt(segment)
            if isinstance(result, _Completed):
                self._carry.node, self._carry.token = result.node, result.token
                segment.report.used_history = result.used_history
            attempt.retry_state.set_result(result)  # after a RetryableFailure there is another attempt

    def _attempt(self, segment: _Segment) -> _Attempt:
        """Chooses a node, speaks the segment on it and records how that went."""
        if self._stopped.is_set():
            return _Stopped()
        try:
            node = self._choose_node(segment)
        except NoNodeAvailableError as error:
            return RetryableFailure(error)
        _set_speaker(segment, node)
        with self._pool.balancer.track(node):
            result = self._speak_on(node, segment)
        assert segment.speaker is not None
        match result:
            case _Completed():
                self._pool.record(segment.speaker, None)
            case RetryableFailure(NodeError() as failure):
                self._pool.record(segment.speaker, failure)
                if not failure.busy:
                    segment.failed.add(segment.speaker.url)
        return result

    def _choose_node(self, segment: _Segment) -> Node:
        """The previous segment's node if healthy, else one with its model, else any. Raises NoNodeAvailableError."""
        previous, tried = self._carry.node, segment.report.nodes
        hints = RequestHints(len(segment.report.text), self._sample_rate())
        if previous is None:
            return self._pool.pick(self._query, hints, tried)
        if previous.url not in tried and self._pool.is_healthy(previous, self._query) and self._pool.is_ready(previous):
            return previous
        nodes = self._pool.nodes(self._query)
        # Nodes that failed at this segment may stay in discovery for a while.
        same = [node for node in nodes if node.same_model(previous) and node.url not in segment.failed]
        return self._pool.pick_among(same or nodes, hints, tried)

    def _speak_on(self, node: Node, segment: _Segment) -> _Attempt:
        """One attempt on `node`: with history if it has the previous node's model, else without."""
        previous = self._carry.node
        token = self._carry.token if previous is not None and node.same_model(previous) else None
        result = self._request(node, segment, token)
        if isinstance(result, _HistoryRejected):
            if result.reason.code == TOKEN_TOO_NEW and self._has_untried(node, segment):
                return RetryableFailure(TokenTooNewError(node.url, str(result.reason), status=result.reason.status))
            # It has another checkpoint, or is too old for the token. Better without history than not at all.
            result = self._request(node, segment, None)
            assert not isinstance(result, _HistoryRejected)
        return result

    def _has_untried(self, node: Node, segment: _Segment) -> bool:
        """Whether a node with the same model has not been tried for this segment."""
        return any(
            other.same_model(node) and other.url not in segment.report.nodes for other in self._pool.nodes(self._query)
        )

    def _request(self, node: Node, segment: _Segment, token: str | None) -> _Attempt | _HistoryRejected:
        """Streams the segment from `node`, then fetches the token for the next one. Raises ResponseError."""
        request_id = f"{self._id}-{segment.number}-{len(segment.report.nodes)}"
        headers = {**self._headers, "X-Request-Id": request_id}
        try:
            with self._pool.stream(node, self._body(segment, token), headers, self._query) as answer:
                if answer.node is not node:
                    _set_speaker(segment, answer.node)
                self._copy(answer.response, segment)
                own_id = answer.response.headers.get("X-Request-Id", "")
            next_token = None if self._stopped.is_set() else self._fetch_token(answer.node, own_id)
        except NodeError as error:
            # After `stop` a broken connection is our own doing.
            return _Stopped() if self._stopped.is_set() else RetryableFailure(error)
        except ResponseError as error:
            if token is None or error.field != "continuation":
                raise
            return _HistoryRejected(error)
        if self._stopped.is_set():
            return _Stopped()
        return _Completed(answer.node, next_token, used_history=segment.number == 0 or token is not None)

    def _body(self, segment: _Segment, token: str | None) -> dict[str, Any]:
        body = {
            "text": segment.report.text,
            **self._options.to_json(),
            "segmented": True,
            "timeout": self._pool.retry.queue_timeout,
            "continuation": token,
            "sample_rate": self._sample_rate(),
        }
        return {name: value for name, value in body.items() if value is not None}

    def _sample_rate(self) -> int | None:
        """In Hz: that of the first response, so that every segment has the same; before it, the requested one."""
        return self._carry.sample_rate or self._options.sample_rate

    def _copy(self, response: requests.Response, segment: _Segment) -> None:
        """Passes samples that were not heard before to the listener, until the response ends or `stop` is called."""
        splicer = self._splicer(response, segment)
        self._response = response
        try:
            chunks = iter_chunks(response)
            while not self._stopped.is_set() and (chunk := next(chunks, None)) is not None:
                segment.deadline.restart()
                self._emit(splicer.feed(chunk), splicer, segment.report)
        finally:
            self._response = None
        if not self._stopped.is_set():
            self._emit(splicer.finish(), splicer, segment.report)

    def _splicer(self, response: requests.Response, segment: _Segment) -> Splicer:
        """The segment's splicer, ready for a new attempt."""
        if self._carry.sample_rate is None:
            self._carry.sample_rate = int(response.headers["X-Sample-Rate"])
            self._listener.on_start(self._carry.sample_rate)
        if segment.splicer is None:
            segment.splicer = Splicer(self._carry.sample_rate)
        segment.splicer.restart()
        return segment.splicer

    def _emit(self, samples: bytes, splicer: Splicer, report: SegmentReport) -> None:
        if len(splicer.points) > len(report.splice_points):
            log.warning("segment %d continues on %s: %s", len(self.segments) - 1, report.nodes[-1], splicer.points[-1])
            report.splice_points = tuple(splicer.points)
        if samples:
            report.audio_seconds += len(samples) / 2 / splicer.sample_rate
            self._listener.on_samples(samples)

    def _fetch_token(self, node: Node, request_id: str) -> str | None:
        """The continuation token of what was said so far; None if the node no longer knows. Raises NodeError."""
        try:
            token = self._pool.api.get(node, f"/requests/{request_id}").get("continuation")
        except ResponseError as error:
            log.warning("%s returned no continuation token: %s", node.url, error)
            return None
        return None if token is None else str(token)


def _set_speaker(segment: _Segment, node: Node) -> None:
    segment.speaker = node
    segment.report.nodes.append(node.url)
