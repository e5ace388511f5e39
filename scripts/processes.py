"""Several programs under one: started with a log each, waited for, watched, ended in order; none outlives its parent.

Knows nothing about what the programs are.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import requests

LEAVING = 120.0
"""Seconds until a process must have ended after SIGTERM: a node drains first."""


class ProcessError(Exception):
    """Which process did not come up, and where its log is."""


@dataclass
class Processes:
    """The processes that run, by name; `logs` is the folder of their logs, `home` the one they run in."""

    home: Path
    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str], environment: Mapping[str, str] = os.environ) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=self.home,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_us,
            )

    def wait(self, name: str, url: str, patience: float) -> None:
        """Waits until the process answers 200 at `url`. ProcessError when it ends instead, or takes too long."""
        deadline = time.monotonic() + patience
        while True:
            if (status := self.running[name].poll()) is not None:
                raise ProcessError(f"{name} ended with {status}; see {self.logs / name}.log")
            try:
                if requests.get(url, timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            if time.monotonic() > deadline:
                raise ProcessError(f"{name} does not answer at {url}; see {self.logs / name}.log")
            time.sleep(0.1)

    def watch(self) -> None:
        """Says who ends, until interrupted: a node may be killed to see what happens."""
        while True:
            for name, process in list(self.running.items()):
                if (status := process.poll()) is not None:
                    print(f"{name} ended with {status}; see {self.logs / name}.log", flush=True)
                    del self.running[name]
            time.sleep(0.5)

    def kill(self, *names: str) -> None:
        """SIGKILL, at once, to those named and all that they started; to all if none is."""
        for name in names or tuple(self.running):
            process = self.running.pop(name)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self, first: str) -> None:
        """SIGTERM, to those whose name begins with `first` before the others. Interrupted: everything at once."""
        ahead = [process for name, process in self.running.items() if name.startswith(first)]
        others = [process for process in self.running.values() if process not in ahead]
        try:
            for group in (ahead, others):
                for process in group:
                    process.terminate()
                for process in group:
                    process.wait(LEAVING)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            for process in (*ahead, *others):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody holds just now, all different."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _die_with_us() -> None:
    """In the child: SIGTERM when the parent is gone, so that a killed parent leaves nothing behind."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
