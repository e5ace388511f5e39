"""The command `glmtts`: its output and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from click.testing import CliRunner
from glmtts_client import ClientError, Cluster, SpeechOptions
from glmtts_client.cli import output
from glmtts_client.cli.main import cli, main

from scripts.processes import free_ports
from server import RELEASE
from tests.client.conftest import CLUSTER_SERVICE
from tests.helpers.consul import ROOT, Agent, eventually, running_agent
from tests.helpers.server import Server, wait_until

pytestmark = pytest.mark.processes


def run(agent: Agent, *arguments: str, text: str | None = None) -> str:
    """Standard output of a command; it must succeed."""
    result = CliRunner().invoke(cli, ["--consul", agent.address, "--service", CLUSTER_SERVICE, *arguments], input=text)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_nodes(agent: Agent, cluster_nodes: list[Server]) -> None:
    """Lists address, capabilities, requests in flight and state of every node, including failing ones."""
    ghost = {"ID": "ghost", "Name": CLUSTER_SERVICE, "Port": 1, "Check": {"Name": "ghost check", "TTL": "10m"}}
    agent.call("PUT", "/v1/agent/service/register", ghost)
    agent.call("PUT", "/v1/agent/service/register", {"ID": "dead", "Name": CLUSTER_SERVICE, "Port": free_ports(1)[0]})
    try:
        table = run(agent, "nodes")
        listed_nodes = {line["id"]: line for line in map(json.loads, run(agent, "nodes", "--json").splitlines())}
    finally:
        agent.deregister("ghost")
        agent.deregister("dead")
    for server in cluster_nodes:
        [row] = [line for line in table.splitlines() if server.url in line]
        assert row.split() == [server.url, "fake", "fake-1", "en,", "zh", "24k,", "32k", "emotion,", "streaming",
                               "cpu", "0", "ready"]  # fmt: skip
        node = listed_nodes[f"{CLUSTER_SERVICE}-here-{server.port}"]
        assert (node["languages"], node["sample_rates"], node["in_flight"]) == (["en", "zh"], [24000, 32000], 0)
        assert node["release"] == RELEASE
    assert listed_nodes["ghost"]["state"] == "critical: ghost check"
    assert listed_nodes["ghost"]["in_flight"] is None
    assert listed_nodes["dead"]["state"] == "unreachable"


def test_voices(agent: Agent, cluster_nodes: list[Server]) -> None:
    """Lists each voice once, with the nodes that have it."""
    [voice] = map(json.loads, run(agent, "voices", "--json").splitlines())
    assert (voice["name"], voice["styles"]) == ("default", ["neutral", "happy"])
    assert sorted(voice["nodes"]) == sorted(server.url for server in cluster_nodes)
    assert "3 of 3" in run(agent, "voices")


def test_segments(agent: Agent, cluster_nodes: list[Server]) -> None:
    """Prints the segments of a text, on request with what will be said of each character and word."""
    table = run(agent, "segments", "Hi there. 你。").splitlines()
    assert [line.split() for line in table] == [["segment", "text"], ["0", "Hi", "there."], ["1", "你。"]]
    sounds = run(agent, "segments", "-", "--pronunciation", "--language", "zh", text="你。").splitlines()
    assert [line.split() for line in sounds] == [["segment", "text", "spoken", "as"], ["0", "你", "你"]]
    line = json.loads(run(agent, "segments", "你。", "--pronunciation", "--json", "--language", "auto"))
    assert line == {"index": 0, "text": "你。", "pronunciation": [["你", "你"]]}
    assert json.loads(run(agent, "segments", "你。", "--json")) == {"index": 0, "text": "你。"}


def test_say_writes_subtitles(agent: Agent, cluster_nodes: list[Server], tmp_path: Path) -> None:
    """A cue for each sentence, as long as it is spoken; another suffix is rejected before anything is spoken."""
    audio, subtitles = str(tmp_path / "a.wav"), tmp_path / "a.vtt"
    run(agent, "say", "Hello there. Bye.", "-o", audio, "--subtitles", str(subtitles))
    assert subtitles.read_text(encoding="utf-8") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.200\nHello there.\n\n00:00:01.200 --> 00:00:01.600\nBye.\n"
    )
    followed = tmp_path / "b.srt"
    with Cluster(agent.address, service=CLUSTER_SERVICE) as cluster:
        output.follow(
            cluster, ["Hello the", "re. Bye."], SpeechOptions(), output=Path(audio), play=False, subtitles_file=followed
        )
    assert [line for line in followed.read_text(encoding="utf-8").splitlines() if "." in line] == [
        "Hello there.",
        "Bye.",
    ]
    rejected = CliRunner().invoke(cli, ["say", "Hi.", "-o", audio, "--subtitles", str(tmp_path / "a.txt")])
    assert (rejected.exit_code, "expected a .vtt or .srt file" in rejected.output) == (2, True)


def test_say_writes_a_file(agent: Agent, cluster_nodes: list[Server], tmp_path: Path) -> None:
    """The suffix sets the format; text may come from standard input; no temporary file stays."""
    run(agent, "say", "Hello there.", "-o", str(tmp_path / "a.wav"), "--seed", "1", "--sample-rate", "16000")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (16000, 19200)
    run(agent, "say", "-", "-o", str(tmp_path / "b.flac"), text="Hello there.")
    assert (tmp_path / "b.flac").read_bytes()[:4] == b"fLaC"
    run(agent, "say", "Hello there.", "-o", str(tmp_path / "c.mp3"))
    run(agent, "say", "Hello there.", "-o", str(tmp_path / "d.ogg"))
    assert (tmp_path / "c.mp3").read_bytes()[:3] == b"ID3"
    assert b"OpusHead" in (tmp_path / "d.ogg").read_bytes()[:64]
    assert {file.name for file in tmp_path.iterdir()} == {"a.wav", "b.flac", "c.mp3", "d.ogg"}


@pytest.mark.parametrize("before", [True, False])
def test_url_works_before_and_after_the_subcommand(
    cluster_nodes: list[Server], tmp_path: Path, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request does not claim to come from Consul; the option overrides the environment in both places."""
    monkeypatch.setenv("GLMTTS_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    server, seed = cluster_nodes[0], 98 + before
    url, say = ["--url", server.url], ["say", "Hi.", "-o", str(tmp_path / "a.wav"), "--seed", str(seed)]
    result = CliRunner().invoke(cli, [*url, *say] if before else [*say, *url])
    assert result.exit_code == 0, result.output
    wait_until(lambda: any(line.get("seed") == seed for line in server.log("request")), "the request's log line")
    [line] = [line for line in server.log("request") if line.get("seed") == seed]
    assert line["via_consul"] is False


@pytest.mark.parametrize("before", [True, False])
def test_consul_and_token_work_before_and_after_the_subcommand(tmp_path: Path, before: bool) -> None:
    """Where ACLs are on, the nodes are listed with the token only."""
    service = {"ID": "secret", "Name": "glm-tts", "Port": 1}
    rules = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
    with running_agent(tmp_path, acl=True) as agent:
        agent.call("PUT", "/v1/agent/service/register", service)
        token = agent.new_token({"Name": "reads", "Rules": rules})

        def listed(*options: str) -> list[str]:
            arguments = [*options, "nodes", "--json"] if before else ["nodes", *options, "--json"]
            result = CliRunner().invoke(cli, arguments)
            lines = [json.loads(line)["id"] for line in result.stdout.splitlines()]
            assert (result.exit_code == 0) == bool(lines), result.output
            return lines

        eventually(lambda: listed("--consul", agent.address, "--token", token) == ["secret"])
        assert listed("--consul", agent.address) == [], "none, with a warning about tokens and exit code 1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["say", "Hi."], "expected -o FILE, --play, or both"),
        (["say", "Hi.", "-o", "a.wav", "--speed", "9"], "--speed"),
        (["say", "Hi.", "-o", "a.wav", "--language", "fr"], "'auto', 'en', 'zh'"),
        (["say", "Hi.", "-o", "a.mp3", "--play"], ".wav or .pcm"),
        (["--url", "localhost:1", "nodes"], "expected http"),
        (["--consul", "ftp://x", "nodes"], "expected host"),
        (["batch", "nowhere.jsonl", "out"], "nowhere.jsonl"),
        (["sing"], "sing"),
    ],
)
def test_an_invalid_command_line_is_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_failure_is_one_line_and_exit_code_1(agent: Agent, cluster_nodes: list[Server]) -> None:
    """The server's message, without a traceback."""
    for arguments, message in (
        (
            ["--url", cluster_nodes[0].url, "say", "Hi.", "-o", "/dev/null/x.wav", "--voice", "nobody"],
            "404 unknown_voice",
        ),
        (["--consul", f"127.0.0.1:{free_ports(1)[0]}", "nodes"], "did not respond"),
    ):
        command = [sys.executable, "-m", "glmtts_client", *arguments]
        result = subprocess.run(command, cwd=ROOT / "client", capture_output=True, text=True, check=False)
        assert result.returncode == 1
        [line] = result.stderr.splitlines()
        assert line.startswith("glmtts: ")
        assert message in line


def test_play_without_an_audio_device(
    agent: Agent, cluster_nodes: list[Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error says what to install; no partial file stays."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    arguments = ["--url", cluster_nodes[0].url, "say", "Hi.", "--play", "-o", str(tmp_path / "a.wav")]
    with pytest.raises(ClientError, match="pip install"):
        cli(arguments, standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_light() -> None:
    """No module imports torch, flask or the server's packages."""
    check = (
        "import sys, glmtts_client.cli.main, glmtts_client.batch;"
        "sys.exit(str(sorted({'torch', 'flask', 'glmtts', 'server', 'soundfile', 'consul'} & set(sys.modules))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT / "client", capture_output=True, text=True, check=False
    )
    assert result.stderr.strip() == "[]"
    assert main.__module__ == "glmtts_client.cli.main"
