"""The client of the local agent: addresses, ACL tokens, TLS, and the gaps of python-consul2."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from glmtts.engine.api import EngineInfo
from scripts.processes import free_ports
from server.discovery.consul import AgentClient, parse_address
from server.discovery.errors import ConsulError
from server.discovery.registration import ConsulRegistration
from server.settings import Settings
from tests.helpers.consul import Agent, consul_binary, eventually, running_agent

INFO = EngineInfo("nano", "0.3", ("en",), (24000,), (), "cpu", 1)
POLICY = 'service "glm-tts" { policy = "write" } node_prefix "" { policy = "read" }'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter intervals."""
    monkeypatch.setattr("server.discovery.registration.MAX_HEARTBEAT_INTERVAL", 0.4)
    monkeypatch.setattr("server.discovery.registration.BACKOFF_CAP", 0.5)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("agent", ("http", "agent", 8500)),
        ("10.0.0.1:85", ("http", "10.0.0.1", 85)),
        ("http://agent:85/", ("http", "agent", 85)),
        ("https://agent", ("https", "agent", 8501)),
        ("[::1]:8500", ("http", "::1", 8500)),
        ("https://[fd00::1]:8501", ("https", "fd00::1", 8501)),
    ],
)
def test_addresses_are_parsed(text: str, parsed: tuple[str, str, int]) -> None:
    """Every form of CONSUL_HTTP_ADDR that Consul's own tools accept, except sockets."""
    assert parse_address(text) == parsed


def test_the_tls_switch_makes_https() -> None:
    """CONSUL_HTTP_SSL=true means https whatever the address says."""
    assert parse_address("agent:8500", ssl=True) == ("https", "agent", 8500)


@pytest.mark.parametrize(
    "text", ["unix:///run/consul.sock", "agent:port", "agent:99999", "http://", "agent/v1", "", "[::1", "http://[::1"]
)
def test_invalid_addresses_are_rejected(text: str) -> None:
    """The message names the setting, and says what is expected and what it got."""
    with pytest.raises(ValueError, match=f"consul_addr: expected host.*got {re.escape(repr(text))}"):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["http://me:hunter2@agent:8500", "me:hunter2@agent", "ftp://me:hunter2@agent", "http://me:hunter2@[::1"]
)
def test_a_password_in_the_address_is_not_repeated(text: str) -> None:
    """A user in the address is rejected without showing the password."""
    with pytest.raises(ValueError, match="consul_auth") as caught:
        parse_address(text)
    assert "hunter2" not in str(caught.value)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent that denies everything without a token."""
    with running_agent(tmp_path_factory.mktemp("guarded"), acl=True) as agent:
        yield agent


@pytest.mark.slow
def test_the_token_file_is_read_again(guarded: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Denied with an unknown token, registered with a valid one, registered again with a new one; none is logged."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text("00000000-0000-0000-0000-00000000beef")
    port = free_ports(1)[0]
    registration = ConsulRegistration(agent_settings(guarded, port=port, consul_token_file=file))
    try:
        registration.deregister_stale()
        registration.start(INFO, lambda: 0.0)
        eventually(lambda: registration.counts["failures"] >= 2)
        assert (registration.status(), guarded.listed()) == ("retrying", {})
        first = guarded.new_token({"Name": "first", "Rules": POLICY})
        file.write_text(f"{first}\n")
        eventually(lambda: registration.status() == "registered")
        before = registration.counts["registrations"]
        second = guarded.new_token({"Name": "second", "Rules": POLICY})
        file.write_text(second)
        eventually(lambda: registration.counts["registrations"] > before)
        for damage in (file.unlink, lambda: file.write_text(""), lambda: file.write_text("\n")):
            damage()
            enough = registration.counts["heartbeats"] + 2
            eventually(lambda enough=enough: registration.counts["heartbeats"] >= enough)
            assert registration.status() == "registered", "while the file is being replaced the last token stays in use"
    finally:
        assert registration.deregister()
    assert guarded.listed() == {}
    assert "Consul denied the request" in caplog.text
    for token in ("beef", first, second):
        assert token not in caplog.text


@pytest.mark.slow
def test_a_catalogue_that_hides_the_service_is_reported(guarded: Agent) -> None:
    """The agent's acceptance is not enough: if the catalogue does not show the service, the reason says why."""
    token = guarded.new_token({"Name": "blind", "Rules": 'service "glm-tts" { policy = "write" }'})
    reasons: list[str] = []
    registration = ConsulRegistration(
        agent_settings(guarded, port=free_ports(1)[0], consul_token=SecretStr(token)),
        on_change=lambda _, reason: reasons.append(reason),
    )
    try:
        registration.start(INFO, lambda: 0.0)
        eventually(lambda: registration.status() == "retrying")
        eventually(lambda: registration.counts["heartbeats"] >= 3)
        assert registration.counts["registrations"] == 1, "registering again would delay the HTTP check"
        assert "node:read" in reasons[0]
    finally:
        assert registration.deregister()


