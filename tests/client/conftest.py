"""A real Consul agent, and real nodes with the fake engine registered in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from glmtts_client import Cluster, RetryPolicy

from tests.helpers.consul import Agent, eventually, running_agent
from tests.helpers.server import Server, store_voice

Start = Callable[..., list[Server]]
SLOW = "fake:delay=0.05"
SERVICE = "glm-tts"
CLUSTER_SERVICE = "glm-tts-nodes"


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("voices")
    store_voice(directory, "default", {"neutral": "This is me.", "happy": "Oh, wonderful!"})
    return directory


@pytest.fixture(scope="session")
def _launch(agent: Agent, voices: Path) -> Iterator[Start]:
    """Starts nodes of a service and waits until their checks pass."""
    settings = {
        "GLMTTS_CONSUL": "on",
        "CONSUL_HTTP_ADDR": agent.address,
        "GLMTTS_LOOPBACK_CLUSTER": "on",
        "GLMTTS_NODE_NAME": "here",
        "GLMTTS_HEALTH_INTERVAL": "1",
    }
    with ExitStack() as stack:

        def run(service: str, *checkpoints: str, **more: str) -> list[Server]:
            env = {**settings, "GLMTTS_CONSUL_SERVICE": service, **more}
            servers = [Server(checkpoint, voices=voices, env=env) for checkpoint in checkpoints]
            for server in servers:
                stack.callback(kill, server)
            for server in servers:
                eventually(partial(_passes_or_died, agent, service, server), within=120)
                assert server.process.poll() is None, "".join(server.lines)
            return servers

        yield run


def _passes_or_died(agent: Agent, service: str, server: Server) -> bool:
    return f"{service}-here-{server.port}" in agent.passing(service) or server.process.poll() is not None


@pytest.fixture
def start(agent: Agent, _launch: Start) -> Iterator[Start]:
    """Starts nodes for one test."""
    own: list[Server] = []

    def run(*checkpoints: str, **more: str) -> list[Server]:
        own.extend(servers := _launch(SERVICE, *checkpoints, **more))
        return servers

    yield run
    for server in own:
        kill(server)
    for service_id in agent.listed(SERVICE):
        agent.deregister(service_id)


@pytest.fixture(scope="session")
def _survivors() -> list[Server]:
    return []


@pytest.fixture
def cluster_nodes(agent: Agent, _launch: Start, _survivors: list[Server]) -> list[Server]:
    """Three equal nodes of CLUSTER_SERVICE: the survivors of the last test, and new ones."""
    for server in list(_survivors):
        if server.process.poll() is None and server.status("/ready") == 200:
            continue
        kill(server)
        _survivors.remove(server)
    _survivors.extend(_launch(CLUSTER_SERVICE, *[SLOW] * (3 - len(_survivors))))
    alive = {f"{CLUSTER_SERVICE}-here-{server.port}" for server in _survivors}
    for service_id in agent.listed(CLUSTER_SERVICE).keys() - alive:
        agent.deregister(service_id)
    eventually(lambda: agent.passing(CLUSTER_SERVICE) == alive)
    return list(_survivors)


def retrying_cluster(agent: Agent, service: str = SERVICE, **more: Any) -> Cluster:
    """A cluster that queries the agent for every request, and retries quickly."""
    return Cluster(
        agent.address,
        service=service,
        cache_seconds=0.0,
        **{"retry": RetryPolicy(timeout=60, initial_delay=0.05), **more},
    )


def kill(server: Server) -> None:
    """Sends SIGKILL to the server and its worker."""
    if server.process.poll() is None:
        os.killpg(server.process.pid, signal.SIGKILL)
    server.__exit__(None, None, None)
