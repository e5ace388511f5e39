"""The server process: startup, failed startup, shutdown, and being killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from server.edge.limits import KEEPALIVE_SECONDS
from tests.helpers.server import ROOT, Server, wait_until

pytestmark = pytest.mark.processes

SLOW = "fake:delay=0.05"


def started(server: Server) -> requests.Response:
    """A running stream of about 2.5 s of work."""
    return requests.post(server.url + "/tts/stream", json={"text": "a" * 100, "format": "pcm"}, stream=True, timeout=60)


def test_while_loading_only_health_is_ok(voices: Path) -> None:
    """/health responds at once; /ready and speech return 503 until the model is loaded, and then the log says so."""
    server = Server("fake:load=2", voices=voices)
    try:
        wait_until(lambda: server.status("/health") == 200, "the first answer")
        answer = requests.post(server.url + "/tts", json={"text": "Hello."}, timeout=10)
        ready = requests.get(server.url + "/ready", timeout=10)
        assert not server.log("Model loaded successfully"), "the machine was too slow for this test's load time"
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
        assert "Retry-After" in answer.headers
        assert (ready.status_code, ready.json()["reason"]) == (503, "loading")
        server.wait_ready()
        assert server.log("Model loaded successfully")
    finally:
        assert server.stop() == 0


def test_a_failed_load_ends_the_server() -> None:
    """A non-zero exit status, and no second attempt."""
    server = Server("fake:fail")
    assert server.process.wait(60) != 0
    server.stop()
    [line] = server.log("Model failed to load")
    assert line["reason"] == "the fake engine was told to fail"


@pytest.mark.parametrize(
    ("name", "value"),
    [("API_KEYS_FILE", "/nonexistent/keys"), ("CONSUL_ADDR", "unix:///run/x"), ("ADVERTISE", "0.0.0.0")],
)
def test_an_invalid_setting_ends_the_server(name: str, value: str) -> None:
    """One line says which and why; no traceback, and no second attempt."""
    server = Server(env={f"GLMTTS_{name}": value, "GLMTTS_CONSUL": "on"})
    assert server.process.wait(60) != 0
    server.stop()
    [line] = [line for line in map(json.loads, server.lines) if line["message"].startswith("cannot start: ")]
    assert value in line["message"]
    assert "Traceback" not in "".join(server.lines)
    assert len([line for line in server.lines if "Booting worker" in line]) == 1


def test_sigterm_serves_then_rejects_then_finishes(voices: Path) -> None:
    """As clients see it: not ready, still serving, rejecting, running requests finish, exit status 0."""
    with Server(SLOW, voices=voices, env={"GLMTTS_PROPAGATION_DELAY": "2", "GLMTTS_DRAIN_TIMEOUT": "60"}) as server:
        os.kill(server.process.pid, signal.SIGTERM)
        wait_until(lambda: server.status("/ready") == 503, "/ready to say no")
        assert server.status("/health") == 200
        with started(server) as stream:
            assert stream.status_code == 200
            pieces = stream.iter_content(9600)
            length = len(next(pieces))
            wait_until(lambda: server.log("Draining: rejecting new requests"), "the end of the delay")
            refused = requests.post(server.url + "/tts", json={"text": "Hello."}, timeout=10)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert "Retry-After" in refused.headers
            assert server.status("/health") == 200
            assert server.status("/metrics") == 200
            length += sum(map(len, pieces))
        assert length == 10 * 24000 * 2
        assert server.process.wait(60) == 0


def test_an_idle_connection_does_not_delay_the_exit(voices: Path) -> None:
    """The exit does not wait for an idle connection as long as the server would otherwise."""
    with Server(voices=voices) as server, socket.create_connection(("127.0.0.1", server.port)):
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(KEEPALIVE_SECONDS - 3) == 0


def test_more_sigterms_change_nothing(voices: Path) -> None:
    """To the master or to its worker: running requests still finish."""
    with Server(SLOW, voices=voices) as server, started(server) as stream:
        os.kill(server.process.pid, signal.SIGTERM)
        wait_until(lambda: server.log("Draining: rejecting new requests"), "the drain")
        for process in (server.process.pid, server.worker(), server.process.pid):
            os.kill(process, signal.SIGTERM)
        assert len(stream.content) == 10 * 24000 * 2
        assert server.process.wait(60) == 0
        assert len(server.log("Draining: deregistering from Consul")) == 1


def test_setting_the_clock_does_not_end_a_drain(voices: Path, tmp_path: Path) -> None:
    """Set to a day ahead during the drain: running requests finish all the same."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    off = {"CHAOS_CLOCK": str(clock), "PYTHONPATH": str(ROOT / "scripts" / "faults" / "off")}
    with Server(SLOW, voices=voices, env=off) as server:
        with started(server) as answer:
            os.kill(server.process.pid, signal.SIGTERM)
            wait_until(lambda: server.log("Draining: rejecting new requests"), "the drain")
            clock.write_text("86400")
            assert len(answer.content) == 2 * 24000 * 10
        assert server.process.wait(30) == 0
        [line] = server.log("Drained")
    assert line["dropped"] == 0


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT])
def test_a_drain_can_be_aborted(voices: Path, how: signal.Signals) -> None:
    """SIGQUIT after SIGTERM waits neither for the delay nor for running requests."""
    slow_leaving = {"GLMTTS_PROPAGATION_DELAY": "500", "GLMTTS_DRAIN_TIMEOUT": "500"}
    with Server("fake:delay=0.5", voices=voices, env=slow_leaving) as server, started(server):
        os.kill(server.process.pid, signal.SIGTERM)
        wait_until(lambda: server.status("/ready") == 503, "/ready to say no")
        assert server.stop(how) == 0
        assert server.log("Shutting down now")[0]["dropped"] == 1


