"""Starts HAProxy as a gateway, with the configuration in deploy/gateway."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from scripts.processes import ProcessError, Processes

CONFIGURATION = Path(__file__).resolve().parents[1] / "deploy" / "gateway" / "haproxy.cfg"
HOST = "127.0.0.1"
START_TIMEOUT = 60.0


def haproxy() -> str | None:
    """The path of HAProxy."""
    return shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")


def start_gateway(processes: Processes, port: int, dns: int, metrics: int) -> str:
    """The URL of a gateway in front of nodes that are ready; `dns` is the port of Consul's DNS. Raises ProcessError."""
    if (binary := haproxy()) is None:
        raise ProcessError("no haproxy: expected it on the path (Debian: apt install haproxy)")
    own = {"GATEWAY_BIND": f"{HOST}:{port}", "GATEWAY_METRICS": f"{HOST}:{metrics}", "GATEWAY_DNS": f"{HOST}:{dns}"}
    processes.start("gateway", [binary, "-f", str(CONFIGURATION), "-db"], {**os.environ, **own})
    processes.wait("gateway", f"http://{HOST}:{port}/ready", START_TIMEOUT)
    return f"http://{HOST}:{port}"
