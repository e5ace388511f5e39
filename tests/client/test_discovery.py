"""Discovery against a real agent: the node list, its age, and what happens while Consul is down."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from glmtts_client import Cluster, ConsulAddress, DiscoveryError
from glmtts_client.discovery import RETURN_SECONDS, ConsulDiscovery, StaticDiscovery

from scripts.processes import free_ports
from tests.helpers.consul import Agent, eventually, running_agent

pytestmark = pytest.mark.processes


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def register(agent: Agent, name: str, status: str = "passing", **service: Any) -> None:
    check = {"CheckID": f"{name}-check", "Name": f"{name} is healthy", "TTL": "10m", "Status": status}
    payload = {"ID": name, "Name": "glm-tts", "Port": 7860, "Check": check, **service}
    agent.call("PUT", "/v1/agent/service/register", payload)


@pytest.fixture
def agent(agent: Agent) -> Iterator[Agent]:
    """The agent, without services."""
    yield agent
    for service_id in agent.call("GET", "/v1/agent/services"):
        agent.deregister(service_id)


def ids(discovery: ConsulDiscovery) -> set[str]:
    return {node.id for node in discovery.nodes()}


def address(agent: Agent) -> ConsulAddress:
    return ConsulAddress(f"http://{agent.address}")


def test_passing_nodes_are_listed_with_their_metadata(agent: Agent) -> None:
    """A node without metadata is listed, a failing one is not; the default address is the agent's."""
    register(agent, "healthy", Address="10.1.1.1", Meta={"language": "en", "model": "glm-tts"})
    register(agent, "bare")
    register(agent, "failing", status="critical", Address="10.1.1.3")
    discovery = ConsulDiscovery(address(agent), cache_seconds=0.0)
    eventually(lambda: ids(discovery) == {"healthy", "bare"})
    nodes = {node.id: node for node in discovery.nodes()}
    assert nodes["healthy"].url == "http://10.1.1.1:7860"
    assert nodes["healthy"].languages == {"en"}
    assert nodes["bare"].url == "http://127.0.0.1:7860"
    assert nodes["bare"].meta == {}
    all_nodes = {node.id: node for node in discovery.all_nodes()}
    assert (all_nodes["failing"].state, all_nodes["failing"].failing_checks) == ("critical", "failing is healthy")
    with Cluster(agent.address) as cluster:
        assert [node.id for node in cluster.nodes(language="en")] == ["healthy"]
        assert cluster.nodes(features={"emotion"}) == []
    discovery.close()


def test_the_list_is_cached_for_ten_seconds(agent: Agent) -> None:
    time = Time()
    register(agent, "first")
    discovery = ConsulDiscovery(address(agent), clock=time)
    eventually(lambda: agent.passing() == {"first"})
    assert ids(discovery) == {"first"}
    register(agent, "second")
    eventually(lambda: agent.passing() == {"first", "second"})
    time.now = 9.9
    assert ids(discovery) == {"first"}
    time.now = 10.0
    assert ids(discovery) == {"first", "second"}
    discovery.close()


def test_a_watch_sees_changes_at_once(agent: Agent) -> None:
    """It notices new and lost nodes long before the cache expires."""
    discovery = ConsulDiscovery(address(agent), cache_seconds=3600.0, watch=True)
    register(agent, "new")
    eventually(lambda: ids(discovery) == {"new"})
    register(agent, "other")
    eventually(lambda: ids(discovery) == {"new", "other"})
    agent.call("PUT", "/v1/agent/check/fail/new-check")
    eventually(lambda: ids(discovery) == {"other"})
    discovery.close()


