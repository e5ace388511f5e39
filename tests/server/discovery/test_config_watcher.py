"""Watching the shared configuration, against a real agent."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.cluster_config import MAX_BYTES, ClusterConfig, Style
from server.discovery.config_watcher import MIN_INTERVAL, WAIT, ConfigWatcher, next_index
from server.settings import Settings
from tests.helpers.consul import Agent, eventually, running_agent

pytestmark = pytest.mark.processes

BUILT_IN = Style(None, 1.0)
_prefixes = (f"team-{number}/glm-tts" for number in count())


class Watched:
    """A cluster configuration, its watcher, and the changes that the watcher reported."""

    def __init__(self, agent: Agent, prefix: str, **settings: Any) -> None:
        self._agent = agent
        self.prefix = prefix
        chosen = Settings(consul_addr=agent.address, kv_prefix=prefix, **settings)
        self.config = ClusterConfig(chosen)
        self.changes: Counter[tuple[str, str]] = Counter()
        self.watcher = ConfigWatcher(chosen, self.config, self._note)

    def _note(self, key: str, result: str) -> None:
        self.changes[key, result] += 1

    def put(self, key: str, document: Any) -> None:
        self._agent.call("PUT", f"/v1/kv/{self.prefix}/{key}", document)

    def put_raw(self, key: str, text: bytes) -> None:
        self._agent.transfer("PUT", f"/v1/kv/{self.prefix}/{key}", text)

    def delete(self, key: str) -> None:
        self._agent.call("DELETE", f"/v1/kv/{self.prefix}/{key}")

    def start(self) -> Watched:
        self.watcher.start(20.0)
        return self

    def speed(self) -> float:
        return self.config.style.speed

    def end(self) -> None:
        """Waits for the end of the thread: its query ends with an unreachable agent, else with a change."""
        self.watcher.stop()
        if self._agent.running():
            self.put("end", {})
        self.watcher._thread.join(30)
        assert not self.watcher._thread.is_alive()


Watch = Callable[..., Watched]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Shorter intervals, and every log line."""
    monkeypatch.setattr("server.discovery.config_watcher.BACKOFF_CAP", 0.5)
    caplog.set_level(logging.INFO)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Makes watchers that have stopped by the end of the test, each with keys of its own."""
    with ExitStack() as stack:

        def make(agent: Agent, **settings: Any) -> Watched:
            watched = Watched(agent, next(_prefixes), **settings)
            stack.callback(lambda: watched.watcher._thread.ident is None or watched.end())
            return watched

        yield make


def log_lines(caplog: pytest.LogCaptureFixture, *words: str) -> list[str]:
    """The log lines that contain all of these words."""
    return [record.getMessage() for record in caplog.records if all(word in record.getMessage() for word in words)]


def test_existing_documents_are_applied_when_start_returns(agent: Agent, watch: Watch) -> None:
    """A node does not serve with other limits than the cluster's."""
    watched = watch(agent)
    watched.put("limits", {"max_text_chars": 10})
    watched.start()
    assert watched.config.limits.max_text_chars == 10
    assert watched.changes == {("limits", "applied"): 1}