@pytest.mark.slow
def test_a_new_token_is_used_at_once(guarded: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token file that was empty, or had a dead token: the change ends the back-off, however long that is."""
    monkeypatch.setattr("random.uniform", lambda low, high: high if low else 3600)  # the back-off starts at 0
    file = tmp_path / "token"
    file.write_text("")
    reasons: list[str] = []
    registration = ConsulRegistration(
        agent_settings(guarded, port=free_ports(1)[0], consul_token_file=file),
        on_change=lambda _, reason: reasons.append(reason),
    )
    try:
        registration.start(INFO, lambda: 0.0)
        eventually(lambda: reasons)
        assert reasons == [f"token file {file}: empty"]
        file.write_text("00000000-0000-0000-0000-00000000beef")
        eventually(lambda: registration.counts["failures"] == 2)
        file.write_text(guarded.new_token({"Name": "third", "Rules": POLICY}))
        eventually(lambda: registration.status() == "registered")
    finally:
        registration.deregister()


def test_leaving_with_a_dead_token_says_what_to_do(
    guarded: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The node stays passing in the catalogue, whatever the agent finds out: a warning has the request that helps."""
    file = tmp_path / "token"
    token = guarded.new_token({"Name": "dies", "Rules": POLICY})
    file.write_text(token)
    registration = ConsulRegistration(agent_settings(guarded, port=free_ports(1)[0], consul_token_file=file))
    registration.start(INFO, lambda: 0.0)
    eventually(lambda: registration.status() == "registered")
    accessor = guarded.call("GET", "/v1/acl/token/self", token=token)["AccessorID"]
    guarded.call("DELETE", f"/v1/acl/token/{accessor}")
    eventually(lambda: registration.status() == "retrying")
    caplog.clear()
    assert registration.deregister() is False
    [record] = [record for record in caplog.records if "not deregistered" in record.message]
    assert record.levelname == "WARNING"
    request = re.search(r"PUT (\{.*\}) to (\S+)", record.message)
    assert request is not None
    assert len(guarded.listed()) == 1
    guarded.call("PUT", request[2], json.loads(request[1]))
    assert guarded.listed() == {}


def agent_settings(agent: Agent, **more: Any) -> Settings:
    return Settings(consul_addr=agent.address, loopback_cluster=True, node_name="here", consul_ttl=2, **more)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "naïve"])
def test_an_invalid_token_is_not_shown(guarded: Agent, token: str) -> None:
    """A damaged token fails before the HTTP library quotes it."""
    client = AgentClient(agent_settings(guarded, consul_token=SecretStr(token)))
    with pytest.raises(ConsulError) as caught:
        client.acl_token.reload()
    assert token not in str(caught.value)
    assert caught.value.kind == "denied"


def test_an_unknown_ttl_check_is_false(tmp_path: Path) -> None:
    """Consul 1.8 responds with 500 and newer ones with 404: both mean that the node must register again."""
    with running_agent(tmp_path) as agent:
        client = AgentClient(agent_settings(agent))
        assert client.update_check("nobody:progress", passing=True, note="") is False
        assert client.get_service("nobody") is None
        assert client.catalog_services("glm-tts", "nobody") == []
        client.deregister("nobody")
        client.close()


