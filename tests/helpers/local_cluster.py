"""Starts a cluster as a user does, with scripts/cluster.py, on free ports, and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.helpers.server import ROOT, wait_until

SCRIPT = ROOT / "scripts" / "cluster.py"


@dataclass(frozen=True)
class LocalCluster:
    """A running cluster; `state` is its folder."""

    process: subprocess.Popen[str]
    state: Path

    def read_state(self) -> dict[str, Any]:
        """The content of state.json: pid, ports of consul and prometheus, nodes (process id by port)."""
        state: dict[str, Any] = json.loads((self.state / "state.json").read_text())
        return state

    @property
    def nodes(self) -> dict[int, int]:
        """Process id by port."""
        return {int(port): pid for port, pid in self.read_state()["nodes"].items()}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs scripts/cluster.py on this cluster."""
        return script(self.state, *arguments)

    def prometheus(self, path: str, **params: str) -> Any:
        """The `data` of a response of Prometheus' API."""
        address = f"http://127.0.0.1:{self.read_state()['prometheus']}/api/v1/{path}"
        answer = requests.get(address, params=params, timeout=30).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        result: list[dict[str, Any]] = self.prometheus("query", query=expression)["result"]
        return result

    def alerts(self, name: str) -> list[dict[str, str]]:
        """Labels of the firing alerts of that name."""
        alerts = self.prometheus("alerts")["alerts"]
        return [
            alert["labels"] for alert in alerts if alert["state"] == "firing" and alert["labels"]["alertname"] == name
        ]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}


def script(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, "--state", state, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@contextmanager
def local_cluster(state: Path, *arguments: str, voices: Path | None = None) -> Iterator[LocalCluster]:
    """A ready cluster, of two fake nodes unless the arguments say otherwise; stopped on exit."""
    own = environment() | ({"GLMTTS_VOICES_DIR": str(voices)} if voices is not None else {})
    ports = ("--port", "0", "--consul-port", "0", "--prometheus-port", "0")
    with (state / "up.out").open("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-u", SCRIPT, "--state", state, "up", "--checkpoint", "fake:", *ports, *arguments],
            env=own, stdout=out, stderr=out, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            out_file = state / "up.out"
            wait_until(
                lambda: "cluster: ready" in out_file.read_text() or process.poll() is not None, "the cluster", 180
            )
            assert process.poll() is None, out_file.read_text()
            yield LocalCluster(process, state)
        finally:
            process.terminate()
            process.wait(180)
