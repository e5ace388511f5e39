"""Traces, as a collector receives them from a running server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from werkzeug.datastructures import Headers

from glmtts.engine.api import Report
from scripts.processes import free_ports
from server.observability.request_log import RequestRecord
from server.observability.tracing import OtlpTracing, make_tracing
from server.settings import Settings
from tests.helpers.otlp import Receiver, Span, running_receiver
from tests.helpers.server import ROOT, Server, wait_until

pytestmark = pytest.mark.processes

TRACE, CLIENT_SPAN = "ab" * 16, "cd" * 8
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(receiver: Receiver, voices: Path) -> Iterator[Server]:
    own = {"GLMTTS_OTLP_ENDPOINT": receiver.url, "GLMTTS_NODE_NAME": "here", **SOON}
    with Server("fake:delay=0.02", voices=voices, env=own) as server:
        yield server


def say(server: Server, request_id: str, text: str = "Tell nobody.", path: str = "/tts/stream", **headers: str) -> None:
    headers |= {"X-Request-Id": request_id, "via_consul": "true"}
    requests.post(server.url + path, json={"text": text, "seed": 1, "format": "pcm"}, headers=headers, timeout=60)


def received(receiver: Receiver, request_id: str) -> dict[str, Span]:
    wait_until(lambda: receiver.trace(request_id), "the trace to come")
    return receiver.trace(request_id)


def logged(server: Server, request_id: str) -> dict[str, object]:
    [line] = [line for line in server.log("request") if line.get("client_request_id") == request_id]
    return line


@pytest.mark.parametrize("path", ["/tts", "/tts/stream"])
def test_a_request_is_one_trace_with_a_span_per_stage(traced: Server, receiver: Receiver, path: str) -> None:
    """It continues the client's trace; the stages lie within the request, in the order of the work."""
    request_id = f"whole{path.replace('/', '-')}"
    say(traced, request_id, path=path, traceparent=f"00-{TRACE}-{CLIENT_SPAN}-01")
    spans = received(receiver, request_id)
    root = spans.pop("")
    assert (root.name, root.trace, root.parent) == (f"POST {path}", TRACE, CLIENT_SPAN)
    assert set(spans) == {"text", "voice", "queue", "decode", "send"}
    assert all(root.start - 10**6 <= span.start <= span.end <= root.end + 10**6 for span in spans.values())
    assert spans["text"].end <= spans["voice"].start <= spans["queue"].start <= spans["decode"].start
    assert abs(time.time_ns() - root.end) < 60 * 10**9
    assert spans["decode"].attributes["glmtts.busy_seconds"] > 0
    assert logged(traced, request_id)["trace_id"] == TRACE


def test_a_trace_has_the_fields_of_the_log_line(traced: Server, receiver: Receiver) -> None:
    """The node, the request and its outcome; never the text."""
    say(traced, "facts")
    root = received(receiver, "facts")[""]
    assert root.resource["service.name"] == "glm-tts"
    assert root.resource["service.instance.id"] == f"glm-tts-here-{traced.port}"
    expected = {
        "http.request.method": "POST",
        "http.route": "/tts/stream",
        "http.response.status_code": 200,
        "glmtts.via_consul": True,
        "glmtts.characters": 12,
        "glmtts.voice": "default",
        "glmtts.audio_seconds": pytest.approx(1.2),
        "glmtts.finish_reason": "stop",
    }
    assert expected.items() <= root.attributes.items()
    assert "nobody" not in str(receiver.spans)
    assert not root.failed


def test_without_a_traceparent_a_new_trace_starts(traced: Server, receiver: Receiver) -> None:
    """Its id is in the log line; an invalid traceparent is ignored."""
    for request_id, headers in (("new", {}), ("broken", {"traceparent": f"00-{'0' * 32}-{CLIENT_SPAN}-01"})):
        say(traced, request_id, **headers)
        root = received(receiver, request_id)[""]
        assert root.parent == ""
        assert logged(traced, request_id)["trace_id"] == root.trace != "0" * 32


def test_the_client_decides_about_sampling(traced: Server, receiver: Receiver) -> None:
    """An unsampled trace is not exported; the log line has its id all the same."""
    say(traced, "unsampled", traceparent=f"00-{'12' * 16}-{CLIENT_SPAN}-00")
    say(traced, "after")
    received(receiver, "after")
    assert not receiver.trace("unsampled")
    assert logged(traced, "unsampled")["trace_id"] == "12" * 16