def test_a_response_that_is_not_consuls_is_an_error_of_its_own(tmp_path: Path) -> None:
    """It is distinguished from an agent that is unreachable."""
    with running_agent(tmp_path) as agent:
        client = AgentClient(agent_settings(agent))
        with pytest.raises(ConsulError) as caught:
            client._get("/ui/", lambda response: int(response.body))
        assert caught.value.kind == "failed"
        client.close()
    with pytest.raises(ConsulError) as unreachable:
        client.get_service("nobody")
    assert unreachable.value.kind == "unreachable"
    client.close()


class Limited(BaseHTTPRequestHandler):
    """A newer agent that limits the rate of requests."""

    def do_GET(self) -> None:
        self.send_response(429)
        self.end_headers()
        self.wfile.write(b"rate limit reached")

    def log_message(self, *_: object) -> None:
        pass


def reasons_of(client: AgentClient) -> set[tuple[str, str]]:
    """Kind and text of the errors of all ways to read."""
    seen: set[tuple[str, str]] = set()
    for call in (lambda: client.list_kv("glm-tts", 0, 0), lambda: client.get_service("nobody")):
        with pytest.raises(ConsulError) as caught:
            call()
        seen.add((caught.value.kind, str(caught.value)))
    client.close()
    return seen


def test_failures_keep_their_reason(guarded: Agent) -> None:
    """An unknown token and a limited rate are told apart, also where an answer is expected to have an index."""
    unknown = AgentClient(agent_settings(guarded, consul_token=SecretStr("00000000-0000-0000-0000-00000000beef")))
    unknown.acl_token.reload()
    assert reasons_of(unknown) == {("denied", "Consul denied the request: ACL not found")}
    with ThreadingHTTPServer(("127.0.0.1", 0), Limited) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        limited = AgentClient(Settings(consul_addr=f"127.0.0.1:{server.server_port}"))
        assert reasons_of(limited) == {("failed", "Consul failed: 429 rate limit reached")}
        server.shutdown()


def test_a_missing_certificate_file_is_a_reason_and_not_the_end(tmp_path: Path) -> None:
    """The file may be mounted later: the node serves on, and the reason names it."""
    missing = tmp_path / "missing.pem"
    address = f"https://127.0.0.1:{free_ports(1)[0]}"
    for files in ({"consul_ca": missing}, {"consul_cert": missing, "consul_key": missing}):
        chosen = Settings(consul_addr=address, **files)
        client = AgentClient(chosen)
        with pytest.raises(ConsulError, match=re.escape(str(missing))) as caught:
            client.get_service("nobody")
        assert caught.value.kind == "failed"
        client.close()
        ConsulRegistration(chosen).deregister_stale()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CA and the certificates of a server and a client, made by Consul itself."""
    directory = tmp_path_factory.mktemp("tls")
    for command in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-client"]):
        subprocess.run([consul_binary(), "tls", *command], cwd=directory, check=True, capture_output=True)
    return directory


def test_tls_with_a_client_certificate(tmp_path: Path, certificates: Path) -> None:
    """An agent that requires certificates gets the client's, and is not trusted without its CA."""
    https = free_ports(1)[0]
    files: dict[str, Any] = {
        "ca_file": str(certificates / "consul-agent-ca.pem"),
        "cert_file": str(certificates / "dc1-server-consul-0.pem"),
        "key_file": str(certificates / "dc1-server-consul-0-key.pem"),
        "verify_incoming_https": True,
    }
    options: dict[str, Any] = {
        "consul_addr": f"https://127.0.0.1:{https}",
        "consul_cert": certificates / "dc1-client-consul-0.pem",
        "consul_key": certificates / "dc1-client-consul-0-key.pem",
    }
    with running_agent(tmp_path, ports={"https": https}, **files):
        trusted = AgentClient(Settings(**options, consul_ca=certificates / "consul-agent-ca.pem"))
        assert trusted.get_service("nobody") is None
        for client in (
            AgentClient(Settings(**options)),
            AgentClient(Settings(consul_addr=options["consul_addr"], consul_ca=certificates / "consul-agent-ca.pem")),
        ):
            with pytest.raises(ConsulError) as caught:
                client.get_service("nobody")
            assert caught.value.kind == "unreachable"
            assert "TLS" in str(caught.value) or "ConnectionError" in str(caught.value)
            client.close()
        trusted.close()
