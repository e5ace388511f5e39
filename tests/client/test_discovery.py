"""Discovery against a real agent: what is handed out, how fresh it is, and what holds when Consul is away."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from glmtts_client import Cluster, ConsulAddress, DiscoveryError
from glmtts_client.discovery import ConsulDiscovery, StaticDiscovery

from tests.helpers.consul import Agent, eventually, free_ports, running_agent


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def register(agent: Agent, name: str, status: str = "passing", **service: Any) -> None:
    check = {"CheckID": f"{name}-check", "Name": f"{name} is well", "TTL": "10m", "Status": status}
    payload = {"ID": name, "Name": "glm-tts", "Port": 7860, "Check": check, **service}
    agent.call("PUT", "/v1/agent/service/register", payload)


@pytest.fixture
def agent(agent: Agent) -> Iterator[Agent]:
    """Without services."""
    yield agent
    for service_id in agent.call("GET", "/v1/agent/services"):
        agent.deregister(service_id)


def ids(directory: ConsulDiscovery) -> set[str]:
    return {node.id for node in directory.nodes()}


def address(agent: Agent) -> ConsulAddress:
    return ConsulAddress(f"http://{agent.address}")


def test_passing_nodes_are_handed_out_with_what_they_say(agent: Agent) -> None:
    """A failing node is not, a node without metadata is; an address is the agent's where the node gave none."""
    register(agent, "well", Address="10.1.1.1", Meta={"language": "en", "model": "glm-tts"})
    register(agent, "bare")
    register(agent, "ill", status="critical", Address="10.1.1.3")
    directory = ConsulDiscovery(address(agent), cache_seconds=0.0)
    eventually(lambda: ids(directory) == {"well", "bare"})
    known = {node.id: node for node in directory.nodes()}
    assert known["well"].url == "http://10.1.1.1:7860"
    assert known["well"].languages == {"en"}
    assert known["bare"].url == "http://127.0.0.1:7860"
    assert known["bare"].meta == {}
    all_nodes = {node.id: node for node in directory.all_nodes()}
    assert (all_nodes["ill"].state, all_nodes["ill"].failing_checks) == ("critical", "ill is well")
    with Cluster(agent.address) as cluster:
        assert [node.id for node in cluster.nodes(language="en")] == ["well"]
        assert cluster.nodes(features={"emotion"}) == []
    directory.close()


def test_the_list_is_kept_for_ten_seconds(agent: Agent) -> None:
    """Not asked again before, asked again after."""
    time = Time()
    register(agent, "first")
    directory = ConsulDiscovery(address(agent), clock=time)
    eventually(lambda: agent.passing() == {"first"})
    assert ids(directory) == {"first"}
    register(agent, "second")
    eventually(lambda: agent.passing() == {"first", "second"})
    time.now = 9.9
    assert ids(directory) == {"first"}
    time.now = 10.0
    assert ids(directory) == {"first", "second"}
    directory.close()


def test_a_watch_sees_changes_at_once(agent: Agent) -> None:
    """New and lost nodes are known long before the list would be asked for again."""
    directory = ConsulDiscovery(address(agent), cache_seconds=3600.0, watch=True)
    register(agent, "new")
    eventually(lambda: ids(directory) == {"new"})
    agent.call("PUT", "/v1/agent/check/fail/new-check")
    eventually(lambda: ids(directory) == set())
    directory.close()