@pytest.mark.parametrize(("text", "status"), [("FAULT-ENGINE.", 500), ("A LATE FAULT-MEMORY, after a chunk.", 200)])
def test_a_failure_is_marked(traced: Server, receiver: Receiver, text: str, status: int) -> None:
    """Before the first byte and after it, with its code and no internals."""
    try:
        say(traced, f"failed-{status}", text)
    except requests.exceptions.ChunkedEncodingError:
        assert status == 200
    root = received(receiver, f"failed-{status}")[""]
    assert root.failed
    assert root.attributes["error.type"] == ("internal" if status == 500 else "device_memory")
    assert "secret" not in str(root)


def test_a_client_error_is_not_a_failure(traced: Server, receiver: Receiver) -> None:
    """A 400 has its code and its trace, and is not marked as a failure."""
    say(traced, "refused", text="")
    root = received(receiver, "refused")[""]
    assert (root.attributes["http.response.status_code"], root.failed) == (400, False)


def test_probes_leave_no_traces(traced: Server, receiver: Receiver) -> None:
    """Thousands of them per day would hide the rest."""
    say(traced, "beside-probes")
    received(receiver, "beside-probes")
    routes = {span.attributes.get("http.route") for span in receiver.spans}
    assert not {"/health", "/ready", "/metrics"} & routes, "the fixture alone has requested /ready many times"


def test_a_drain_exports_the_last_traces_to_the_standard_endpoint(voices: Path) -> None:
    """A drain exports queued spans, long before the queue's own interval; OpenTelemetry's variables configure it."""
    with running_receiver() as receiver:
        own = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_SERVICE_NAME": "speech",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        with Server(voices=voices, env=own) as server:
            say(server, "last")
            assert not receiver.spans
            assert server.stop() == 0
        root = receiver.trace("last")[""]
        assert root.resource["service.name"] == "speech"
        assert root.resource["deployment.environment"] == "test"


def test_a_dead_collector_affects_neither_requests_nor_the_exit(voices: Path) -> None:
    """Requests are served, the log reports lost traces, and SIGTERM works in time."""
    own = {"GLMTTS_OTLP_ENDPOINT": f"http://127.0.0.1:{free_ports(1)[0]}", **SOON}
    with Server(voices=voices, env=own) as server:
        answer = requests.post(server.url + "/tts", json={"text": "Hello."}, timeout=60)
        assert answer.status_code == 200
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(30) == 0
    loggers = {json.loads(line)["logger"] for line in server.lines}
    assert any(name.startswith("opentelemetry") for name in loggers)


def test_without_an_endpoint_nothing_is_loaded() -> None:
    """No module of OpenTelemetry, even if it is installed."""
    code = (
        "import sys; import server.wsgi.app\n"
        "from server.observability import tracing; from server.settings import Settings\n"
        "assert tracing.make_tracing(Settings(), {}) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "GLMTTS_"))}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_missing_extra_is_only_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """All servers of a cluster may get an endpoint, some without the extra installed."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert make_tracing(Settings(otlp_endpoint="http://127.0.0.1:4318"), {}) is None
    assert "extra otel" in caplog.text


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_standard_switches_disable_tracing(off: dict[str, str]) -> None:
    """An endpoint alone, set for other programs, does not enable tracing."""
    assert make_tracing(Settings(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", **off}) is None


def test_every_stage_of_an_engine_is_a_span() -> None:
    """From the first start of a stage to its last end, with the busy time: between them other requests may run."""
    record = RequestRecord.from_headers(Headers(), "/tts/stream")
    record.status, record.report = 200, Report()
    for stage, start, end in [("prefill", 0.5, 0.6), ("decode", 0.6, 1.0), ("flow", 1.0, 1.5), ("vocoder", 1.5, 1.6),
                              ("decode", 1.2, 1.4), ("flow", 2.0, 2.5)]:  # fmt: skip
        record.report.add_time(stage, record.started + start, record.started + end)
    record.total_seconds = 3.0
    provider, kept = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    OtlpTracing(provider).trace(record, "POST")
    *stages, root = kept.get_finished_spans()
    assert [span.name for span in stages] == ["prefill", "decode", "flow", "vocoder"]
    lengths = {span.name: (span.end_time - span.start_time) / 1e9 for span in [*stages, root]}  # type: ignore[operator]
    assert lengths["decode"] == pytest.approx(0.8, abs=1e-3)
    assert lengths["flow"] == pytest.approx(1.5, abs=1e-3)
    assert lengths["POST /tts/stream"] == pytest.approx(3.0, abs=1e-3)
    busy = {span.name: dict(span.attributes or {})["glmtts.busy_seconds"] for span in stages}
    assert busy["decode"] == pytest.approx(0.6)
    assert busy["flow"] == pytest.approx(1.0)
    assert all(span.parent is not None and span.parent.span_id == root.context.span_id for span in stages)
