#!/usr/bin/env python3
"""A whole cluster on this machine: Consul, nodes and Prometheus on loopback, in one command.

scripts/cluster.py up --nodes 3 --checkpoint fake:   stays in the foreground; Ctrl-C ends everything
scripts/cluster.py status                            from another terminal: who is there, which alerts fire
scripts/cluster.py down                              from another terminal: what Ctrl-C does

GLMTTS_* variables go on to the nodes. Knows nothing about the program but its flags, settings and /ready.
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
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import requests
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, it does not see its own package

from scripts.processes import LEAVING, ProcessError, Processes  # noqa: E402  # the line above comes first

PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
NANO = ROOT / "checkpoints" / "nano" / "llm"
HOST = "127.0.0.1"
PATIENCE = {"consul": 60.0, "prometheus": 60.0, "node": 600.0}
"""Seconds until a part must answer; a node loads a checkpoint first."""
QUICK = {
    "GLMTTS_CONSUL": "on",
    "GLMTTS_LOOPBACK_CLUSTER": "on",
    "GLMTTS_NODE_NAME": "here",
    "GLMTTS_HEALTH_INTERVAL": "2",
    "GLMTTS_CONSUL_TTL": "6",
    "GLMTTS_PROPAGATION_DELAY": "2",
}
"""Settings for a cluster that one watches while it works; the environment wins."""


class ClusterError(Exception):
    """What went wrong and what to do, for the user."""


def main() -> None:
    asked = parser().parse_args()
    try:
        asked.run(asked)
    except (ClusterError, ProcessError) as error:
        sys.exit(f"cluster: {error}")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--state", type=Path, default=ROOT / ".cluster", help="folder of logs and of what runs")
    commands = flags.add_subparsers(required=True)
    up = commands.add_parser("up", help="start, and stay until Ctrl-C")
    up.add_argument("--nodes", type=int, default=2, help="how many")
    up.add_argument("--checkpoint", help="as of app.py; default: checkpoints/nano if it is there, else fake:")
    up.add_argument("--regions", default="", help="a,b,…: given to the nodes in turn")
    up.add_argument("--port", type=int, default=7860, help="of the first node, the others count on; 0: any")
    up.add_argument("--consul-port", type=int, default=8500, help="0: any")
    up.add_argument("--prometheus-port", type=int, default=9090, help="0: any")
    up.add_argument("--no-prometheus", action="store_true", help="Consul and nodes only")
    up.add_argument("--interval", default="5s", help="how often Prometheus scrapes and thinks")
    up.set_defaults(run=run_up)
    commands.add_parser("down", help="end the cluster that runs").set_defaults(run=run_down)
    commands.add_parser("status", help="show the cluster that runs").set_defaults(run=run_status)
    return flags


# up


def run_up(asked: argparse.Namespace) -> None:
    if (other := running(asked.state)) is not None:
        raise ClusterError(f"one runs already (process {other['pid']}): scripts/cluster.py down ends it")
    asked.state.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    processes = Processes(ROOT, asked.state)
    try:
        start(processes, asked)
        processes.watch()
    except KeyboardInterrupt:
        print("cluster: ending; once more ends at once", flush=True)
    finally:
        processes.stop("node-")
        (asked.state / "state.json").unlink(missing_ok=True)


def start(processes: Processes, asked: argparse.Namespace) -> None:
    """Consul, then the nodes at once, then Prometheus; each must answer. Writes down what `status` and `down` need."""
    consul, prometheus, *rest = ports(asked)
    inner, nodes = rest[:2], rest[2:]
    state = {
        "pid": os.getpid(),
        "consul": consul,
        "prometheus": None if asked.no_prometheus else prometheus,
        "nodes": {},
    }
    note(asked.state, state)
    start_consul(processes, consul, inner)
    checkpoint = asked.checkpoint or ("" if NANO.is_dir() else "fake:")
    voices = fake_voices(asked.state) if checkpoint.startswith("fake:") else {}
    regions = [name for name in asked.regions.split(",") if name]
    for index, port in enumerate(nodes):
        region = {"GLMTTS_REGION": regions[index % len(regions)]} if regions else {}
        command = [sys.executable, "app.py", "--host", HOST, "--port", str(port), "--checkpoint", checkpoint]
        own = {**QUICK, "CONSUL_HTTP_ADDR": f"{HOST}:{consul}", **voices, **region}
        processes.start(f"node-{port}", command, {**own, **os.environ})
    if not asked.no_prometheus:
        start_prometheus(processes, consul, prometheus, asked.interval)
    note(asked.state, {**state, "nodes": {port: processes.running[f"node-{port}"].pid for port in nodes}})
    for port in nodes:
        processes.wait(f"node-{port}", f"http://{HOST}:{port}/ready", PATIENCE["node"])
        print(f"node        http://{HOST}:{port}")
    print("cluster: all is up; Ctrl-C ends it", flush=True)


def fake_voices(state: Path) -> dict[str, str]:
    """A setting that gives the fake engine, which has no voices of its own, a copy of nano's: nodes write there."""
    folder = state / "voices"
    if (NANO.parent / "voices").is_dir():
        shutil.copytree(NANO.parent / "voices", folder, dirs_exist_ok=True)
    return {"GLMTTS_VOICES_DIR": str(folder)}


