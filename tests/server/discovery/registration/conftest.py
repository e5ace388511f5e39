"""A real agent, a port that responds to /health, and registrations that have left by the end of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from server.discovery.registration import ConsulRegistration
from tests.helpers.consul import Agent, running_agent
from tests.helpers.registration import Join, settings

OnChange = Callable[[str, str], None]


class Healthy(BaseHTTPRequestHandler):
    """Responds with 200 to any request."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter intervals."""
    monkeypatch.setattr("server.discovery.registration.MAX_HEARTBEAT_INTERVAL", 0.4)
    monkeypatch.setattr("server.discovery.registration.BACKOFF_CAP", 0.5)


@pytest.fixture
def port() -> Iterator[int]:
    """A port that responds to /health."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture
def agent(shared_agent: Agent) -> Iterator[Agent]:
    """An agent without services at the start of the test."""
    yield shared_agent
    for service_id in shared_agent.call("GET", "/v1/agent/services"):
        shared_agent.deregister(service_id)


@pytest.fixture
def join() -> Iterator[Join]:
    """Makes registrations that have left by the end of the test."""
    with ExitStack() as stack:

        def make(address: str, port: int, *, on_change: OnChange | None = None, **more: Any) -> ConsulRegistration:
            registration = ConsulRegistration(settings(address, port=port, **more), on_change=on_change)
            stack.callback(registration.deregister)
            return registration

        yield make
