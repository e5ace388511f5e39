"""scripts/cluster.py: starting a cluster on one machine, looking at it and stopping it."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.cluster import parser, prometheus_config
from tests.helpers.local_cluster import LocalCluster, local_cluster, script
from tests.helpers.server import ROOT, wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    state = tmp_path_factory.mktemp("cluster")
    with local_cluster(state, "--regions", "north,south", "--no-prometheus") as cluster:
        yield cluster


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.load
def test_up_starts_nodes_that_serve_and_status_shows_them(cluster: LocalCluster) -> None:
    """Each in its region, all passing in Consul, with their process ids."""
    wait_until(lambda: cluster.run("status").stdout.count("passing") == 2, "both nodes to pass")
    lines = cluster.run("status").stdout.splitlines()
    assert [("north" in line, "south" in line) for line in lines[:2]] in ([(1, 0), (0, 1)], [(0, 1), (1, 0)])
    assert lines[2] == "2 nodes registered"
    for port, pid in cluster.nodes.items():
        assert any(f"127.0.0.1:{port}" in line and f"process {pid}" in line for line in lines)
        assert requests.get(f"http://127.0.0.1:{port}/info", timeout=10).json()["model"] == "fake"
        response = requests.post(f"http://127.0.0.1:{port}/tts", json={"text": "Hello."}, timeout=60)
        assert (response.status_code, response.content[:4]) == (200, b"RIFF")


@pytest.mark.load
def test_a_second_cluster_is_rejected(cluster: LocalCluster, tmp_path: Path) -> None:
    """In the same folder because it is running, in another one because a port is in use; both say what to do."""
    same = cluster.run("up")
    assert same.returncode != 0
    assert "down stops it" in same.stderr
    port = str(next(iter(cluster.nodes)))
    other = script(tmp_path, "up", "--port", port, "--consul-port", "0", "--prometheus-port", "0")
    assert other.returncode != 0
    assert f"port {port}" in other.stderr
    assert "Traceback" not in same.stderr + other.stderr


@pytest.mark.load
def test_a_killed_node_is_reported_and_the_others_stay(cluster: LocalCluster) -> None:
    """Consul stops returning it; the command stays in the foreground."""
    killed, left = cluster.nodes.items()
    os.killpg(killed[1], signal.SIGKILL)
    wait_until(lambda: f"node-{killed[0]} ended with -9" in (cluster.state / "up.out").read_text(), "the message")
    wait_until(lambda: cluster.run("status").stdout.count("passing") == 1, "discovery to notice")
    assert requests.get(f"http://127.0.0.1:{left[0]}/ready", timeout=10).status_code == 200
    assert cluster.process.poll() is None


@pytest.mark.load
def test_down_stops_everything(cluster: LocalCluster) -> None:
    """Nodes drain, and no process or state is left; a second `down` has nothing to do."""
    pids = [*cluster.nodes.values(), cluster.read_state()["pid"]]
    assert cluster.run("down").stdout == "cluster: stopped\n"
    wait_until(lambda: not any(map(alive, pids)), "the processes to end")
    assert cluster.process.wait(10) == 0
    drained = [log.read_text().count('"Drained"') for log in cluster.state.glob("node-*.log")]
    assert sorted(drained) == [0, 1], "the killed one has not"
    assert cluster.run("down").stdout == "cluster: not running\n"
    assert "not running" in cluster.run("status").stderr


@pytest.mark.load
def test_a_killed_command_leaves_no_process_behind(tmp_path: Path) -> None:
    """After SIGKILL of the foreground command, Consul and the nodes end by themselves."""
    with local_cluster(tmp_path, "--nodes", "1", "--no-prometheus") as cluster:
        [(port, pid)] = cluster.nodes.items()
        consul = cluster.read_state()["consul"]
        os.kill(cluster.process.pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), "the node to end")
        for other in (port, consul):
            wait_until(lambda other=other: not answers(other), "the port to be free")  # type: ignore[misc]


def answers(port: int) -> bool:
    try:
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    except requests.RequestException:
        return False
    return True


@pytest.mark.load
def test_a_node_that_does_not_start_is_reported(tmp_path: Path) -> None:
    """With its log; everything else is stopped again."""
    failed = script(
        tmp_path, "up", "--nodes", "1", "--checkpoint", "fake:fail", "--no-prometheus",
        "--port", "0", "--consul-port", "0", "--prometheus-port", "0",
    )  # fmt: skip
    assert failed.returncode != 0
    assert "ended with" in failed.stderr
    assert ".log" in failed.stderr
    assert "Model failed to load" in next(tmp_path.glob("node-*.log")).read_text()
    assert not (tmp_path / "state.json").exists()


def test_the_commands_of_the_manuals_parse() -> None:
    """Those of README.md and docs/operations.md."""
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/operations.md"))
    commands = re.findall(r"scripts/cluster\.py ([^`\n]+)", text)
    assert len(commands) >= 3
    for command in commands:
        parser().parse_args(shlex.split(command))


def test_prometheus_is_configured_as_in_production() -> None:
    """With the same jobs, labels and rule files; the intervals and the agent differ."""
    config = prometheus_config(1234, "2s")
    assert config["global"]["scrape_interval"] == "2s"
    assert [Path(name).name for name in config["rule_files"]] == ["rules.yml"]
    assert {discovery["server"] for job in config["scrape_configs"] for discovery in job["consul_sd_configs"]} == {
        "127.0.0.1:1234"
    }
    agents = config["scrape_configs"][1]["relabel_configs"]
    assert agents[0]["replacement"] == "${1}:1234"
