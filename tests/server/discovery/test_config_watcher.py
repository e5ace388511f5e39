"""The shared configuration as a node watches it, against a real agent."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.cluster_config import MAX_BYTES, ClusterConfig, Style
from server.discovery.config_watcher import MIN_INTERVAL, ConfigWatcher, next_index
from server.settings import Settings
from tests.helpers.consul import Agent, eventually, running_agent

BUILT_IN = Style(None, 1.0)
_prefixes = (f"team-{number}/glm-tts" for number in count())


class Watched:
    """A shared configuration, its watch, and what the watch told."""

    def __init__(self, agent: Agent, prefix: str, **settings: Any) -> None:
        self._agent = agent
        self.prefix = prefix
        chosen = Settings(consul_addr=agent.address, kv_prefix=prefix, **settings)
        self.shared = ClusterConfig(chosen)
        self.told: Counter[tuple[str, str]] = Counter()
        self.watch = ConfigWatcher(chosen, self.shared, self._note)

    def _note(self, key: str, result: str) -> None:
        self.told[key, result] += 1

    def put(self, key: str, document: Any) -> None:
        self._agent.call("PUT", f"/v1/kv/{self.prefix}/{key}", document)

    def put_raw(self, key: str, text: bytes) -> None:
        self._agent.transfer("PUT", f"/v1/kv/{self.prefix}/{key}", text)

    def delete(self, key: str) -> None:
        self._agent.call("DELETE", f"/v1/kv/{self.prefix}/{key}")

    def start(self) -> Watched:
        self.watch.start(20.0)
        return self

    def speed(self) -> float:
        return self.shared.style.speed

    def end(self) -> None:
        """Waits for the thread's end: an agent that is away ends its query, else a change does."""
        self.watch.stop()
        if self._agent.running():
            self.put("end", {})
        self.watch._thread.join(30)
        assert not self.watch._thread.is_alive()


Watch = Callable[..., Watched]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The same rules, in less time; every line of the log."""
    monkeypatch.setattr("server.discovery.config_watcher.BACKOFF_CAP", 0.5)
    caplog.set_level(logging.INFO)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Makes watches that have ended by the end of the test, each with keys of its own."""
    with ExitStack() as stack:

        def make(agent: Agent, **settings: Any) -> Watched:
            watched = Watched(agent, next(_prefixes), **settings)
            stack.callback(lambda: watched.watch._thread.ident is None or watched.end())
            return watched

        yield make


def said(caplog: pytest.LogCaptureFixture, *words: str) -> list[str]:
    """The log lines that hold all of these words."""
    return [record.getMessage() for record in caplog.records if all(word in record.getMessage() for word in words)]


def test_what_is_there_already_holds_when_start_returns(agent: Agent, watch: Watch) -> None:
    """A node does not open its doors with other limits than the cluster's."""
    watched = watch(agent)
    watched.put("limits", {"max_text_chars": 10})
    watched.start()
    assert watched.shared.limits.max_text_chars == 10
    assert watched.told == {("limits", "applied"): 1}


