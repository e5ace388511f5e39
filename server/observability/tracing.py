"""One OpenTelemetry trace a request, made from its RequestRecord when it is over and sent by OTLP over HTTP.

So the way of a request knows nothing of tracing, and without an endpoint nothing of it is even imported. Knows nothing
about HTTP frameworks. Attributes are those of the log line: never a text or a recording.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from server.discovery.metadata import service_id
from server.observability.request_log import RequestRecord
from server.settings import Settings

if TYPE_CHECKING:  # an optional extra: otel
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where OpenTelemetry's own variables name one, the exporter reads them, and its other variables too, itself."""
STAGES = ("queue", "text", "voice", "prefill", "decode", "flow", "vocoder", "send")
FACTS = (
    *("request_id", "via_consul", "characters", "segments", "voice", "format", "sample_rate", "seed"),
    *("audio_seconds", "speech_tokens", "first_audio_seconds", "underrun_seconds", "rtf", "finish_reason"),
)


class Tracing(Protocol):
    """Where finished requests are traced."""

    def trace(self, record: RequestRecord, method: str) -> None:
        """Makes the spans of a finished request, and notes the trace's id in its record."""
        ...

    def flush(self, patience: float) -> None:
        """Sends what is left; waits at most so many seconds."""
        ...


def make_tracing(settings: Settings, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """None where no endpoint is configured, tracing is switched off, or the extra is missing (that is logged)."""
    if settings.otlp_endpoint is None and not any(environ.get(name) for name in ENDPOINTS):
        return None
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("an endpoint for traces is configured, but not what sends them (extra otel): %s", error)
        return None
    own = settings.otlp_endpoint
    exporter = OTLPSpanExporter(endpoint=own.rstrip("/") + "/v1/traces" if own else None)
    provider = TracerProvider(resource=Resource.create(_names(settings, environ)))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtlpTracing(provider)


def _names(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What this node is called in traces: as in Consul, unless OpenTelemetry's variables name the service."""
    host = settings.node_name or socket.gethostname()
    names = {"service.instance.id": service_id(settings.consul_service, host, settings.port)}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        names["service.name"] = settings.consul_service
    return names


class OtlpTracing:
    """Traces through OpenTelemetry's SDK: spans are queued here and sent by a thread of its own, lost if need be."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("glmtts")
        self._propagator = TraceContextTextMapPropagator()

    def trace(self, record: RequestRecord, method: str) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context

        began = record.started
        root = self._tracer.start_span(
            f"{method} {record.route}",
            context=self._propagator.extract(record.trace_headers),
            kind=SpanKind.SERVER,
            attributes=attributes(record, method),
            start_time=_epoch(began),
        )
        record.trace_id = format_trace_id(root.get_span_context().trace_id)
        if record.status is None or record.status >= 500 or (record.error is not None and record.status < 400):
            root.set_status(Status(StatusCode.ERROR, record.error))
        context = set_span_in_context(root)
        for stage, (start, end) in _spans(record).items():
            span = self._tracer.start_span(stage, context=context, start_time=_epoch(start))
            span.set_attribute("glmtts.busy_seconds", record.timings().get(stage, end - start))
            span.end(_epoch(end))
        root.end(_epoch(began + (record.total or 0.0)))

    def flush(self, patience: float) -> None:
        # Not in this thread: an endpoint that does not answer keeps its callers for as long as its own time limits.
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(patience)


def attributes(record: RequestRecord, method: str) -> dict[str, Any]:
    """What the root span says: OpenTelemetry's names for HTTP, ours for speech."""
    facts = record.as_dict()
    http = {
        "http.request.method": method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "error.type": record.error,
    }
    ours = {f"glmtts.{name}": facts.get(name) for name in FACTS}
    return {name: value for name, value in (http | ours).items() if value is not None}


def _spans(record: RequestRecord) -> dict[str, tuple[float, float]]:
    """Begin and end of the stages, in their order, on the record's clock."""
    spans = {**record.spans, **(record.report.stage_spans if record.report is not None else {})}
    return {stage: spans[stage] for stage in STAGES if stage in spans}


def _epoch(monotonic: float) -> int:
    """Nanoseconds since 1970 of a reading of `time.monotonic`."""
    return time.time_ns() - round(1e9 * (time.monotonic() - monotonic))