def test_a_change_is_applied_during_a_query(agent: Agent, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Without a restart, in less than 2 s; one log line and one count per change, none for an unchanged value."""
    watched = watch(agent).start()
    took = []
    for number in range(1, 6):
        began = time.monotonic()
        watched.put("default_style", {"speed": 1 + number / 10})
        eventually(lambda number=number: watched.speed() == 1 + number / 10)
        took.append(time.monotonic() - began)
    assert min(took) < 2, "one of five is fast even on a busy machine"
    assert watched.changes == {("default_style", "applied"): 5}
    assert len(log_lines(caplog, f"{watched.prefix}/default_style applied")) == 5
    watched.put("default_style", {"speed": 1.5})  # written again: another index, the same value
    watched.put("limits", {"max_text_chars": 10})
    eventually(lambda: watched.config.limits.max_text_chars == 10)
    assert watched.changes["default_style", "applied"] == 5


@pytest.mark.parametrize("garbage", [b"", b'{"speed": 9}', b"\xff\xfe"])
def test_invalid_documents_are_refused_and_reported(
    agent: Agent, watch: Watch, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    """The last good one stays, with one log line and one count; the next valid one is applied."""
    watched = watch(agent).start()
    watched.put("default_style", {"speed": 1.5})
    eventually(lambda: watched.speed() == 1.5)
    watched.put_raw("default_style", garbage)
    eventually(lambda: watched.changes["default_style", "refused"] == 1)
    watched.put("limits", {"max_text_chars": 10})
    eventually(lambda: watched.config.limits.max_text_chars == 10)
    assert watched.speed() == 1.5
    assert watched.changes["default_style", "refused"] == 1
    assert len(log_lines(caplog, f"{watched.prefix}/default_style refused, the last good one stays: ")) == 1
    watched.put("default_style", {"speed": 0.5})
    eventually(lambda: watched.speed() == 0.5)


def test_one_bad_document_does_not_stop_the_others(agent: Agent, watch: Watch) -> None:
    """Not even if applying it raises something unexpected."""

    def broken(_: Mapping[str, str]) -> None:
        raise RuntimeError("unexpected")

    watched = watch(agent)
    watched.config.set_replacements = broken
    for key, document in (("default_style", []), ("g2p_replace", {"弦": "<|X|>"}), ("limits", {"max_text_chars": 10})):
        watched.put(key, document)
    watched.start()
    assert watched.config.limits.max_text_chars == 10
    assert watched.changes == {
        ("default_style", "refused"): 1,
        ("g2p_replace", "refused"): 1,
        ("limits", "applied"): 1,
    }


def test_a_deleted_key_is_the_built_in_default(agent: Agent, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """A deletion is a change like any other: applied and logged."""
    watched = watch(agent).start()
    watched.put("default_style", {"speed": 1.5})
    eventually(lambda: watched.speed() == 1.5)
    watched.delete("default_style")
    eventually(lambda: watched.config.style == BUILT_IN)
    assert len(log_lines(caplog, f"{watched.prefix}/default_style deleted")) == 1


def test_other_keys_are_ignored(agent: Agent, watch: Watch) -> None:
    """Keys below the prefix and beside it."""
    watched = watch(agent).start()
    for key in ("other", "limits/deeper", "limits2", "", "Limits"):
        watched.put(key, {"max_text_chars": 20})
    agent.call("PUT", "/v1/kv/limits", {"max_text_chars": 20})
    watched.put("limits", {"max_text_chars": 10})
    eventually(lambda: watched.config.limits.max_text_chars == 10)
    assert watched.changes == {("limits", "applied"): 1}


def test_a_value_that_is_too_large_is_refused(tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Over 512 KB, on an agent that allows more; exactly 512 KB is read."""
    with running_agent(tmp_path, limits={"kv_max_value_size": 4 * MAX_BYTES}) as roomy:
        watched = watch(roomy).start()
        watched.put_raw("limits", b'{"max_text_chars": 10}'.ljust(MAX_BYTES))
        eventually(lambda: watched.config.limits.max_text_chars == 10)
        watched.put_raw("limits", b'{"max_text_chars": 20}'.ljust(MAX_BYTES + 1))
        eventually(lambda: watched.changes["limits", "refused"] == 1)
        assert watched.config.limits.max_text_chars == 10
        assert log_lines(caplog, "limits refused", f"got {MAX_BYTES + 1}")
        watched.end()


def test_a_burst_of_changes_is_applied_as_a_few(agent: Agent, watch: Watch) -> None:
    """Of 1000 changes as fast as possible at most two per second are applied, and the last one always."""
    watched = watch(agent).start()
    began = time.monotonic()
    for number in range(1000):
        watched.put("default_style", {"speed": 1 + number / 1000})
    eventually(lambda: watched.speed() == 1.999)
    assert watched.changes["default_style", "applied"] <= (time.monotonic() - began) / MIN_INTERVAL + 2


def test_consul_comes_goes_and_comes_back(tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Absent at start: built-in values. Gone: the last good ones. Back without data: built-in, then changes apply."""
    agent = Agent(tmp_path)
    watched = watch(agent).start()
    assert (watched.config.style, watched.changes) == (BUILT_IN, {})
    try:
        agent.start()
        for number in range(50):  # an index that the restarted agent will not reach
            watched.put("default_style", {"speed": 1 + number / 100})
        eventually(lambda: watched.speed() == 1.49)
        agent.stop()
        eventually(lambda: watched.watcher.failures >= 3)
        assert watched.speed() == 1.49
        agent.start()
        eventually(lambda: watched.config.style == BUILT_IN)
        watched.put("default_style", {"speed": 0.5})
        eventually(lambda: watched.speed() == 0.5)
        assert watched.watcher.failures == 0
    finally:
        agent.stop()
    assert len(log_lines(caplog, "Consul's KV store is readable again")) == 2
    # Once per kind of error, however long it lasts: no response, perhaps a response without a leader.
    assert len(log_lines(caplog, "not readable, the last good one stays", "no response from")) in (2, 3)


def test_an_index_that_goes_backwards_is_followed(agent: Agent, watch: Watch) -> None:
    """A snapshot restored during a query: the older values apply, and so does the next change."""
    watched = watch(agent)
    watched.put("default_style", {"speed": 1.2})
    watched.start()
    snapshot = agent.transfer("GET", "/v1/snapshot")
    for number in range(50):
        watched.put("default_style", {"speed": 1.5 + number / 100})
    eventually(lambda: watched.speed() == 1.99)
    agent.transfer("PUT", "/v1/snapshot", snapshot)
    # The blocked query returns the old index; the next one blocks for its whole wait on an index in the future.
    eventually(lambda: watched.speed() == 1.2, within=60)
    watched.put("default_style", {"speed": 0.5})
    eventually(lambda: watched.speed() == 0.5)


@given(st.lists(st.integers(0, 2**63), min_size=1))
def test_no_query_blocks_on_an_index_that_consul_has_not_returned(answers: list[int]) -> None:
    """0 right after the index went backwards or was missing (0), else the last index."""
    index = 0
    for received in answers:
        backwards = received < index
        index = next_index(index, received)
        assert index == (0 if backwards else received)


class Indexless(BaseHTTPRequestHandler):
    """An agent behind a proxy that removes Consul's headers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        key = "indexless/default_style"
        value = base64.b64encode(b'{"speed": 1.5}').decode()
        body = json.dumps([{"Key": key, "Value": value}] if key in self.path or "recurse" in self.path else []).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_an_answer_without_an_index_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for again after a while, and not at once, since without an index no query blocks."""
    waits: list[float] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Indexless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = Settings(consul_addr=f"127.0.0.1:{server.server_port}", kv_prefix="indexless")
        config = ClusterConfig(settings)
        watcher = ConfigWatcher(settings, config, lambda key, result: None)
        token = watcher._client.acl_token  # of this watcher alone: one of an earlier test may still be ending
        monkeypatch.setattr(token, "wait", lambda stop, seconds: (waits.append(seconds), stop.set()))
        watcher.start(20.0)
        eventually(lambda: waits)
        server.shutdown()
    assert config.style.speed == 1.5
    assert waits == [WAIT]


def test_a_denied_token_deletes_nothing(tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Consul omits denied keys from a list: the last good documents stay, and the log says what the token needs."""
    with running_agent(tmp_path, acl=True) as guarded:
        reader = guarded.new_token({"Name": "reader", "Rules": 'key_prefix "" { policy = "read" }'})
        token = tmp_path / "token"
        token.write_text(reader)
        watched = watch(guarded, consul_token_file=token)
        watched.put("default_style", {"speed": 1.5})
        watched.start()
        assert watched.speed() == 1.5
        token.write_text(guarded.new_token({"Name": "stranger", "Rules": 'node_prefix "" { policy = "read" }'}))
        eventually(lambda: watched.watcher.failures >= 3)
        watched.put("default_style", {"speed": 2.0})
        eventually(lambda: watched.watcher.failures >= 6)
        assert watched.speed() == 1.5
        assert watched.changes == {("default_style", "applied"): 1}
        [line] = log_lines(caplog, "not readable, the last good one stays")
        assert f'key_prefix "{watched.prefix}/" read' in line
        token.write_text(reader)
        eventually(lambda: watched.speed() == 2.0)
        watched.end()