@pytest.mark.parametrize("watch", [False, True])
def test_the_last_list_serves_while_consul_is_away(
    tmp_path: Path, watch: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said to be stale, once; when Consul is back, though with nothing in it, its word holds again."""
    time = Time()
    with running_agent(tmp_path) as agent:
        register(agent, "old")
        eventually(lambda: agent.passing() == {"old"})
        directory = ConsulDiscovery(address(agent), clock=time, watch=watch)
        eventually(lambda: ids(directory) == {"old"})
        assert not directory.stale
        agent.stop()
        with caplog.at_level(logging.WARNING, "glmtts_client"):
            for _ in range(3):
                time.now += 10.0
                assert ids(directory) == {"old"}
            eventually(lambda: directory.stale)
            assert len(caplog.messages) == 1
            agent.start()
            time.now += 10.0
            eventually(lambda: ids(directory) == set() and not directory.stale, within=60)
        directory.close()


def test_without_consul_and_without_a_list_there_is_nothing() -> None:
    """And the error says whom it asked."""
    [port] = free_ports(1)
    with Cluster(f"127.0.0.1:{port}") as cluster, pytest.raises(DiscoveryError, match=str(port)):
        cluster.nodes()


def test_a_token_comes_from_its_file_each_time(tmp_path: Path) -> None:
    """Where ACLs are on, discovery sees what the token may read; a new token needs no restart."""
    file = tmp_path / "token"
    with running_agent(tmp_path, acl=True) as agent:
        register(agent, "secret")
        file.write_text(agent.new_token({"Name": "nothing", "Rules": ""}))
        directory = ConsulDiscovery(ConsulAddress(f"http://{agent.address}", token_file=file), cache_seconds=0.0)
        assert ids(directory) == set()
        rules = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
        file.write_text(agent.new_token({"Name": "reads", "Rules": rules}) + "\n")
        eventually(lambda: ids(directory) == {"secret"})
        directory.close()


class Backwards(BaseHTTPRequestHandler):
    """A Consul whose index goes backwards once, as after a restored snapshot."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    indices = (100, 7, 8, 8)

    def do_GET(self) -> None:
        _, _, query = self.path.partition("?")
        asked = dict(pair.partition("=")[::2] for pair in query.split("&"))
        self.asked.append(asked.get("index", "0"))
        index = self.indices[min(len(self.asked), len(self.indices)) - 1]
        body = json.dumps([{"Node": {}, "Service": {"ID": str(index), "Address": "10.0.0.1", "Port": 1}}]).encode()
        self.send_response(200)
        self.send_header("X-Consul-Index", str(index))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_an_index_that_goes_backwards_starts_anew() -> None:
    """The watch asks from 0 again, and misses nothing."""
    Backwards.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Backwards) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        directory = ConsulDiscovery(ConsulAddress(f"http://127.0.0.1:{server.server_port}"), watch=True)
        eventually(lambda: len(Backwards.asked) >= 4)
        assert Backwards.asked[:4] == ["0", "100", "0", "8"]
        assert ids(directory) == {"8"}
        directory.close()
        server.shutdown()


@pytest.mark.parametrize(
    ("given", "env", "url"),
    [
        (None, {}, "http://127.0.0.1:8500"),
        ("consul.local", {"CONSUL_HTTP_ADDR": "elsewhere"}, "http://consul.local:8500"),
        (None, {"CONSUL_HTTP_ADDR": "https://c"}, "https://c:8501"),
        ("::1", {}, None),
        ("[::1]:80", {}, "http://[::1]:80"),
        (None, {"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_SSL": "true"}, "https://c:1"),
        ("ftp://c", {}, None),
        ("c:port", {}, None),
    ],
)
def test_the_agents_address(given: str | None, env: dict[str, str], url: str | None) -> None:
    """As Consul's own tools take it; what is none is refused."""
    if url is None:
        with pytest.raises(ValueError, match="want host"):
            ConsulAddress.from_env(given, env)
    else:
        assert ConsulAddress.from_env(given, env).url == url


def test_secrets_are_not_shown() -> None:
    """Neither the token nor the password stands in what is printed."""
    env = {"CONSUL_HTTP_TOKEN": "geheim", "CONSUL_HTTP_AUTH": "me:geheim"}
    assert "geheim" not in repr(ConsulAddress.from_env(None, env))


def test_fixed_addresses_need_no_consul() -> None:
    """A node that cannot be asked is handed out all the same; what is no address is refused."""
    [port] = free_ports(1)
    [node] = StaticDiscovery([f"http://127.0.0.1:{port}/"]).nodes()
    assert (node.url, node.meta) == (f"http://127.0.0.1:{port}", {})
    with pytest.raises(ValueError, match="want http"):
        StaticDiscovery(["localhost:1"])
