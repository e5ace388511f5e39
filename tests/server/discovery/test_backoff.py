"""How long a node waits before it calls Consul again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from scripts.processes import free_ports
from server.discovery.acl_token import AclToken
from server.discovery.config_watcher import ConfigWatcher
from server.discovery.registration import ConsulRegistration
from server.settings import Settings
from tests.helpers.registration import INFO, progressing, settings

CALLS = 60


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting; after CALLS of them the thread is told to stop."""
    seen: list[float] = []

    def wait(_: AclToken, stop: threading.Event, seconds: float) -> None:
        seen.append(seconds)
        if len(seen) >= CALLS:
            stop.set()

    monkeypatch.setattr(AclToken, "wait", wait)
    return seen


def test_a_node_is_back_ten_seconds_after_its_agent(waits: list[float]) -> None:
    """However long the agent was away, both threads try again within 10 s, at times that differ between nodes."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    registration = ConsulRegistration(settings(address))
    registration.start(INFO, progressing)
    assert registration._thread is not None
    registration._thread.join(60)
    check(waits)
    waits.clear()
    watcher = ConfigWatcher(settings(address), None, lambda key, result: None)  # type: ignore[arg-type]  # not reached
    watcher.start(0.0)
    watcher._thread.join(60)
    check(waits)


def check(waits: list[float]) -> None:
    late = waits[CALLS // 2 : CALLS]
    assert max(waits) <= 10
    assert max(late) - min(late) > 5, "full jitter"


@pytest.mark.slow
def test_a_changed_token_file_ends_the_wait(tmp_path: Path) -> None:
    """Written, replaced, removed or created: the next call follows within a second or so, not after the back-off."""
    file = tmp_path / "token"
    token = AclToken(Settings(consul_token_file=file))
    other = tmp_path / "other"
    for change in (
        lambda: file.write_text("created"),
        lambda: file.write_text("written"),
        lambda: (other.write_text("written"), other.replace(file)),
        file.unlink,
    ):
        if file.exists():
            token.reload()
        thread = threading.Thread(target=token.wait, args=(threading.Event(), 3600.0), daemon=True)
        thread.start()
        change()
        thread.join(30)
        assert not thread.is_alive()
