"""Stored voices on several real nodes, with a real Consul agent."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from server.keys.__main__ import add_key
from tests.helpers.consul import Agent, eventually, running_agent
from tests.helpers.server import Server, recording

pytestmark = pytest.mark.processes

SECONDS = 10.0
"""Within which a change is everywhere."""

Start = Callable[[str], Server]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture
def start(agent: Agent, tmp_path: Path) -> Iterator[Start]:
    """Starts a node that has a folder of voices of its own; nodes need keys, from each other too."""
    (tmp_path / "peer_key").write_text(add_key(tmp_path / "keys", "nodes", ["voices"]))
    (tmp_path / "caller_key").write_text(add_key(tmp_path / "keys", "caller", ["speak", "voices"]))
    environment = {
        "GLMTTS_CONSUL": "on",
        "CONSUL_HTTP_ADDR": agent.address,
        "GLMTTS_LOOPBACK_CLUSTER": "on",
        "GLMTTS_HEALTH_INTERVAL": "1",
        "GLMTTS_API_KEYS_FILE": str(tmp_path / "keys"),
        "GLMTTS_PEER_API_KEY_FILE": str(tmp_path / "peer_key"),
    }
    with ExitStack() as stack:

        def run(name: str) -> Server:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            server = Server(voices=folder, env={**environment, "GLMTTS_NODE_NAME": name})
            stack.enter_context(server)
            eventually(lambda: f"glm-tts-{name}-{server.port}" in agent.passing(), within=60)
            return server

        yield run


@pytest.fixture
def caller(tmp_path: Path, start: Start) -> requests.Session:
    """Sends the key of somebody who may change voices."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {(tmp_path / 'caller_key').read_text()}"
    return session


def enrol(caller: requests.Session, server: Server, name: str, style: str, seconds: float = 2.0) -> None:
    audio = base64.b64encode(recording(seconds)).decode()
    body = {"style": style, "reference_audio": audio, "reference_text": f"In {style}.", "consent": "Bob"}
    assert caller.post(f"{server.url}/voices/{name}", json=body, timeout=30).status_code == 201


def styles(caller: requests.Session, server: Server, name: str) -> set[str]:
    """The styles of a voice; none without the voice."""
    response = caller.get(f"{server.url}/voices/{name}", timeout=10)
    return set(response.json()["styles"]) if response.status_code == 200 else set()


def test_a_change_on_one_node_is_on_all(start: Start, caller: requests.Session, tmp_path: Path) -> None:
    """Enrolments and deletions, on a node that comes later and one that was away, too."""
    a, b = start("a"), start("b")
    enrol(caller, a, "bob", "calm")
    eventually(lambda: styles(caller, b, "bob") == {"calm"}, within=SECONDS)
    shown = [caller.get(f"{server.url}/voices/bob", timeout=10).json() for server in (a, b)]
    assert shown[0] == shown[1]
    assert shown[1]["recordings"]["calm"]["consent"] == "Bob"
    [features] = (path.name for path in (tmp_path / "a" / "bob").glob("*.safetensors"))
    eventually((tmp_path / "b" / "bob" / features).exists, within=SECONDS)
    body = {"text": "Hello.", "voice": "bob", "format": "pcm", "seed": 1}
    said = [caller.post(f"{server.url}/tts", json=body, timeout=30) for server in (a, b)]
    assert said[0].content == said[1].content != b""

    c = start("c")
    assert styles(caller, c, "bob") == {"calm"}, "a new node has the voices before it takes requests"

    b.stop()
    enrol(caller, a, "bob", "happy")
    enrol(caller, c, "eve", "calm")
    assert caller.delete(f"{c.url}/voices/bob?style=calm", timeout=10).status_code == 204
    again = start("b")
    for server in (a, again, c):
        eventually(lambda server=server: styles(caller, server, "bob") == {"happy"}, within=SECONDS)
        eventually(lambda server=server: styles(caller, server, "eve") == {"calm"}, within=SECONDS)

    assert caller.delete(f"{again.url}/voices/eve", timeout=10).status_code == 204
    for server in (a, c):
        eventually(lambda server=server: styles(caller, server, "eve") == set(), within=SECONDS)


def test_recordings_are_given_to_nodes_only(start: Start, caller: requests.Session, tmp_path: Path) -> None:
    """They need a key with the scope voices; whoever may only speak gets none."""
    server = start("alone")
    enrol(caller, server, "bob", "calm")
    speak = {"Authorization": f"Bearer {add_key(tmp_path / 'keys', 'guest', ['speak'])}"}
    [file] = (path.name for path in (tmp_path / "alone" / "bob").glob("calm.*"))
    for path in ("", "/bob", f"/bob/{file}"):
        url = f"{server.url}/sync/voices{path}"
        assert requests.get(url, timeout=10).status_code == 401
        assert requests.get(url, headers=speak, timeout=10).status_code == 403
        assert caller.get(url, timeout=10).status_code == 200
    index = caller.get(f"{server.url}/sync/voices", timeout=10)
    same = caller.get(f"{server.url}/sync/voices", headers={"If-None-Match": index.headers["ETag"]}, timeout=10)
    assert (same.status_code, same.content) == (304, b"")
    for path in ("/eve", "/..%2Fkeys", f"/eve/{file}", "/bob/voice.json", "/bob/..%2Fkeys"):
        assert caller.get(f"{server.url}/sync/voices{path}", timeout=10).status_code == 404
