#!/usr/bin/env python3
"""Runs a whole cluster on this machine: Consul, nodes, Prometheus and, if asked, a gateway, on loopback.

    scripts/cluster.py up --nodes 3 --checkpoint fake:   stays in the foreground; Ctrl-C stops everything
    scripts/cluster.py status                            from another terminal: the nodes, and the alerts that fire
    scripts/cluster.py down                              from another terminal: does what Ctrl-C does

GLMTTS_* variables are passed on to the nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import requests
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.gateway import start_gateway  # noqa: E402  # needs the path above
from scripts.processes import STOP_TIMEOUT, ProcessError, Processes, free_ports  # noqa: E402

PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
NANO = ROOT / "checkpoints" / "nano" / "llm"
HOST = "127.0.0.1"
INNER_PORTS = 4
"""Consul's server, serf and DNS, and the gateway's metrics."""
START_TIMEOUT = {"consul": 60.0, "prometheus": 60.0, "node": 600.0}
"""Seconds within which a process must answer; a node loads a checkpoint first."""
QUICK_SETTINGS = {
    "GLMTTS_CONSUL": "on",
    "GLMTTS_LOOPBACK_CLUSTER": "on",
    "GLMTTS_NODE_NAME": "here",
    "GLMTTS_HEALTH_INTERVAL": "2",
    "GLMTTS_CONSUL_TTL": "6",
    "GLMTTS_PROPAGATION_DELAY": "2",
}
"""Defaults that make changes visible within seconds; the environment overrides them."""


class ClusterError(Exception):
    """Tells the user what went wrong and what to do."""


def main() -> None:
    args = parser().parse_args()
    try:
        args.run(args)
    except (ClusterError, ProcessError) as error:
        sys.exit(f"cluster: {error}")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--state", type=Path, default=ROOT / ".cluster", help="folder of the logs and of state.json")
    commands = flags.add_subparsers(required=True)
    up = commands.add_parser("up", help="start, and stay in the foreground until Ctrl-C")
    up.add_argument("--nodes", type=int, default=2, help="number of nodes (default: %(default)s)")
    up.add_argument("--checkpoint", help="as for app.py (default: checkpoints/nano if present, else fake:)")
    up.add_argument("--regions", default="", help="a,b,…: assigned to the nodes in turn")
    up.add_argument("--port", type=int, default=7860, help="of the first node, counting up; 0: any free one")
    up.add_argument("--consul-port", type=int, default=8500, help="0: any free one")
    up.add_argument("--prometheus-port", type=int, default=9090, help="0: any free one")
    up.add_argument("--no-prometheus", action="store_true", help="Consul and nodes only")
    up.add_argument("--gateway", action="store_true", help="HAProxy in front of the nodes (Debian: haproxy)")
    up.add_argument("--gateway-port", type=int, default=8080, help="0: any free one")
    up.add_argument("--interval", default="5s", help="of Prometheus' scrapes and rule evaluations")
    up.set_defaults(run=run_up)
    commands.add_parser("down", help="stop the running cluster").set_defaults(run=run_down)
    commands.add_parser("status", help="show the running cluster").set_defaults(run=run_status)
    return flags


# up


def run_up(args: argparse.Namespace) -> None:
    if (other := running(args.state)) is not None:
        raise ClusterError(f"already running (process {other['pid']}): scripts/cluster.py down stops it")
    args.state.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    processes = Processes(ROOT, args.state)
    try:
        start(processes, args)
        processes.watch()
    except KeyboardInterrupt:
        print("cluster: stopping; press Ctrl-C again to kill", flush=True)
    finally:
        processes.stop("node-")
        (args.state / "state.json").unlink(missing_ok=True)


def start(processes: Processes, args: argparse.Namespace) -> None:
    """Starts Consul, the nodes and Prometheus, waits for each, and writes state.json for the other commands."""
    consul, prometheus, gateway, *rest = ports(args)
    inner, nodes = rest[:INNER_PORTS], rest[INNER_PORTS:]
    state: dict[str, Any] = {
        "pid": os.getpid(),
        "consul": consul,
        "prometheus": None if args.no_prometheus else prometheus,
        "gateway": gateway if args.gateway else None,
        "nodes": {},
    }
    write_state(args.state, state)
    start_consul(processes, consul, inner)
    checkpoint = args.checkpoint or ("" if NANO.is_dir() else "fake:")
    voices = fake_voices(args.state) if checkpoint.startswith("fake:") else {}
    regions = [name for name in args.regions.split(",") if name]
    for index, port in enumerate(nodes):
        region = {"GLMTTS_REGION": regions[index % len(regions)]} if regions else {}
        start_node(processes, port, consul, checkpoint, {**voices, **region})
    if not args.no_prometheus:
        start_prometheus(processes, prometheus, prometheus_config(consul, args.interval))
    write_state(args.state, {**state, "nodes": {port: processes.running[f"node-{port}"].pid for port in nodes}})
    for port in nodes:
        processes.wait(f"node-{port}", f"http://{HOST}:{port}/ready", START_TIMEOUT["node"])
        print(f"node        http://{HOST}:{port}")
    if args.gateway:
        print(f"gateway     {start_gateway(processes, gateway, *inner[-2:])}")
    print("cluster: ready; Ctrl-C stops it", flush=True)


@contextmanager
def started(state: Path, *flags: str) -> Iterator[dict[str, Any]]:
    """A ready cluster with the flags of `up`, stopped at the end; the content of its state.json. If it does not start,
    prints its logs, since `state` may be a temporary folder, and raises ClusterError or ProcessError."""
    processes = Processes(ROOT, state)
    try:
        start(processes, parser().parse_args(["--state", str(state), "up", *flags]))
        yield json.loads((state / "state.json").read_text())
    except (ClusterError, ProcessError):
        for log in sorted(state.glob("*.log")):
            print(f"{log.name}:\n{log.read_text()}", file=sys.stderr)
        raise
    finally:
        processes.stop("node-")


def start_node(processes: Processes, port: int, consul: int, checkpoint: str, settings: Mapping[str, str]) -> None:
    """Starts the process `node-<port>`; `settings` are its own, which the environment overrides."""
    command = [sys.executable, "app.py", "--host", HOST, "--port", str(port), "--checkpoint", checkpoint]
    own = {**QUICK_SETTINGS, "CONSUL_HTTP_ADDR": f"{HOST}:{consul}", **settings}
    processes.start(f"node-{port}", command, {**own, **os.environ})


def fake_voices(state: Path) -> dict[str, str]:
    """A setting that gives the fake engine, which has no voices, a copy of nano's: nodes write to that folder."""
    folder = state / "voices"
    if (NANO.parent / "voices").is_dir():
        shutil.copytree(NANO.parent / "voices", folder, dirs_exist_ok=True)
    return {"GLMTTS_VOICES_DIR": str(folder)}


