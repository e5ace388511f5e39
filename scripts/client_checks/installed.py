"""Clients that can be installed: each in an environment of its own, so that none gets the versions of another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
INSTALL_TIMEOUT = 900
RUN_TIMEOUT = 600
"""Seconds."""


class ClientError(Exception):
    """Why a client was not installed, or what it said when it failed."""


@dataclass(frozen=True)
class InstalledClient:
    """A client on PyPI or npm, and the program that speaks with it."""

    name: str
    package: str
    program: str

    def install(self, folder: Path) -> list[str]:
        """The command that runs the program, in an environment in `folder` that is made if it is not there."""
        environment = folder / self.name.replace(" ", "-")
        if self.program.endswith(".mjs"):
            return self._install_npm(environment)
        python = environment / "bin" / "python"
        if not python.exists():
            venv.create(environment, with_pip=True, clear=True)
        _run([str(python), "-m", "pip", "install", "--quiet", self.package], timeout=INSTALL_TIMEOUT)
        return [str(python), str(PROGRAMS / self.program)]

    def _install_npm(self, environment: Path) -> list[str]:
        npm, node = shutil.which("npm"), shutil.which("node")
        if npm is None or node is None:
            raise ClientError("node or npm is not installed")
        environment.mkdir(parents=True, exist_ok=True)
        _run([npm, "install", "--silent", "--prefix", str(environment), self.package], timeout=INSTALL_TIMEOUT)
        program = environment / self.program  # node looks for packages beside the file
        shutil.copy(PROGRAMS / self.program, program)
        return [node, str(program)]


INSTALLED = (
    InstalledClient("openai", "openai", "openai_package.py"),
    InstalledClient("openai (npm)", "openai", "openai_node.mjs"),
    InstalledClient("LiveKit", "livekit-plugins-openai", "livekit_plugin.py"),
    InstalledClient("Pipecat", "pipecat-ai[openai]", "pipecat_service.py"),
    InstalledClient("wyoming-openai", "wyoming-openai", "wyoming_server.py"),
)


def run(command: Sequence[str], url: str, key: str, text: str) -> dict[str, float]:
    """What the client received, by what it was asked for. ClientError: it failed, or received nothing."""
    received: dict[str, float] = json.loads(_run([*command, url, key, text], timeout=RUN_TIMEOUT).splitlines()[-1])
    if empty := [case for case, amount in received.items() if not amount]:
        raise ClientError(f"nothing received for {', '.join(empty)}")
    return received


def _run(command: Sequence[str], timeout: float) -> str:
    """The output of a command; ClientError with the end of what it said."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    try:
        done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ClientError(f"no answer within {timeout} s") from None
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ClientError(lines[-1][:200] if lines else f"exit status {done.returncode}")
    return done.stdout