@pytest.mark.parametrize("watch", [False, True])
def test_the_last_list_is_used_while_consul_is_down(
    tmp_path: Path, watch: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says so once. When Consul is back, its list is used in the end, even if empty."""
    time = Time()
    with running_agent(tmp_path) as agent:
        register(agent, "old")
        eventually(lambda: agent.passing() == {"old"})
        discovery = ConsulDiscovery(address(agent), clock=time, watch=watch)
        eventually(lambda: ids(discovery) == {"old"})
        assert not discovery.stale
        agent.stop()
        with caplog.at_level(logging.WARNING, "glmtts_client"):
            for _ in range(3):
                time.now += 10.0
                assert ids(discovery) == {"old"}
            eventually(lambda: discovery.stale)
            assert len(caplog.messages) == 1
            agent.start()
            time.now += 10.0
            eventually(lambda: ids(discovery) is not None and not discovery.stale, within=60)
            time.now += RETURN_SECONDS + 10.0
            eventually(lambda: ids(discovery) == set(), within=60)
        discovery.close()


def test_no_consul_and_no_cached_list() -> None:
    """The error names the agent."""
    [port] = free_ports(1)
    with Cluster(f"127.0.0.1:{port}") as cluster, pytest.raises(DiscoveryError, match=str(port)):
        cluster.nodes()


def test_the_token_file_is_read_every_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With ACLs, discovery sees what the token may read, and says if that is nothing; a new token needs no restart."""
    file = tmp_path / "token"
    with running_agent(tmp_path, acl=True) as agent:
        register(agent, "secret")
        discovery = ConsulDiscovery(ConsulAddress(f"http://{agent.address}", token_file=file), cache_seconds=0.0)
        for content, problem in ((None, "FileNotFoundError"), ("", "empty"), ("0" * 36, "ACL not found.*node:read")):
            if content is not None:
                file.write_text(content)
            with pytest.raises(DiscoveryError, match=problem):
                discovery.nodes()
        file.write_text(agent.new_token({"Name": "nothing", "Rules": ""}))
        with caplog.at_level(logging.WARNING, "glmtts_client"):
            assert ids(discovery) == ids(discovery) == set()
        [message] = caplog.messages
        assert "may hide them" in message
        assert "service:read on glm-tts" in message
        rules = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
        file.write_text(agent.new_token({"Name": "reads", "Rules": rules}) + "\n")
        eventually(lambda: ids(discovery) == {"secret"})
        file.write_text("")
        assert ids(discovery) == {"secret"}, "the last token stays in use"
        assert not discovery.stale
        discovery.close()


class Backwards(BaseHTTPRequestHandler):
    """A Consul server whose index goes backwards once, as after restoring a snapshot."""

    protocol_version = "HTTP/1.1"
    indices_received: list[str]
    indices: tuple[int, ...] = (100, 7, 8, 8)

    def do_GET(self) -> None:
        _, _, query = self.path.partition("?")
        params = dict(pair.partition("=")[::2] for pair in query.split("&"))
        self.indices_received.append(params.get("index", "0"))
        index = self.indices[min(len(self.indices_received), len(self.indices)) - 1]
        body = json.dumps([self.entry(name, index) for name in self.listed(index)]).encode()
        self.send_response(200)
        self.send_header("X-Consul-Index", str(index))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def listed(self, index: int) -> list[str]:
        """The nodes at that index."""
        return [str(index)]

    def entry(self, name: str, index: int) -> dict[str, Any]:
        return {"Node": {}, "Service": {"ID": name, "Address": "10.0.0.1", "Port": 1}}

    def log_message(self, *_: Any) -> None:
        pass


class Emptied(Backwards):
    """A Consul server that was restarted with empty data; one of two nodes has registered again."""

    indices = (100, 7)

    def listed(self, index: int) -> list[str]:
        return ["1", "2"] if index == 100 else ["2"]

    def entry(self, name: str, index: int) -> dict[str, Any]:
        return {"Node": {}, "Service": {"ID": f"{name} at {index}", "Address": "10.0.0.1", "Port": int(name)}}


def test_a_list_of_a_consul_without_its_data_is_not_all() -> None:
    """The nodes of the last one are used until they have had the time to register again."""
    time, Emptied.indices_received = Time(), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Emptied) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        discovery = ConsulDiscovery(ConsulAddress(f"http://127.0.0.1:{server.server_port}"), clock=time)
        assert ids(discovery) == {"1 at 100", "2 at 100"}
        time.now += 10.0
        assert ids(discovery) == {"1 at 100", "2 at 7"}
        time.now += RETURN_SECONDS - 1.0
        assert ids(discovery) == {"1 at 100", "2 at 7"}
        time.now += 1.0
        assert ids(discovery) == {"2 at 7"}
        discovery.close()
        server.shutdown()


class Unchecked(Backwards):
    """A Consul agent that was restarted with its data: no node passes before it has been checked."""

    indices = (100, 107)

    def listed(self, index: int) -> list[str]:
        return ["1"] if index == 100 else []


def test_a_list_without_any_node_is_not_believed_at_once() -> None:
    """The nodes of the last one are used until their checks had the time to pass."""
    time, Unchecked.indices_received = Time(), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Unchecked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        discovery = ConsulDiscovery(ConsulAddress(f"http://127.0.0.1:{server.server_port}"), clock=time)
        for seconds in (0.0, 11.0, RETURN_SECONDS - 1.0):
            time.now += seconds
            assert ids(discovery) == {"1"}
        time.now += 1.0
        assert ids(discovery) == set()
        discovery.close()
        server.shutdown()