def write_state(folder: Path, state: dict[str, Any]) -> None:
    (folder / "state.json").write_text(json.dumps(state))


def ports(args: argparse.Namespace) -> list[int]:
    """Ports of Consul, Prometheus, the gateway, INNER_PORTS more, and the nodes. Raises ClusterError if one is used."""
    gateway = args.gateway_port if args.gateway else 0
    node_ports = [args.port + index if args.port else 0 for index in range(args.nodes)]
    with ExitStack() as stack:
        bound = []
        for port in (args.consul_port, args.prometheus_port, gateway, *(0,) * INNER_PORTS, *node_ports):
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port or free_ports(1)[0]))
            except OSError as error:
                raise ClusterError(f"port {port}: {error.strerror}; choose others (--help)") from error
            bound.append(int(probe.getsockname()[1]))
        return bound


def start_consul(processes: Processes, port: int, inner: list[int]) -> None:
    binary = tool("consul", "scripts/get_consul.sh")
    config = {
        "ports": {"http": port, "server": inner[0], "serf_lan": inner[1], "dns": inner[2], "grpc": -1, "serf_wan": -1},
        "bind_addr": HOST,
        "client_addr": HOST,
        "disable_update_check": True,
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": True},
    }
    file = processes.logs / "consul.json"
    file.write_text(json.dumps(config))
    processes.start(
        "consul", [binary, "agent", "-dev", "-node", "here", "-config-file", str(file), "-log-level", "warn"]
    )
    # Answers only once there is a leader.
    processes.wait("consul", f"http://{HOST}:{port}/v1/catalog/nodes", START_TIMEOUT["consul"])
    print(f"consul      http://{HOST}:{port}/ui")


