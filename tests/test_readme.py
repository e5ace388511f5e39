"""The README's commands exist: flags, scripts, modules, extras, routes and fields. Nothing is started."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from flask import Flask

from glmtts.engine.runtime.fake import FakeOptions
from server.http.context import AppContext
from server.http.routes import make_routes
from server.http.schemas import SpeechRequest
from server.settings import Settings
from server.wsgi import command

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PORT = Settings.model_fields["port"].default


def commands() -> list[list[str]]:
    """Every command of the README as words: those of the ```sh blocks, and those in the running text."""
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    texts = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    texts += [text for text in re.findall(r"`([^`]+)`", prose) if re.match(r"(python|scripts/|export) ?", text)]
    lines = "\n".join(texts).replace("\\\n", " ").replace("$(", "\n").replace(")", "\n")
    parts = [part for line in lines.splitlines() for part in line.split("&&")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def those(*start: str) -> list[list[str]]:
    """What follows `start` in each command that starts so; there is at least one."""
    found = [words[len(start) :] for words in commands() if words[: len(start)] == list(start)]
    assert found, f"the README has no command {' '.join(start)}"
    return found


def test_the_server_takes_the_flags_that_the_readme_gives_it() -> None:
    """Each `python app.py` of the README has flags that the program has, and a checkpoint that is there."""
    for words in those("python", "app.py"):
        checkpoint = command.parse(words).checkpoint
        if checkpoint and checkpoint.startswith(command.FAKE_PREFIX):
            FakeOptions.parse(checkpoint.removeprefix(command.FAKE_PREFIX))
        elif checkpoint is None and "--print-settings" not in words:
            assert command.BUNDLED_CHECKPOINT.is_dir(), (
                "the README starts the server on checkpoints/nano: it is missing"
            )


def test_the_scripts_and_modules_of_the_readme_exist() -> None:
    """What the README runs from scripts/ is executable, and each `python -m` names a module."""
    scripts = [words[0] for words in commands() if words[0].startswith((".ci/", "scripts/"))]
    assert scripts
    assert [name for name in scripts if not os.access(ROOT / name, os.X_OK)] == []
    modules = [words[0] for words in those("python", "-m")]
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_the_installation_makes_an_environment_of_its_own() -> None:
    """Debian's and Ubuntu's Python refuses `pip install` outside one (PEP 668); serving needs no extras."""
    install, *_ = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "pip install" in block]
    environment, activation, dependencies, installation, start = (shlex.split(part) for part in install.split("&&"))
    assert environment == ["python3", "-m", "venv", ".venv"]
    assert activation == [".", ".venv/bin/activate"]
    assert dependencies == ["pip", "install", "--require-hashes", "-r", "deploy/locks/server.txt"]
    assert installation == ["pip", "install", "--no-deps", "-e", "."]
    assert start[:2] == ["python", "app.py"]


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "scripts/test", "deploy/Dockerfile"])
def test_extras_exist(file: str) -> None:
    """`.[NAME,…]` in an installation names extras of pyproject.toml."""
    lists = re.findall(r"(?:'\.\[|\bextras\+?=,?)([\w,-]+)", (ROOT / file).read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert {name for names in lists for name in names.split(",")} <= set(
        re.findall(r"^([\w-]+) = ", declared, re.MULTILINE)
    )


def test_the_request_of_the_readme_is_one_that_the_server_knows() -> None:
    """Each curl of the README goes to the default port and a route, with fields of a speech request."""
    server = Flask("routes")
    server.register_blueprint(make_routes(cast(AppContext, None)))  # only its rules are read: nothing is called
    routes = {rule.rule for rule in server.url_map.iter_rules()}
    for words in those("curl"):
        address = next(word for word in words if word.removeprefix("http://").startswith("localhost:"))
        host, _, path = address.removeprefix("http://").partition("/")
        assert (host, f"/{path}" in routes) == (f"localhost:{PORT}", True)
        fields = [value.partition("=")[0] for flag, value in pairwise(words) if flag == "-F"]
        assert fields
        assert set(fields) <= SpeechRequest.model_fields.keys()
