"""Three nodes and their Consul, as processes of this machine, in one of four layouts; all gone after.

Knows how a node is started, signalled and asked, and nothing about faults or callers.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.faults.agents import LOOPBACK, Agent, Agents
from scripts.faults.network import HERE, THERE, Island, island
from scripts.processes import Processes, free_ports

SERVICE = "glm-tts"
VOICES = "checkpoints/nano/voices"
"""For the fake engine, which has none of its own."""
LOADED = 600.0
"""Seconds until a node must be ready."""
NODE_RULES = """service "glm-tts" { policy = "write" }
node_prefix "" { policy = "read" }
key_prefix "glm-tts/" { policy = "read" }"""
"""As docs/operations.md has them."""
CALLER_RULES = 'service_prefix "" { policy = "read" }\nnode_prefix "" { policy = "read" }'
OFF = Path(__file__).parent / "off"


@dataclass
class Node:
    """One server. Each of its lives has a process and a log of its own."""

    name: str
    host: str
    port: int
    environment: Mapping[str, str]
    inside: list[str] = field(default_factory=list)
    lives: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def id(self) -> str:
        return f"{SERVICE}-{self.name}-{self.port}"

    @property
    def process(self) -> str:
        """The name of the process of its present life."""
        return f"{self.name}-life-{self.lives}"


@dataclass
class Herd:
    """What runs. `local` is the agent that callers ask, with `caller_token` where there are ACLs."""

    processes: Processes
    checkpoint: str
    folder: Path
    local: Agent
    servers: list[Agent] = field(default_factory=list)
    island: Island | None = None
    caller_token: str = ""
    nodes: list[Node] = field(default_factory=list)

    def start(self, node: Node) -> None:
        """A life of the node; `wait` says when it is ready."""
        node.lives += 1
        command = [sys.executable, "app.py", "--host", "0.0.0.0" if node.inside else LOOPBACK, "--port", str(node.port)]
        checkpoint = ["--checkpoint", self.checkpoint] if self.checkpoint else []
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}
        # One thread each: there are more nodes than cores.
        environment = {"OMP_NUM_THREADS": "1", **clean, **node.environment}
        self.processes.start(node.process, [*node.inside, *command, *checkpoint], environment)

    def wait(self, node: Node) -> None:
        self.processes.wait(node.process, f"{node.url}/ready", LOADED)

    def signal(self, node: Node, number: signal.Signals) -> None:
        """To all processes of the node, but for SIGTERM, which its first one hands on."""
        pid = self.processes.running[node.process].pid
        if number is signal.SIGTERM:
            os.kill(pid, number)
        else:
            os.killpg(pid, number)

    def again(self, node: Node) -> None:
        """Another life, once the one before has ended."""
        self.processes.running.pop(node.process).wait()
        self.start(node)

    def logs(self) -> list[Path]:
        """Of all lives of all nodes."""
        return sorted(self.processes.logs.glob("node-*-life-*.log"))

    @property
    def token_file(self) -> Path:
        """Where the nodes' ACL token stands."""
        return self.folder / "token"

    @property
    def clock_file(self) -> Path:
        """What the nodes' clocks are off by, in seconds."""
        return self.folder / "clock"


@contextmanager
def herd(
    root: Path, folder: Path, layout: str, checkpoint: str, binary: str, pace: Mapping[str, str], *, dev: bool
) -> Iterator[Herd]:
    """Three nodes that are ready.

    `layout`: alone, quorum (three Consul servers), island (the third node in a namespace, with an agent of its own),
    acl, clock (the nodes' wall clocks can be set). `pace`: settings of the nodes. `dev`: see `Agents`.
    """
    folder.mkdir(parents=True)
    with ExitStack() as held:
        place = held.enter_context(island()) if layout == "island" else None
        processes = Processes(root, folder)
        held.callback(processes.kill)
        agents = Agents(processes, binary, dev)
        here = _consul(agents, layout, checkpoint, folder, place)
        base = {
            "GLMTTS_VOICES_DIR": str(root / VOICES),
            **pace,
            "GLMTTS_CONSUL": "on",
            "GLMTTS_LOOPBACK_CLUSTER": "on",
            "CONSUL_HTTP_ADDR": here.local.address,
        }
        if layout == "acl":
            base["CONSUL_HTTP_TOKEN_FILE"] = str(here.token_file)
        if layout == "clock":
            base |= _clock(here.clock_file)
        ports = free_ports(3)
        for number, port in enumerate(ports, 1):
            name = f"node-{number}"
            here.nodes.append(Node(name, LOOPBACK, port, {**base, "GLMTTS_NODE_NAME": name}))
        if place is not None:
            _move(here.nodes[-1], agents, here.local, place)
        for node in here.nodes:
            here.start(node)
        for node in here.nodes:
            here.wait(node)
        yield here


def _consul(agents: Agents, layout: str, checkpoint: str, folder: Path, place: Island | None) -> Herd:
    """The layout's agents, running, and a herd that has no nodes yet."""
    if layout == "quorum":
        client, servers = agents.quorum()
        return Herd(agents.processes, checkpoint, folder, client, servers)
    if layout == "acl":
        agent = agents.alone(acl={"enabled": True, "default_policy": "deny"})
        here = Herd(agents.processes, checkpoint, folder, agent, caller_token=agent.new_token(CALLER_RULES))
        here.token_file.write_text(agent.new_token(NODE_RULES))
        return here
    agent = agents.alone(bind=LOOPBACK if place is None else HERE)
    return Herd(agents.processes, checkpoint, folder, agent, island=place)


def _move(node: Node, agents: Agents, server: Agent, place: Island) -> None:
    """Puts the node, with an agent beside it, to the other end of the link."""
    beside = Agent(agents, "consul-far", bind=THERE, inside=place.inside, retry_join=[server.gossip])
    beside.start()
    node.host, node.inside = THERE, place.inside
    node.environment = {**node.environment, "CONSUL_HTTP_ADDR": beside.address, "GLMTTS_ADVERTISE": THERE}


def _clock(file: Path) -> dict[str, str]:
    """What gives a node a wall clock that is off by what `file` says."""
    file.write_text("0")
    path = os.pathsep.join(filter(None, (str(OFF), os.environ.get("PYTHONPATH"))))
    return {"CHAOS_CLOCK": str(file), "PYTHONPATH": path}