def start_prometheus(processes: Processes, port: int, config: Mapping[str, Any]) -> None:
    binary = tool("prometheus", "scripts/get_prometheus.sh")
    file = processes.logs / "prometheus.yml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    data = processes.logs / "prometheus"
    shutil.rmtree(data, ignore_errors=True)
    flags = [f"--config.file={file}", f"--storage.tsdb.path={data}", f"--web.listen-address={HOST}:{port}"]
    processes.start("prometheus", [binary, *flags])
    processes.wait("prometheus", f"http://{HOST}:{port}/-/ready", START_TIMEOUT["prometheus"])
    print(f"prometheus  http://{HOST}:{port}/alerts")


def prometheus_config(consul: int, interval: str) -> dict[str, Any]:
    """deploy/prometheus/prometheus.yml with another port of the agent and other intervals, and the same rules."""
    config: dict[str, Any] = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    config["rule_files"] = [str(PROMETHEUS.parent / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        for discovery in job["consul_sd_configs"]:
            discovery |= {"server": f"{HOST}:{consul}", "refresh_interval": "1s"}
        for rule in job["relabel_configs"]:
            if "replacement" in rule:
                rule["replacement"] = rule["replacement"].replace(":8500", f":{consul}")
    return config


def tool(name: str, script: str) -> str:
    """Path of the binary in .tools, fetched by `script` if missing. Raises ClusterError."""
    try:
        subprocess.run([ROOT / script], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClusterError(f"no {name}: {script} printed the reason") from error
    return str(ROOT / ".tools" / name)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# down, status


def running(state: Path) -> dict[str, Any] | None:
    """The content of state.json while the process of `up` is alive."""
    try:
        content: dict[str, Any] = json.loads((state / "state.json").read_text())
        command = Path(f"/proc/{content['pid']}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return content if b"cluster.py" in command else None


def run_down(args: argparse.Namespace) -> None:
    state = running(args.state)
    if state is None:
        print("cluster: not running")
        return
    os.kill(state["pid"], signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while running(args.state) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(f"process {state['pid']} does not end")
        time.sleep(0.1)
    print("cluster: stopped")


def run_status(args: argparse.Namespace) -> None:
    state = running(args.state)
    if state is None:
        raise ClusterError("not running: scripts/cluster.py up starts one")
    try:
        show_nodes(state["consul"], state["nodes"])
        if state["prometheus"] is not None:
            show_alerts(state["prometheus"])
    except requests.RequestException as error:
        raise ClusterError(f"still starting, or a process is gone: {error}") from error


def show_nodes(consul: int, pids: dict[str, int]) -> None:
    entries = requests.get(f"http://{HOST}:{consul}/v1/health/service/glm-tts", timeout=5).json()
    for item in sorted(entries, key=lambda item: item["Service"]["Port"]):
        service = item["Service"]
        passing = all(check["Status"] == "passing" for check in item["Checks"])
        meta = service["Meta"]
        print(
            f"{service['ID']:24} {'passing' if passing else 'critical':9} {service['Address']}:{service['Port']}  "
            f"{meta['model']} {meta['model_version']}  {meta.get('region', '')}  "
            f"process {pids.get(str(service['Port']))}"
        )
    print(f"{len(entries)} nodes registered")


def show_alerts(prometheus: int) -> None:
    alerts = requests.get(f"http://{HOST}:{prometheus}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
    for alert in alerts:
        print(f"{alert['state']:8} {alert['labels']['alertname']}: {alert['annotations']['summary']}")
    print(f"{sum(alert['state'] == 'firing' for alert in alerts)} alerts firing")


if __name__ == "__main__":
    main()
