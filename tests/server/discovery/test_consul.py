"""The way to the agent: addresses, ACL tokens, TLS, and what python-consul2 leaves open."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from glmtts.engine.api import EngineInfo
from server.discovery.consul import AgentClient, ConsulError, parse_address
from server.discovery.registration import ConsulRegistration
from server.settings import Settings
from tests.helpers.consul import Agent, consul_binary, eventually, free_ports, running_agent

INFO = EngineInfo("nano", "0.3", ("en",), (24000,), (), "cpu", 1)
POLICY = 'service "glm-tts" { policy = "write" } node_prefix "" { policy = "read" }'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules, in less time."""
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
def test_addresses_are_understood(text: str, parsed: tuple[str, str, int]) -> None:
    """CONSUL_HTTP_ADDR in every form that Consul's own tools write, but for sockets."""
    assert parse_address(text) == parsed


def test_the_tls_switch_makes_https() -> None:
    """CONSUL_HTTP_SSL=true means https whatever the address says."""
    assert parse_address("agent:8500", ssl=True) == ("https", "agent", 8500)


@pytest.mark.parametrize("text", ["unix:///run/consul.sock", "agent:port", "agent:99999", "http://", "agent/v1", ""])
def test_addresses_that_mean_nothing_are_refused(text: str) -> None:
    """What came and what is wanted are in the message."""
    with pytest.raises(ValueError, match="want host"):
        parse_address(text)


def test_a_password_in_the_address_is_not_repeated() -> None:
    """A user in the address is refused without showing the password."""
    with pytest.raises(ValueError, match="consul_auth") as caught:
        parse_address("http://me:hunter2@agent:8500")
    assert "hunter2" not in str(caught.value)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent that denies everything to strangers."""
    with running_agent(tmp_path_factory.mktemp("guarded"), acl=True) as agent:
        yield agent


def test_tokens_come_from_a_file_and_change_there(
    guarded: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Denied without a token; joined with one; joined again when the file has another; no log shows either."""
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
        made = registration.counts["registrations"]
        second = guarded.new_token({"Name": "second", "Rules": POLICY})
        file.write_text(second)
        eventually(lambda: registration.counts["registrations"] > made)
        file.unlink()
        beats = registration.counts["heartbeats"]
        eventually(lambda: registration.counts["heartbeats"] > beats + 1)
        assert registration.status() == "registered", "a file that is being replaced keeps the last token"
    finally:
        assert registration.deregister()
    assert guarded.listed() == {}
    assert "Consul denies it" in caplog.text
    for token in ("beef", first, second):
        assert token not in caplog.text


def test_a_catalogue_that_hides_us_is_told(guarded: Agent) -> None:
    """A yes of the agent is not believed: without a look at the catalogue the state says what the token lacks."""
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
        assert registration.counts["registrations"] == 1, "again and again would restart the HTTP check before it ran"
        assert "node:read" in reasons[0]
    finally:
        assert registration.deregister()


def agent_settings(agent: Agent, **more: Any) -> Settings:
    return Settings(consul_addr=agent.address, loopback_cluster=True, node_name="here", consul_ttl=2, **more)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "naïve"])
def test_a_token_that_no_header_carries_is_not_shown(guarded: Agent, token: str) -> None:
    """A damaged token fails before the HTTP library quotes it."""
    client = AgentClient(agent_settings(guarded, consul_token=SecretStr(token)))
    with pytest.raises(ConsulError) as caught:
        client.reload_token()
    assert token not in str(caught.value)
    assert caught.value.kind == "denied"


def test_an_unknown_ttl_check_is_no_exception(tmp_path: Path) -> None:
    """Consul 1.8 answers 500 and newer ones 404: either is False, and so the caller registers again."""
    with running_agent(tmp_path) as agent:
        client = AgentClient(agent_settings(agent))
        assert client.update_check("nobody:progress", passing=True, note="") is False
        assert client.get_service("nobody") is None
        assert client.catalog_services("glm-tts", "nobody") == []
        client.deregister("nobody")
        client.close()


def test_an_answer_that_is_not_consuls_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A port that speaks something else is told apart from an agent that is away."""
    with running_agent(tmp_path) as agent:
        client = AgentClient(agent_settings(agent))
        with pytest.raises(ConsulError) as caught:
            client._get("/ui/", lambda response: int(response.body))
        assert caught.value.kind == "failed"
        client.close()
    with pytest.raises(ConsulError) as gone:
        client.get_service("nobody")
    assert gone.value.kind == "unreachable"
    client.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a CA, a server's and a client's certificate, made by Consul itself."""
    directory = tmp_path_factory.mktemp("tls")
    for command in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-client"]):
        subprocess.run([consul_binary(), "tls", *command], cwd=directory, check=True, capture_output=True)
    return directory


def test_tls_with_a_client_certificate(tmp_path: Path, certificates: Path) -> None:
    """An agent that wants certificates is spoken to with ours, and is not believed without its CA."""
    https = free_ports(1)[0]
    files: dict[str, Any] = {
        "ca_file": str(certificates / "consul-agent-ca.pem"),
        "cert_file": str(certificates / "dc1-server-consul-0.pem"),
        "key_file": str(certificates / "dc1-server-consul-0-key.pem"),
        "verify_incoming_https": True,
    }
    ours: dict[str, Any] = {
        "consul_addr": f"https://127.0.0.1:{https}",
        "consul_cert": certificates / "dc1-client-consul-0.pem",
        "consul_key": certificates / "dc1-client-consul-0-key.pem",
    }
    with running_agent(tmp_path, ports={"https": https}, **files):
        trusted = AgentClient(Settings(**ours, consul_ca=certificates / "consul-agent-ca.pem"))
        assert trusted.get_service("nobody") is None
        for client in (
            AgentClient(Settings(**ours)),
            AgentClient(Settings(consul_addr=ours["consul_addr"], consul_ca=certificates / "consul-agent-ca.pem")),
        ):
            with pytest.raises(ConsulError) as caught:
                client.get_service("nobody")
            assert caught.value.kind == "unreachable"
            client.close()
        trusted.close()
