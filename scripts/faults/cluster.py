"""Three nodes and their Consul as processes of this machine, in one of six layouts."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.faults.agents import LOOPBACK, Agent, Agents
from scripts.faults.isolated_host import FAR_ADDRESS, NEAR_ADDRESS, IsolatedHost, isolated_host
from scripts.gateway import start_gateway
from scripts.processes import Processes, free_ports

SERVICE = "glm-tts"
VOICES = "checkpoints/nano/voices"
"""For the fake engine, which has no voices of its own."""
READY_TIMEOUT = 600.0
"""Seconds within which a node must be ready."""
NODE_RULES = """service "glm-tts" { policy = "write" }
node_prefix "" { policy = "read" }
key_prefix "glm-tts/" { policy = "read" }"""
"""As in docs/operations.md."""
CLIENT_RULES = 'service_prefix "" { policy = "read" }\nnode_prefix "" { policy = "read" }'
CLOCK_SHIFT = Path(__file__).parent / "clock_shift"


@dataclass
class Node:
    """One server. Each start has its own process and log; `starts` counts them.

    `program`: the folder of its app.py, if that is not the cluster's.
    """

    name: str
    host: str
    port: int
    environment: Mapping[str, str]
    command_prefix: list[str] = field(default_factory=list)
    starts: int = 0
    program: Path | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def id(self) -> str:
        """Its service id in Consul."""
        return f"{SERVICE}-{self.name}-{self.port}"

    @property
    def process(self) -> str:
        """The name of its current process."""
        return f"{self.name}-start-{self.starts}"


@dataclass
class TestCluster:
    """`agent` is the Consul agent that clients use, with `client_token` if there are ACLs; `gateway` HAProxy's URL.

    `hanging`: of a request that never ends, while an engine hangs.
    """

    processes: Processes
    checkpoint: str
    folder: Path
    agent: Agent
    servers: list[Agent] = field(default_factory=list)
    isolated_host: IsolatedHost | None = None
    client_token: str = ""
    gateway: str = ""
    nodes: list[Node] = field(default_factory=list)
    hanging: http.client.HTTPConnection | None = None

    def start(self, node: Node) -> None:
        """Starts the node's process; `wait` blocks until it is ready."""
        node.starts += 1
        host = "0.0.0.0" if node.command_prefix else LOOPBACK
        command = [sys.executable, "app.py", "--host", host, "--port", str(node.port)]
        checkpoint = ["--checkpoint", self.checkpoint] if self.checkpoint else []
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CONSUL_")}
        # One thread each: there may be more nodes than cores.
        environment = {"OMP_NUM_THREADS": "1", **clean, **node.environment}
        command = [*node.command_prefix, *command, *checkpoint]
        self.processes.start(node.process, command, environment, node.program)

    def wait(self, node: Node) -> None:
        """Blocks until the node is ready. Raises ProcessError."""
        self.processes.wait(node.process, f"{node.url}/ready", READY_TIMEOUT)

    def signal(self, node: Node, number: signal.Signals) -> None:
        """Signals the node's process group; SIGTERM goes to the first process alone, which forwards it."""
        pid = self.processes.running[node.process].pid
        if number is signal.SIGTERM:
            os.kill(pid, number)
        else:
            os.killpg(pid, number)

    def restart(self, node: Node) -> None:
        """Starts the node again once its current process has ended."""
        self.processes.running.pop(node.process).wait()
        self.start(node)

    def replace(self, node: Node) -> None:
        """Starts a node of another name in place of one whose process has been killed."""
        self.processes.running.pop(node.process).wait()
        self.take_over(node, f"{node.name}-again", node.port)

    def take_over(self, node: Node, name: str, port: int) -> Node:
        """Starts a node that counts as one of the cluster's in place of `node`."""
        new = replace(node, name=name, port=port, environment={**node.environment, "GLMTTS_NODE_NAME": name}, starts=0)
        self.nodes[self.nodes.index(node)] = new
        self.start(new)
        return new

    def logs(self) -> list[Path]:
        """One for each start of each node."""
        return sorted(self.processes.logs.glob("node-*-start-*.log"))

    @property
    def token_file(self) -> Path:
        """The file of the nodes' ACL token."""
        return self.folder / "token"

    @property
    def clock_file(self) -> Path:
        """The file of the nodes' clock shift, in seconds."""
        return self.folder / "clock"


