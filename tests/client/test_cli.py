"""The command `glmtts`: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from click.testing import CliRunner
from glmtts_client import ClientError
from glmtts_client.cli.main import cli, main

from tests.client.conftest import CLUSTER_SERVICE
from tests.helpers.consul import ROOT, Agent, free_ports
from tests.helpers.server import Server, wait_until


def run(agent: Agent, *arguments: str, text: str | None = None) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(cli, ["--consul", agent.address, "--service", CLUSTER_SERVICE, *arguments], input=text)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_nodes_are_shown(agent: Agent, cluster_nodes: list[Server]) -> None:
    """Each with its address, what it can do, what it is doing, and how it stands; a failing one too."""
    ghost = {"ID": "ghost", "Name": CLUSTER_SERVICE, "Port": 1, "Check": {"Name": "ghost check", "TTL": "10m"}}
    agent.call("PUT", "/v1/agent/service/register", ghost)
    agent.call("PUT", "/v1/agent/service/register", {"ID": "liar", "Name": CLUSTER_SERVICE, "Port": free_ports(1)[0]})
    try:
        table = run(agent, "nodes")
        shown = {line["id"]: line for line in map(json.loads, run(agent, "nodes", "--json").splitlines())}
    finally:
        agent.deregister("ghost")
        agent.deregister("liar")
    for server in cluster_nodes:
        [row] = [line for line in table.splitlines() if server.url in line]
        assert row.split() == [server.url, "fake", "fake-1", "en,", "zh", "24k,", "32k", "emotion,", "streaming",
                               "cpu", "0", "ready"]  # fmt: skip
        node = shown[f"{CLUSTER_SERVICE}-here-{server.port}"]
        assert (node["languages"], node["sample_rates"], node["in_flight"]) == (["en", "zh"], [24000, 32000], 0)
    assert shown["ghost"]["state"] == "critical: ghost check"
    assert shown["ghost"]["in_flight"] is None
    assert shown["liar"]["state"] == "unreachable"


def test_voices_are_shown(agent: Agent, cluster_nodes: list[Server]) -> None:
    """Each once, with the nodes that have it."""
    [voice] = map(json.loads, run(agent, "voices", "--json").splitlines())
    assert (voice["name"], voice["styles"]) == ("default", ["neutral", "happy"])
    assert sorted(voice["nodes"]) == sorted(server.url for server in cluster_nodes)
    assert "3 of 3" in run(agent, "voices")


def test_say_writes_a_file(agent: Agent, cluster_nodes: list[Server], tmp_path: Path) -> None:
    """In the format of its ending; text may come from standard input; nothing but the file is left."""
    run(agent, "say", "Hello there.", "-o", str(tmp_path / "a.wav"), "--seed", "1", "--sample-rate", "16000")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (16000, 19200)
    run(agent, "say", "-", "-o", str(tmp_path / "b.flac"), text="Hello there.")
    assert (tmp_path / "b.flac").read_bytes()[:4] == b"fLaC"
    assert {file.name for file in tmp_path.iterdir()} == {"a.wav", "b.flac"}


def test_a_node_can_be_named(cluster_nodes: list[Server], tmp_path: Path) -> None:
    """`--url`: no Consul, and the request does not claim to come from it."""
    done = CliRunner().invoke(
        cli, ["--url", cluster_nodes[0].url, "say", "Hi.", "-o", str(tmp_path / "a.wav"), "--seed", "99"]
    )
    assert done.exit_code == 0, done.output
    wait_until(
        lambda: any(line.get("seed") == 99 for line in cluster_nodes[0].log("request")), "the request's log line"
    )
    [line] = [line for line in cluster_nodes[0].log("request") if line.get("seed") == 99]
    assert line["via_consul"] is False


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["say", "Hi."], "want -o FILE, --play, or both"),
        (["say", "Hi.", "-o", "a.wav", "--speed", "9"], "--speed"),
        (["say", "Hi.", "-o", "a.mp3", "--play"], ".wav or .pcm"),
        (["--url", "localhost:1", "nodes"], "want http"),
        (["--consul", "ftp://x", "nodes"], "want host"),
        (["batch", "nowhere.jsonl", "out"], "nowhere.jsonl"),
        (["dance"], "dance"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], complaint: str) -> None:
    """With what is wrong, and nothing done."""
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert complaint in done.stderr


def test_a_failure_is_one_line_and_exit_code_1(agent: Agent, cluster_nodes: list[Server]) -> None:
    """The server's words, and no traceback."""
    for arguments, complaint in (
        (
            ["--url", cluster_nodes[0].url, "say", "Hi.", "-o", "/dev/null/x.wav", "--voice", "nobody"],
            "404 unknown_voice",
        ),
        (["--consul", f"127.0.0.1:{free_ports(1)[0]}", "nodes"], "gave no answer"),
    ):
        command = [sys.executable, "-m", "glmtts_client", *arguments]
        done = subprocess.run(command, cwd=ROOT / "client", capture_output=True, text=True, check=False)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith("glmtts: ")
        assert complaint in line


def test_without_a_loudspeaker_play_says_so(
    agent: Agent, cluster_nodes: list[Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is missing and how to get it; no half file stays."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    arguments = ["--url", cluster_nodes[0].url, "say", "Hi.", "--play", "-o", str(tmp_path / "a.wav")]
    with pytest.raises(ClientError, match="pip install"):
        cli(arguments, standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_light() -> None:
    """Neither torch nor flask nor the server's packages are loaded, whatever is used of it."""
    check = (
        "import sys, glmtts_client.cli.main, glmtts_client.batch;"
        "sys.exit(str(sorted({'torch', 'flask', 'glmtts', 'server', 'soundfile', 'consul'} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT / "client", capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "[]"
    assert main.__module__ == "glmtts_client.cli.main"
