"""Records of requests, for their log lines and for GET /requests/<id>. They never have the audio.

GET /requests/<id> also returns the timing, which has the text, and the continuation, from which it could be recovered.
Log lines must have neither.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from werkzeug.datastructures import Headers

from glmtts.engine.api import Report, SegmentTiming
from server.observability.playout import UnderrunMeter

Cancellation = Literal["disconnected", "slow_reader", "shutdown"]
"""The client closed the connection; it stopped reading the response; the node was shutting down."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass
class RequestRecord:
    """One request. Times are in seconds since its arrival. None: not known, or not yet."""

    request_id: str
    trace_id: str | None
    via_consul: bool
    route: str
    client_request_id: str | None = None
    """The id that the client chose. Several requests may have the same, so nothing is found by it."""
    key: str | None = None
    """Name of the API key, which owns the request."""
    trace_headers: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    status: int | None = None
    characters: int | None = None
    skipped_characters: int | None = None
    """Characters of the text that are left out, because they belong to another language."""
    segments: int | None = None
    voice: str | None = None
    prompted: bool | None = None
    """Whether the reference audio prompts the AR model; otherwise it gives the timbre only."""
    history: bool | None = None
    """Whether earlier segments prompt the next one, as many as the checkpoint was trained for."""
    format: str | None = None
    sample_rate: int | None = None
    seed: int | None = None
    first_audio_seconds: float | None = None
    total_seconds: float | None = None
    error: str | None = None
    disconnected: bool = False
    report: Report | None = None
    continuation: str | None = None
    """The token that continues this request; set before the last byte is sent."""
    mark_seconds: float = 0.0
    """Length of the mark in front of the speech."""
    underrun_meter: UnderrunMeter | None = None
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Start and end of the server's own stages, on the clock of `started`."""
    release: Callable[[], None] = lambda: None
    """Gives back what the request holds of its key's limits."""

    @staticmethod
    def from_headers(headers: Headers, route: str) -> RequestRecord:
        """A record for a request's headers. Its id is new and cannot be guessed: who knows it may read the record."""
        client_id = headers.get("X-Request-Id", "")
        trace = _TRACEPARENT.fullmatch(headers.get("Traceparent", ""))
        # WSGI has `via_consul` and `Via-Consul` under one name.
        via = headers.get("Via-Consul", headers.get("X-Via-Consul", ""))
        return RequestRecord(
            request_id=uuid.uuid4().hex,
            client_request_id=client_id if _REQUEST_ID.fullmatch(client_id) else None,
            trace_id=trace[1] if trace else None,
            via_consul=via.strip().lower() in ("true", "1"),
            route=route,
            trace_headers={name: headers[name] for name in ("traceparent", "tracestate") if name in headers},
        )

    def elapsed(self) -> float:
        """Seconds since the request arrived."""
        return time.monotonic() - self.started

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Records the duration of the block as that of a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.spans[stage] = (start, time.monotonic())

    def segment_timings(self) -> list[SegmentTiming]:
        """Where the segments made so far are in the response's audio."""
        return [timing.later(self.mark_seconds) for timing in (self.report.timings if self.report else ())]

    def timings(self) -> dict[str, float]:
        """Seconds per stage of the server and of the engine; `ar` is prefill and decode together."""
        server = {stage: end - start for stage, (start, end) in self.spans.items()}
        engine = dict(self.report.stage_seconds) if self.report else {}
        ar = [engine[stage] for stage in ("prefill", "decode") if stage in engine]
        return {**server, **engine, **({"ar": sum(ar)} if ar else {})}

    def cancellation(self) -> Cancellation | None:
        """Why the job was cancelled; None if it was not."""
        if self.report is None or self.report.finish_reason != "cancelled":
            return None
        if self.disconnected:
            return "disconnected"
        return "shutdown" if self.error == "draining" else "slow_reader"

    def rtf(self) -> float | None:
        """Real-time factor: seconds of work per second of audio, without the time in the queue. None without audio."""
        if self.report is None or self.total_seconds is None or not self.report.audio_seconds:
            return None
        return max(0.0, self.total_seconds - self.timings().get("queue", 0.0)) / self.report.audio_seconds

    def as_dict(self) -> dict[str, Any]:
        """All known values except timing and continuation, for JSON."""
        report = self.report
        values: dict[str, Any] = {
            "request_id": self.request_id,
            "client_request_id": self.client_request_id,
            "key": self.key,
            "trace_id": self.trace_id,
            "via_consul": self.via_consul,
            "route": self.route,
            "status": self.status,
            "characters": self.characters,
            "skipped_characters": self.skipped_characters,
            "segments": self.segments,
            "voice": self.voice,
            "prompted": self.prompted,
            "history": self.history,
            "format": self.format,
            "sample_rate": self.sample_rate,
            "seed": self.seed,
            "first_audio_seconds": self.first_audio_seconds,
            "total_seconds": self.total_seconds,
            "audio_seconds": report and report.audio_seconds,
            "speech_tokens": report and report.speech_tokens,
            "redraws": report and report.redraws,
            "rtf": self.rtf(),
            "underrun_seconds": self.underrun_meter and self.underrun_meter.underrun_seconds,
            "finish_reason": report and report.finish_reason,
            "error": self.error,
            **{f"{stage}_seconds": seconds for stage, seconds in self.timings().items()},
        }
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
        return {name: value for name, value in rounded.items() if value is not None}


class RequestHistory:
    """The last `size` speech requests by id, running ones included. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._records: OrderedDict[str, RequestRecord] = OrderedDict()

    def add(self, record: RequestRecord) -> None:
        with self._lock:
            self._records[record.request_id] = record
            while len(self._records) > self._size:
                self._records.popitem(last=False)

    def get(self, request_id: str) -> RequestRecord | None:
        with self._lock:
            return self._records.get(request_id)