def note(folder: Path, state: dict[str, Any]) -> None:
    (folder / "state.json").write_text(json.dumps(state))


def ports(asked: argparse.Namespace) -> list[int]:
    """Consul's, Prometheus', two inner ones of Consul's, the nodes' ports. ClusterError for one that somebody holds."""
    wanted = [asked.port + index if asked.port else 0 for index in range(asked.nodes)]
    with ExitStack() as held:
        taken = []
        for port in (asked.consul_port, asked.prometheus_port, 0, 0, *wanted):
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise ClusterError(f"port {port}: {error.strerror}; choose others (--help)") from error
            taken.append(int(probe.getsockname()[1]))
        return taken


def start_consul(processes: Processes, port: int, inner: list[int]) -> None:
    binary = tool("consul", "scripts/get_consul.sh")
    config = {
        "ports": {"http": port, "server": inner[0], "serf_lan": inner[1], "grpc": -1, "dns": -1, "serf_wan": -1},
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
    # Answered only once there is a leader.
    processes.wait("consul", f"http://{HOST}:{port}/v1/catalog/nodes", PATIENCE["consul"])
    print(f"consul      http://{HOST}:{port}/ui")


def start_prometheus(processes: Processes, consul: int, port: int, interval: str) -> None:
    binary = tool("prometheus", "scripts/get_prometheus.sh")
    file = processes.logs / "prometheus.yml"
    file.write_text(yaml.safe_dump(prometheus_config(consul, interval), sort_keys=False))
    data = processes.logs / "prometheus"
    shutil.rmtree(data, ignore_errors=True)
    flags = [f"--config.file={file}", f"--storage.tsdb.path={data}", f"--web.listen-address={HOST}:{port}"]
    processes.start("prometheus", [binary, *flags])
    processes.wait("prometheus", f"http://{HOST}:{port}/-/ready", PATIENCE["prometheus"])
    print(f"prometheus  http://{HOST}:{port}/alerts")


def prometheus_config(consul: int, interval: str) -> dict[str, Any]:
    """deploy/prometheus/prometheus.yml for an agent on another port, with other intervals: the rules are the same."""
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
    """The binary at .tools, fetched if need be."""
    try:
        subprocess.run([ROOT / script], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClusterError(f"no {name}: {script} says why") from error
    return str(ROOT / ".tools" / name)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


# down, status


def running(state: Path) -> dict[str, Any] | None:
    """What `up` wrote down, while its process lives."""
    try:
        found: dict[str, Any] = json.loads((state / "state.json").read_text())
        command = Path(f"/proc/{found['pid']}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return found if b"cluster.py" in command else None


def run_down(asked: argparse.Namespace) -> None:
    found = running(asked.state)
    if found is None:
        print("cluster: none runs")
        return
    os.kill(found["pid"], signal.SIGTERM)
    deadline = time.monotonic() + LEAVING
    while running(asked.state) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(f"process {found['pid']} does not end")
        time.sleep(0.1)
    print("cluster: ended")


def run_status(asked: argparse.Namespace) -> None:
    found = running(asked.state)
    if found is None:
        raise ClusterError("none runs: scripts/cluster.py up starts one")
    try:
        show_nodes(found["consul"], found["nodes"])
        if found["prometheus"] is not None:
            show_alerts(found["prometheus"])
    except requests.RequestException as error:
        raise ClusterError(f"it is starting, or a part of it is gone: {error}") from error


def show_nodes(consul: int, pids: dict[str, int]) -> None:
    listed = requests.get(f"http://{HOST}:{consul}/v1/health/service/glm-tts", timeout=5).json()
    for item in sorted(listed, key=lambda item: item["Service"]["Port"]):
        service = item["Service"]
        passing = all(check["Status"] == "passing" for check in item["Checks"])
        meta = service["Meta"]
        print(
            f"{service['ID']:24} {'passing' if passing else 'critical':9} {service['Address']}:{service['Port']}  "
            f"{meta['model']} {meta['model_version']}  {meta.get('region', '')}  "
            f"process {pids.get(str(service['Port']))}"
        )
    print(f"{len(listed)} nodes registered")


def show_alerts(prometheus: int) -> None:
    alerts = requests.get(f"http://{HOST}:{prometheus}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
    for alert in alerts:
        print(f"{alert['state']:8} {alert['labels']['alertname']}: {alert['annotations']['summary']}")
    print(f"{sum(alert['state'] == 'firing' for alert in alerts)} alerts firing")


if __name__ == "__main__":
    main()
