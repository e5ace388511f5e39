"""What is remembered of a request: the facts of its log line and of GET /requests/<id>. Never its text or audio.

GET /requests/<id> has the continuation too, from which a text could be read back: no log line ever has it.

Knows nothing about HTTP frameworks, metrics or the engine beyond its Report.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from werkzeug.datastructures import Headers

from glmtts.engine.api import Report
from server.observability.playout import UnderrunMeter

Cancellation = Literal["disconnected", "slow_reader", "shutdown"]
"""The client closed the connection; it stopped reading the response; the node was shutting down."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass
class RequestRecord:
    """One request. Times in seconds since it came in; None: not known (yet)."""

    request_id: str
    trace_id: str | None
    via_consul: bool
    route: str
    trace_headers: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    status: int | None = None
    characters: int | None = None
    segments: int | None = None
    voice: str | None = None
    prompted: bool | None = None
    """Whether the voice's recording prompts the AR model; else it gives timbre only."""
    history: bool | None = None
    """Whether earlier segments prompt the next one, as many as the checkpoint was trained for."""
    format: str | None = None
    sample_rate: int | None = None
    seed: int | None = None
    first_audio: float | None = None
    total: float | None = None
    error: str | None = None
    disconnected: bool = False
    report: Report | None = None
    continuation: str | None = None
    """The token to go on with; set before the last byte leaves."""
    underrun_meter: UnderrunMeter | None = None
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The server's own stages: begin and end of each on the clock of `started`."""

    @staticmethod
    def from_headers(headers: Headers, route: str) -> RequestRecord:
        """From a request's headers. An id of the caller's is taken if it is printable and short, else one is made."""
        given = headers.get("X-Request-Id", "")
        trace = _TRACEPARENT.fullmatch(headers.get("Traceparent", ""))
        # gunicorn hands on `via_consul` as it does `Via-Consul`.
        via = headers.get("Via-Consul", headers.get("X-Via-Consul", ""))
        return RequestRecord(
            request_id=given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex,
            trace_id=trace[1] if trace else None,
            via_consul=via.strip().lower() in ("true", "1"),
            route=route,
            trace_headers={name: headers[name] for name in ("traceparent", "tracestate") if name in headers},
        )

    def elapsed(self) -> float:
        """Seconds since the request came in."""
        return time.monotonic() - self.started

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Notes when the block began and ended."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.spans[stage] = (began, time.monotonic())

    def timings(self) -> dict[str, float]:
        """Seconds per stage: the server's own and the engine's; ar is the engine's prefill and decode together."""
        own = {stage: end - began for stage, (began, end) in self.spans.items()}
        engines = dict(self.report.stage_seconds) if self.report else {}
        ar = [engines[stage] for stage in ("prefill", "decode") if stage in engines]
        return {**own, **engines, **({"ar": sum(ar)} if ar else {})}

    def cancellation(self) -> Cancellation | None:
        """Why the job was given up, if it was."""
        if self.report is None or self.report.finish_reason != "cancelled":
            return None
        if self.disconnected:
            return "disconnected"
        return "shutdown" if self.error == "draining" else "slow_reader"

    def rtf(self) -> float | None:
        """Seconds of work a second of audio, waiting in line left out; None without audio."""
        if self.report is None or self.total is None or not self.report.audio_seconds:
            return None
        return max(0.0, self.total - self.timings().get("queue", 0.0)) / self.report.audio_seconds

    def as_dict(self) -> dict[str, Any]:
        """Everything known but the continuation, for JSON; unknown is left out."""
        report = self.report
        known: dict[str, Any] = {
            "request_id": self.request_id,
            "trace_id": self.trace_id,
            "via_consul": self.via_consul,
            "route": self.route,
            "status": self.status,
            "characters": self.characters,
            "segments": self.segments,
            "voice": self.voice,
            "prompted": self.prompted,
            "history": self.history,
            "format": self.format,
            "sample_rate": self.sample_rate,
            "seed": self.seed,
            "first_audio_seconds": self.first_audio,
            "total_seconds": self.total,
            "audio_seconds": report and report.audio_seconds,
            "speech_tokens": report and report.speech_tokens,
            "rtf": self.rtf(),
            "underrun_seconds": self.underrun_meter and self.underrun_meter.underrun_seconds,
            "finish_reason": report and report.finish_reason,
            "error": self.error,
            **{f"{stage}_seconds": seconds for stage, seconds in self.timings().items()},
        }
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in known.items()}
        return {name: value for name, value in rounded.items() if value is not None}


class RequestHistory:
    """The last `limit` speech requests by id, running ones too. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: OrderedDict[str, RequestRecord] = OrderedDict()

    def add(self, record: RequestRecord) -> None:
        with self._lock:
            self._held.pop(record.request_id, None)
            self._held[record.request_id] = record
            while len(self._held) > self._limit:
                self._held.popitem(last=False)

    def get(self, request_id: str) -> RequestRecord | None:
        with self._lock:
            return self._held.get(request_id)