def test_a_change_is_seen_while_the_watch_waits(agent: Agent, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Without a restart, in less than 2 s; one line and one count a change, and none for what stayed the same."""
    watched = watch(agent).start()
    took = []
    for number in range(1, 6):
        began = time.monotonic()
        watched.put("default_style", {"speed": 1 + number / 10})
        eventually(lambda number=number: watched.speed() == 1 + number / 10)
        took.append(time.monotonic() - began)
    assert min(took) < 2, "however busy the machine is, one of five falls into a calm moment"
    assert watched.told == {("default_style", "applied"): 5}
    assert len(said(caplog, f"{watched.prefix}/default_style applied")) == 5
    watched.put("default_style", {"speed": 1.5})  # written again: another index, the same value
    watched.put("limits", {"max_text_chars": 10})
    eventually(lambda: watched.shared.limits.max_text_chars == 10)
    assert watched.told["default_style", "applied"] == 5


@pytest.mark.parametrize("garbage", [b"", b'{"speed": 9}', b"\xff\xfe"])
def test_garbage_is_refused_and_reported(
    agent: Agent, watch: Watch, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    """The last good one stays; a line and a count say so once; the next good one is taken."""
    watched = watch(agent).start()
    watched.put("default_style", {"speed": 1.5})
    eventually(lambda: watched.speed() == 1.5)
    watched.put_raw("default_style", garbage)
    eventually(lambda: watched.told["default_style", "refused"] == 1)
    watched.put("limits", {"max_text_chars": 10})
    eventually(lambda: watched.shared.limits.max_text_chars == 10)
    assert watched.speed() == 1.5
    assert watched.told["default_style", "refused"] == 1
    assert len(said(caplog, f"{watched.prefix}/default_style refused, the last good one stays: ")) == 1
    watched.put("default_style", {"speed": 0.5})
    eventually(lambda: watched.speed() == 0.5)


def test_one_bad_document_does_not_hold_up_the_others(agent: Agent, watch: Watch) -> None:
    """Also when what fails is a fault of ours."""

    def broken(_: Mapping[str, str]) -> None:
        raise RuntimeError("a surprise")

    watched = watch(agent)
    watched.shared.set_replacements = broken
    for key, document in (("default_style", []), ("g2p_replace", {"弦": "<|X|>"}), ("limits", {"max_text_chars": 10})):
        watched.put(key, document)
    watched.start()
    assert watched.shared.limits.max_text_chars == 10
    assert watched.told == {
        ("default_style", "refused"): 1,
        ("g2p_replace", "refused"): 1,
        ("limits", "applied"): 1,
    }


def test_a_deleted_key_is_the_built_in_default(agent: Agent, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Deletion is a change like another: applied, told."""
    watched = watch(agent).start()
    watched.put("default_style", {"speed": 1.5})
    eventually(lambda: watched.speed() == 1.5)
    watched.delete("default_style")
    eventually(lambda: watched.shared.style == BUILT_IN)
    assert len(said(caplog, f"{watched.prefix}/default_style deleted")) == 1


def test_other_keys_are_ignored(agent: Agent, watch: Watch) -> None:
    """Whatever else stands beneath the prefix or beside it."""
    watched = watch(agent).start()
    for key in ("other", "limits/deeper", "limits2", "", "Limits"):
        watched.put(key, {"max_text_chars": 20})
    agent.call("PUT", "/v1/kv/limits", {"max_text_chars": 20})
    watched.put("limits", {"max_text_chars": 10})
    eventually(lambda: watched.shared.limits.max_text_chars == 10)
    assert watched.told == {("limits", "applied"): 1}


def test_a_value_too_large_is_refused(tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Over 512 KB, where Consul has been told to take more; up to them it is read."""
    with running_agent(tmp_path, limits={"kv_max_value_size": 4 * MAX_BYTES}) as roomy:
        watched = watch(roomy).start()
        watched.put_raw("limits", b'{"max_text_chars": 10}'.ljust(MAX_BYTES))
        eventually(lambda: watched.shared.limits.max_text_chars == 10)
        watched.put_raw("limits", b'{"max_text_chars": 20}'.ljust(MAX_BYTES + 1))
        eventually(lambda: watched.told["limits", "refused"] == 1)
        assert watched.shared.limits.max_text_chars == 10
        assert said(caplog, "limits refused", f"{MAX_BYTES + 1} bytes")
        watched.end()


def test_a_flood_of_changes_is_taken_as_a_few(agent: Agent, watch: Watch) -> None:
    """1000 changes as fast as the agent takes them: two a second at most are applied, the last one among them."""
    watched = watch(agent).start()
    began = time.monotonic()
    for number in range(1000):
        watched.put("default_style", {"speed": 1 + number / 1000})
    eventually(lambda: watched.speed() == 1.999)
    assert watched.told["default_style", "applied"] <= (time.monotonic() - began) / MIN_INTERVAL + 2


def test_consul_comes_goes_and_comes_back(tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """Absent at start: built-in. Gone: the last good. Back with empty data: built-in, and changes count."""
    agent = Agent(tmp_path)
    watched = watch(agent).start()
    assert (watched.shared.style, watched.told) == (BUILT_IN, {})
    try:
        agent.start()
        for number in range(50):  # an index that the next life will not reach
            watched.put("default_style", {"speed": 1 + number / 100})
        eventually(lambda: watched.speed() == 1.49)
        agent.stop()
        eventually(lambda: watched.watch.failures >= 3)
        assert watched.speed() == 1.49
        agent.start()
        eventually(lambda: watched.shared.style == BUILT_IN)
        watched.put("default_style", {"speed": 0.5})
        eventually(lambda: watched.speed() == 0.5)
        assert watched.watch.failures == 0
    finally:
        agent.stop()
    assert len(said(caplog, "Consul's KV store answers again")) == 2
    # Once a change, however long it lasts: no answer, perhaps an answer without a leader.
    assert len(said(caplog, "not readable, the last good one stays", "no answer from")) in (2, 3)


def test_an_index_that_goes_backwards_is_followed(agent: Agent, watch: Watch) -> None:
    """A snapshot put back while we wait: the older values hold, and the next change is seen as before."""
    watched = watch(agent)
    watched.put("default_style", {"speed": 1.2})
    watched.start()
    snapshot = agent.transfer("GET", "/v1/snapshot")
    for number in range(50):
        watched.put("default_style", {"speed": 1.5 + number / 100})
    eventually(lambda: watched.speed() == 1.99)
    agent.transfer("PUT", "/v1/snapshot", snapshot)
    # The query that waited is answered from before; the one after it waits its time out behind an index to come.
    eventually(lambda: watched.speed() == 1.2, within=60)
    watched.put("default_style", {"speed": 0.5})
    eventually(lambda: watched.speed() == 0.5)


@given(st.lists(st.integers(0, 2**63), min_size=1))
def test_nobody_waits_behind_an_index_that_consul_has_not_given(answers: list[int]) -> None:
    """Whatever the answers: 0 right after a step back, else the last one, and never below 1."""
    index = 0
    for answered in answers:
        backwards = answered < index
        index = next_index(index, answered)
        assert index == (0 if backwards else max(1, answered))


def test_a_token_that_may_not_read_deletes_nothing(
    tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """Consul lists denied keys as if they were not there: the last good ones stay, and the log says what is missing."""
    with running_agent(tmp_path, acl=True) as guarded:
        reader = guarded.new_token({"Name": "reader", "Rules": 'key_prefix "" { policy = "read" }'})
        token = tmp_path / "token"
        token.write_text(reader)
        watched = watch(guarded, consul_token_file=token)
        watched.put("default_style", {"speed": 1.5})
        watched.start()
        assert watched.speed() == 1.5
        token.write_text(guarded.new_token({"Name": "stranger", "Rules": 'node_prefix "" { policy = "read" }'}))
        eventually(lambda: watched.watch.failures >= 3)
        watched.put("default_style", {"speed": 2.0})
        eventually(lambda: watched.watch.failures >= 6)
        assert watched.speed() == 1.5
        assert watched.told == {("default_style", "applied"): 1}
        [line] = said(caplog, "not readable, the last good one stays")
        assert f'key_prefix "{watched.prefix}/" read' in line
        token.write_text(reader)
        eventually(lambda: watched.speed() == 2.0)
        watched.end()
