"""One OpenTelemetry trace per request, made from its RequestRecord at the end and exported by OTLP over HTTP.

So the handling of a request needs no tracing code, and without an endpoint OpenTelemetry is not imported. Attributes
are those of the log line: never a text or audio.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from server.discovery.metadata import own_service_id
from server.observability.request_log import RequestRecord
from server.settings import Settings

if TYPE_CHECKING:  # an optional extra: otel
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own variables for an endpoint. The exporter reads these and its other variables itself."""
STAGES = ("queue", "text", "voice", "prefill", "decode", "flow", "vocoder", "send")
ATTRIBUTES = (
    *("request_id", "client_request_id", "key", "via_consul", "characters", "segments", "voice", "format"),
    *("sample_rate", "seed", "audio_seconds", "speech_tokens", "first_audio_seconds", "underrun_seconds", "rtf"),
    "finish_reason",
)


class Tracing(Protocol):
    """Exports traces of finished requests."""

    def trace(self, record: RequestRecord, method: str) -> None:
        """Creates the spans of a finished request, and sets the trace id of its record."""
        ...

    def flush(self, timeout: float) -> None:
        """Exports the remaining spans; waits at most `timeout` seconds."""
        ...


def make_tracing(settings: Settings, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """None if there is no endpoint, if tracing is disabled, or if the extra is missing (with a warning)."""
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
        log.warning("traces have an endpoint, but no exporter is installed (extra otel): %s", error)
        return None
    endpoint = settings.otlp_endpoint
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces" if endpoint else None)
    provider = TracerProvider(resource=Resource.create(_resource(settings, environ)))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtlpTracing(provider)


def _resource(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The node's resource attributes: its names in Consul, unless OpenTelemetry's variables name the service."""
    attributes = {"service.instance.id": own_service_id(settings)}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = settings.consul_service
    return attributes


class OtlpTracing:
    """Traces with OpenTelemetry's SDK, whose thread exports queued spans and drops them if the collector is down."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("glmtts")
        self._propagator = TraceContextTextMapPropagator()

    def trace(self, record: RequestRecord, method: str) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context

        root = self._tracer.start_span(
            f"{method} {record.route}",
            context=self._propagator.extract(record.trace_headers),
            kind=SpanKind.SERVER,
            attributes=attributes(record, method),
            start_time=_epoch_ns(record.started),
        )
        record.trace_id = format_trace_id(root.get_span_context().trace_id)
        if record.status is None or record.status >= 500 or (record.error is not None and record.status < 400):
            root.set_status(Status(StatusCode.ERROR, record.error))
        context = set_span_in_context(root)
        for stage, (start, end) in _spans(record).items():
            span = self._tracer.start_span(stage, context=context, start_time=_epoch_ns(start))
            span.set_attribute("glmtts.busy_seconds", record.timings().get(stage, end - start))
            span.end(_epoch_ns(end))
        root.end(_epoch_ns(record.started + (record.total_seconds or 0.0)))

    def flush(self, timeout: float) -> None:
        # In a thread of its own: if the endpoint does not respond, shutdown blocks for the exporter's own timeouts.
        shutdown = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        shutdown.start()
        shutdown.join(timeout)


def attributes(record: RequestRecord, method: str) -> dict[str, Any]:
    """Attributes of the root span: OpenTelemetry's names for HTTP, `glmtts.…` for speech."""
    fields = record.as_dict()
    http = {
        "http.request.method": method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "error.type": record.error,
    }
    speech = {f"glmtts.{name}": fields.get(name) for name in ATTRIBUTES}
    return {name: value for name, value in (http | speech).items() if value is not None}


def _spans(record: RequestRecord) -> dict[str, tuple[float, float]]:
    """Start and end of the stages, in their order, on the record's clock."""
    spans = {**record.spans, **(record.report.stage_spans if record.report is not None else {})}
    return {stage: spans[stage] for stage in STAGES if stage in spans}


def _epoch_ns(monotonic: float) -> int:
    """Converts a time of `time.monotonic` to nanoseconds since 1970."""
    return time.time_ns() - round(1e9 * (time.monotonic() - monotonic))