@pytest.mark.parametrize("path", ["/tts", "/tts/stream"])
def test_a_drain_that_times_out_rejects_waiting_requests(voices: Path, path: str) -> None:
    """A request without audio yet gets 503, to be retried on another node, and does not count as disconnected."""
    responses: list[requests.Response] = []

    def ask() -> None:
        responses.append(requests.post(server.url + path, json={"text": "HANG."}, timeout=60))

    with Server(voices=voices, env={"GLMTTS_DRAIN_TIMEOUT": "1"}) as server:
        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: server.metric("glmtts_in_flight") == 1, "the request to be inside")
        os.kill(server.process.pid, signal.SIGTERM)
        asking.join(60)
        assert server.process.wait(60) == 0
        [line] = server.log("request")
    assert (responses[0].status_code, responses[0].json()["error"]["code"]) == (503, "draining")
    assert "Retry-After" in responses[0].headers
    assert (line["status"], line["error"]) == (503, "draining")


def test_a_drain_that_times_out_cuts_off_streams(voices: Path) -> None:
    """A request that outlasts the drain is cut off without a clean end, and the exit status is still 0."""
    with (
        Server("fake:delay=0.5", voices=voices, env={"GLMTTS_DRAIN_TIMEOUT": "1"}) as server,
        started(server) as stream,
    ):
        os.kill(server.process.pid, signal.SIGTERM)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(stream.iter_content(9600))
        assert server.process.wait(60) == 0
        assert server.log("Drained")[0]["dropped"] == 1


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT])
def test_sigquit_exits_at_once(voices: Path, how: signal.Signals) -> None:
    """Neither the delay nor running streams delay it."""
    slow_leaving = {"GLMTTS_PROPAGATION_DELAY": "500", "GLMTTS_DRAIN_TIMEOUT": "500"}
    with Server("fake:delay=0.5", voices=voices, env=slow_leaving) as server, started(server):
        assert server.stop(how) == 0


def test_a_killed_worker_is_replaced(voices: Path) -> None:
    """Its successor loads and serves; meanwhile nobody else has taken the port."""
    with Server(voices=voices) as server:
        first = server.worker()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(server.log("Model loaded successfully")) == 2, "the successor")
        assert server.worker() != first
        assert requests.post(server.url + "/tts", json={"text": "Hello."}, timeout=60).status_code == 200


def test_a_worker_does_not_outlive_the_master(voices: Path) -> None:
    """If the master is killed the port becomes free."""
    with Server(voices=voices) as server:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(60)
        wait_until(lambda: server.status("/health") == 0, "the port to be free")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN])
def test_signals_of_a_reload_are_ignored(voices: Path, number: signal.Signals) -> None:
    """By the master, the worker and the group: no second worker, which would be a node with the same id, and no end."""
    with Server(SLOW, voices=voices) as server, started(server) as stream:
        worker = server.worker()
        os.kill(server.process.pid, number)
        os.kill(worker, number)
        os.killpg(server.process.pid, number)
        assert len(stream.content) == 10 * 24000 * 2
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
        assert children.split() == [str(worker)]


def test_every_line_of_the_log_is_json(voices: Path) -> None:
    """All lines, in a run with requests and an error."""
    with Server(voices=voices) as server:
        for text in ("Hello.", ""):
            requests.post(server.url + "/tts", json={"text": text}, timeout=60)
    lines = server.log("request")
    assert [line["status"] for line in lines] == [200, 400]
    expected = (
        "time level request_id via_consul route status characters segments voice prompted queue_seconds "
        "first_audio_seconds total_seconds audio_seconds rtf finish_reason"
    )
    assert set(expected.split()) <= set(lines[0])
    assert lines[1]["error"] == "invalid_field"


def run_app(*flags: str, **env: str) -> Any:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
    return subprocess.run(
        [sys.executable, "app.py", *flags], cwd=ROOT, env={**own, **env}, capture_output=True, text=True, timeout=120
    )


def test_print_settings_shows_the_settings_in_force() -> None:
    """From flags and environment together; nothing is started."""
    shown = run_app(
        "--print-settings", "--port", "8123", "--deterministic", GLMTTS_REGION="north", CONSUL_HTTP_TOKEN="hush"
    )
    assert shown.returncode == 0
    assert "GLMTTS_PORT=8123 " in shown.stdout
    assert "GLMTTS_DETERMINISTIC=True " in shown.stdout
    assert "GLMTTS_REGION=north " in shown.stdout
    assert "hush" not in shown.stdout + shown.stderr


def test_an_invalid_setting_is_reported_before_the_start() -> None:
    """One line that names it, and a non-zero exit status."""
    wrong = run_app("--port", "high")
    assert wrong.returncode != 0
    assert "port" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_master_process_loads_neither_flask_nor_torch() -> None:
    """It forks workers as long as it lives, so it must stay small."""
    code = "import app, sys; print([name for name in ('torch', 'flask', 'consul') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