@contextmanager
def running_cluster(
    root: Path, folder: Path, layout: str, checkpoint: str, consul: str, settings: Mapping[str, str], *, dev: bool
) -> Iterator[TestCluster]:
    """Three ready nodes; every process is killed on exit.

    `layout`: single (one Consul server), quorum (three), isolated (the third node in a network namespace, with its own
    agent), acl, gateway (HAProxy in front of the nodes), clock (the nodes' wall clocks can be shifted). `consul`: its
    binary. `settings`: of the nodes. `dev`: see `Agents`.
    """
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        far_host = stack.enter_context(isolated_host()) if layout == "isolated" else None
        processes = Processes(root, folder)
        stack.callback(processes.kill)
        agents = Agents(processes, consul, dev)
        cluster = _start_consul(agents, layout, checkpoint, folder, far_host)
        environment = {
            "GLMTTS_VOICES_DIR": str(root / VOICES),
            **settings,
            "GLMTTS_CONSUL": "on",
            "GLMTTS_LOOPBACK_CLUSTER": "on",
            "CONSUL_HTTP_ADDR": cluster.agent.address,
        }
        if layout == "acl":
            environment["CONSUL_HTTP_TOKEN_FILE"] = str(cluster.token_file)
        if layout == "clock":
            environment |= _clock_environment(cluster.clock_file)
        for number, port in enumerate(free_ports(3), 1):
            name = f"node-{number}"
            cluster.nodes.append(Node(name, LOOPBACK, port, {**environment, "GLMTTS_NODE_NAME": name}))
        if far_host is not None:
            _move_to(far_host, cluster.nodes[-1], agents, cluster.agent)
        for node in cluster.nodes:
            cluster.start(node)
        for node in cluster.nodes:
            cluster.wait(node)
        if layout == "gateway":
            port, metrics = free_ports(2)
            cluster.gateway = start_gateway(processes, port, cluster.agent.dns_port, metrics)
        yield cluster


def _start_consul(
    agents: Agents, layout: str, checkpoint: str, folder: Path, far_host: IsolatedHost | None
) -> TestCluster:
    """A cluster with the layout's running agents and no nodes yet."""
    if layout == "quorum":
        client, servers = agents.quorum()
        return TestCluster(agents.processes, checkpoint, folder, client, servers)
    if layout == "acl":
        agent = agents.single(acl={"enabled": True, "default_policy": "deny"})
        token = agent.new_token(CLIENT_RULES)
        cluster = TestCluster(agents.processes, checkpoint, folder, agent, client_token=token)
        cluster.token_file.write_text(agent.new_token(NODE_RULES))
        return cluster
    agent = agents.single(bind=LOOPBACK if far_host is None else NEAR_ADDRESS)
    return TestCluster(agents.processes, checkpoint, folder, agent, isolated_host=far_host)


def _move_to(host: IsolatedHost, node: Node, agents: Agents, server: Agent) -> None:
    """Places the node on `host`, with a client agent beside it."""
    prefix = host.command_prefix
    agent = Agent(
        agents, "consul-far", bind=FAR_ADDRESS, command_prefix=prefix, retry_join=[server.gossip_address]
    )  # fmt: skip
    agent.start()
    node.host, node.command_prefix = FAR_ADDRESS, prefix
    node.environment = {**node.environment, "CONSUL_HTTP_ADDR": agent.address, "GLMTTS_ADVERTISE": FAR_ADDRESS}


def _clock_environment(file: Path) -> dict[str, str]:
    """Variables that shift a node's wall clock by the seconds in `file`."""
    file.write_text("0")
    path = os.pathsep.join(filter(None, (str(CLOCK_SHIFT), os.environ.get("PYTHONPATH"))))
    return {"CHAOS_CLOCK": str(file), "PYTHONPATH": path}
