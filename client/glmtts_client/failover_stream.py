"""Speaks a text segment by segment, each on the node that is there for it, each going on from the one before.

When a node is lost, another takes the segment over with the same seed and history; what was heard of it is skipped.
Knows nothing about who listens: samples leave through a function, and an event says when nobody wants more.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from glmtts_client.api import abort, iter_chunks
from glmtts_client.balancer import RequestHints
from glmtts_client.errors import ClientError, NodeError, ResponseError
from glmtts_client.node import Node, Query
from glmtts_client.node_pool import NodePool
from glmtts_client.retry import Deadline
from glmtts_client.speech import SpeechOptions
from glmtts_client.splice import SplicePoint, Splicer

log = logging.getLogger(__name__)


class StoppedError(ClientError):
    """Nobody listens any more."""


@dataclass
class SegmentReport:
    """How one segment came about: on which nodes, the last of which ended it, and where they were joined.

    `history`: whether it was prompted with what was said before it; not so where no node could take that over.
    """

    text: str
    nodes: list[str] = field(default_factory=list)
    splice_points: tuple[SplicePoint, ...] = ()
    audio_seconds: float = 0.0
    used_history: bool = True


@dataclass
class _Chain:
    """What one segment hands on to the next: the node that ended it, the server's token, and the rate of all (Hz)."""

    node: Node | None = None
    token: str | None = None
    rate: int | None = None


class FailoverStream:
    """`run` speaks all of `text`; `started(rate)` is called before the first `emit(samples)`.

    `room` blocks while the listener has enough for now. All three are called from the thread that runs.
    """

    def __init__(
        self,
        pool: NodePool,
        text: str,
        options: SpeechOptions,
        query: Query,
        *,
        headers: Mapping[str, str],
        started: Callable[[int], None],
        emit: Callable[[bytes], None],
        room: Callable[[], None],
    ) -> None:
        self.segments: list[SegmentReport] = []
        self._pool = pool
        self._text = text
        self._options = options
        self._query = query
        self._headers = headers
        self._started, self._emit, self._room = started, emit, room
        self._id = uuid.uuid4().hex
        self._chain = _Chain()
        self._splice: Splicer | None = None
        self._failed: set[str] = set()
        self._stopped = threading.Event()
        self._answer: requests.Response | None = None

    def stop(self) -> None:
        """Makes `run` end soon, from any thread."""
        self._stopped.set()
        if (answer := self._answer) is not None:
            abort(answer)

    def run(self) -> None:
        """Returns when all is said or `stop` was called; raises what the caller shall see."""
        try:
            texts = self._pool.segments(self._text, self._options, self._query, self._headers, self._wait)
            for text in texts:
                self._room()
                self._say(text)
        except StoppedError:
            pass

    def _wait(self, seconds: float = 0.0) -> None:
        if self._stopped.wait(seconds):
            raise StoppedError

    def _say(self, text: str) -> None:
        """One segment, on as many nodes as it takes."""
        report = SegmentReport(text)
        self.segments.append(report)
        self._splice = None
        self._failed = set()
        deadline = Deadline(self._pool.retry.deadline)
        for attempt in self._pool.retry.retrying(deadline, self._wait):
            with attempt:
                self._wait()
                node = self._choose(report)
                report.nodes.append(node.url)
                try:
                    with self._pool.track_request(node):
                        self._try(node, report, deadline)
                except NodeError as error:
                    if not error.busy:
                        self._failed.add(node.url)
                    raise

    def _choose(self, report: SegmentReport) -> Node:
        """The node of the segment before, while it is well; else one with its model; else any, without history."""
        last, failed = self._chain.node, self._failed
        hints = RequestHints(len(report.text), self._chain.rate or self._options.sample_rate)
        if last is None:
            return self._pool.pick(self._query, hints, report.nodes)
        if last.url not in report.nodes and self._pool.is_healthy(last, self._query):
            return last
        nodes = self._pool.nodes(self._query)
        # Those that failed at this very segment may stay in discovery for a while.
        same = [node for node in nodes if _model(node) == _model(last) and node.url not in failed]
        return self._pool.balancer.pick(same or nodes, hints, avoid=report.nodes)

    def _try(self, node: Node, report: SegmentReport, deadline: Deadline) -> None:
        """The segment from one node, after what others gave of it already; then the token for the next segment."""
        chain, number = self._chain, len(self.segments) - 1
        token = chain.token if chain.node is None or _model(node) == _model(chain.node) else None
        request_id = f"{self._id}-{number}-{len(report.nodes)}"
        try:
            self._hear(node, report, deadline, token, request_id)
        except ResponseError as error:
            if error.field != "continuation" or token is None:
                raise
            # Another checkpoint after all. Better to go on without history than not at all.
            self._hear(node, report, deadline, token := None, request_id)
        report.used_history = number == 0 or token is not None
        chain.token, chain.node = self._token(node, request_id), node

    def _hear(self, node: Node, report: SegmentReport, deadline: Deadline, token: str | None, request_id: str) -> None:
        headers = {**self._headers, "X-Request-Id": request_id}
        with self._pool.api.stream(node, self._body(report.text, token), headers) as answer:
            self._read(answer, report, deadline)

    def _body(self, text: str, token: str | None) -> dict[str, Any]:
        more = {"continuation": token, "sample_rate": self._chain.rate or self._options.sample_rate}
        given = {name: value for name, value in more.items() if value is not None}
        return {
            "text": text,
            **self._options.to_json(),
            "segmented": True,
            "timeout": self._pool.retry.queue_timeout,
            **given,
        }

    def _read(self, answer: requests.Response, report: SegmentReport, deadline: Deadline) -> None:
        if self._chain.rate is None:
            self._chain.rate = int(answer.headers["X-Sample-Rate"])
            self._started(self._chain.rate)
        splice = self._splice = self._splice or Splicer(self._chain.rate)
        splice.restart()
        self._answer = answer
        try:
            for piece in iter_chunks(answer):
                self._wait()
                deadline.restart()
                self._out(splice.feed(piece), report)
            self._out(splice.end(), report)
        except Exception:
            self._wait()  # if it broke because nobody listens, then that is the reason
            raise
        finally:
            self._answer = None
            if len(splice.joins) > len(report.splice_points):
                log.warning("segment %d was taken over: %s", len(self.segments) - 1, splice.joins[-1])
            report.splice_points = tuple(splice.joins)

    def _out(self, samples: bytes, report: SegmentReport) -> None:
        if samples:
            assert self._chain.rate is not None
            report.audio_seconds += len(samples) / 2 / self._chain.rate
            self._emit(samples)

    def _token(self, node: Node, request_id: str) -> str | None:
        """What was said so far, for any node to go on from; None when this one does not know any more."""
        try:
            token = self._pool.api.get(node, f"/requests/{request_id}").get("continuation")
        except ResponseError as error:
            log.warning("%s does not say what was said: %s", node.url, error)
            return None
        return None if token is None else str(token)


def _model(node: Node) -> tuple[str, str]:
    return node.model, node.version
