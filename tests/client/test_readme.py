"""The commands of the client's README exist, and its program runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from glmtts_client.cli.main import cli

from tests.helpers.consul import ROOT, Agent, eventually
from tests.helpers.server import Server

README = (ROOT / "client" / "README.md").read_text(encoding="utf-8")


def test_the_commands_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `glmtts …` line has an existing command and existing options."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").touch()
    blocks = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    commands = [shlex.split(line)[1:] for line in blocks.splitlines() if line.startswith("glmtts ")]
    assert len(commands) >= 5
    for name, *rest in commands:
        command = cli.commands[name]
        if isinstance(command, click.Group) and rest:
            name, *rest = rest
            command = command.commands[name]
        with command.make_context(name, rest, parent=click.Context(cli)):
            pass


def all_commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from all_commands(inner)


def test_the_options_exist() -> None:
    """Every --option of the text belongs to a command."""
    known = {flag for command in all_commands(cli) for option in command.params for flag in option.opts}
    documented = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    assert len(documented) >= 5
    assert documented <= known


@pytest.mark.processes
def test_the_program_runs(
    agent: Agent, cluster_nodes: list[Server], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unchanged, on the cluster that Consul's variables name."""
    payload = {
        "ID": "readme",
        "Name": "glm-tts",
        "Address": "127.0.0.1",
        "Port": cluster_nodes[0].port,
        "Meta": {"language": "en"},
    }
    agent.call("PUT", "/v1/agent/service/register", payload)
    eventually(lambda: agent.passing() == {"readme"})
    monkeypatch.setenv("CONSUL_HTTP_ADDR", agent.address)
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    try:
        exec(compile(program, "README.md", "exec"), {})
    finally:
        agent.deregister("readme")
    output = capsys.readouterr().out
    assert cluster_nodes[0].url in output
    assert "It has a second sentence." in output