class Silent(BaseHTTPRequestHandler):
    """An agent, or a node, that answers while `speaks` is set, and says nothing until then."""

    speaks = threading.Event()

    def do_GET(self) -> None:
        if not self.speaks.wait(20):
            return
        entries = [{"Node": {}, "Service": {"ID": "1", "Address": "10.0.0.1", "Port": 1}}]
        data = json.dumps(entries if self.path.startswith("/v1/") else {"metadata": {"language": "en"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that answers until `Silent.speaks` is cleared."""
    Silent.speaks.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Silent.speaks.set()
    server.shutdown()
    server.server_close()


def test_a_silent_agent_holds_nobody_up(silent: str) -> None:
    """Who has a list goes on with it before the query has failed, which makes it stale."""
    time = Time()
    discovery = ConsulDiscovery(ConsulAddress(silent), clock=time)
    assert ids(discovery) == {"1"}
    Silent.speaks.clear()
    time.now += 11.0
    assert ids(discovery) == {"1"}
    assert not discovery.stale
    eventually(lambda: discovery.stale)
    discovery.close()


def test_a_silent_node_at_a_fixed_address_holds_nobody_up(silent: str) -> None:
    """It is listed without its metadata, which it is asked for once more when it answers."""
    Silent.speaks.clear()
    discovery = StaticDiscovery([silent])
    assert [node.meta for node in discovery.nodes()] == [{}]
    Silent.speaks.set()
    eventually(lambda: [node.meta for node in discovery.nodes()] == [{"language": "en"}])


def test_an_index_that_goes_backwards_resets_the_watch() -> None:
    """The watch queries from 0 again and misses nothing."""
    Backwards.indices_received = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Backwards) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        discovery = ConsulDiscovery(ConsulAddress(f"http://127.0.0.1:{server.server_port}"), watch=True)
        eventually(lambda: len(Backwards.indices_received) >= 4)
        assert Backwards.indices_received[:4] == ["0", "100", "0", "8"]
        assert ids(discovery) == {"8"}
        discovery.close()
        server.shutdown()


@pytest.mark.parametrize(
    ("address", "env", "url"),
    [
        (None, {}, "http://127.0.0.1:8500"),
        ("consul.local", {"CONSUL_HTTP_ADDR": "elsewhere"}, "http://consul.local:8500"),
        (None, {"CONSUL_HTTP_ADDR": "https://c"}, "https://c:8501"),
        ("::1", {}, None),
        ("[::1]:80", {}, "http://[::1]:80"),
        (None, {"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_SSL": "true"}, "https://c:1"),
        (None, {"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_SSL": "yes"}, "https://c:1"),
        (None, {"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_SSL": "off"}, "http://c:1"),
        (None, {"CONSUL_HTTP_ADDR": "", "CONSUL_HTTP_SSL": ""}, "http://127.0.0.1:8500"),
        ("[::1", {}, None),
        ("ftp://c", {}, None),
        ("c:port", {}, None),
    ],
)
def test_consul_address(address: str | None, env: dict[str, str], url: str | None) -> None:
    """Accepts what Consul's own tools accept."""
    if url is None:
        with pytest.raises(ValueError, match="expected host"):
            ConsulAddress.from_env(address, env)
    else:
        assert ConsulAddress.from_env(address, env).url == url


def test_switches_that_are_neither_true_nor_false_are_rejected() -> None:
    """A TLS switch that is silently off would send the token in the clear."""
    for name in ("CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"):
        with pytest.raises(ValueError, match=f"{name}: expected true or false, got 'maybe'"):
            ConsulAddress.from_env(None, {name: "maybe"})
    assert ConsulAddress.from_env(None, {"CONSUL_HTTP_SSL_VERIFY": "no"}).verify is False


def test_secrets_are_hidden() -> None:
    """Neither the token nor the password is in the repr, nor in the error for a URL that has one."""
    env = {"CONSUL_HTTP_TOKEN": "hunter2", "CONSUL_HTTP_AUTH": "me:hunter2"}
    assert "hunter2" not in repr(ConsulAddress.from_env(None, env))
    for url in ("http://me:hunter2@host", "me:hunter2@host", "http://me:hunter2@[::1"):
        with pytest.raises(ValueError, match="CONSUL_HTTP_AUTH") as caught:
            ConsulAddress.from_env(url, {})
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "naïve"])
def test_an_invalid_token_is_an_error_of_its_own(token: str) -> None:
    """It is not shown, and not taken for an agent that does not respond."""
    discovery = ConsulDiscovery(ConsulAddress("http://127.0.0.1:1", token=token))
    with pytest.raises(DiscoveryError, match="characters that are not allowed") as caught:
        discovery.nodes()
    assert token not in str(caught.value)
    discovery.close()


def test_a_missing_certificate_file_is_named(tmp_path: Path) -> None:
    """An error of discovery, and not of the program."""
    missing = str(tmp_path / "missing.pem")
    discovery = ConsulDiscovery(ConsulAddress("https://127.0.0.1:1", verify=missing))
    with pytest.raises(DiscoveryError, match=re.escape(missing)):
        discovery.nodes()
    discovery.close()


def test_static_discovery() -> None:
    """A node that does not respond is listed all the same; a malformed address is rejected."""
    [port] = free_ports(1)
    [node] = StaticDiscovery([f"http://127.0.0.1:{port}/"]).nodes()
    assert (node.url, node.meta) == (f"http://127.0.0.1:{port}", {})
    with pytest.raises(ValueError, match="expected http"):
        StaticDiscovery(["localhost:1"])
