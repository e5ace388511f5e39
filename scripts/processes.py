"""Child processes: each with its own log, stopped in order, and none outlives its parent."""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

STOP_TIMEOUT = 120.0
"""Seconds within which a process must end after SIGTERM: a node drains first."""
_candidates = itertools.cycle(random.sample(range(10_000, 32_768), 32_768 - 10_000))


class ProcessError(Exception):
    """Names the process that did not start, and its log."""


@dataclass
class Processes:
    """`running` holds them by name; `logs` is the folder of their logs, `root` their working directory."""

    root: Path
    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(
        self, name: str, command: list[str], environment: Mapping[str, str] = os.environ, folder: Path | None = None
    ) -> None:
        """`folder`: its working directory, if that is not `root`."""
        with (self.logs / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=folder or self.root,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_terminate_with_parent,
            )

    def wait(self, name: str, url: str, timeout: float) -> None:
        """Waits until `url` returns 200. Raises ProcessError if the process ends, or after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            if (status := self.running[name].poll()) is not None:
                raise ProcessError(f"{name} ended with {status}; see {self.logs / name}.log")
            try:
                if requests.get(url, timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            if time.monotonic() > deadline:
                raise ProcessError(f"{name}: no answer from {url}; see {self.logs / name}.log")
            time.sleep(0.1)

    def watch(self) -> None:
        """Prints which process ended, until interrupted: users may kill a node to see what happens."""
        while True:
            for name, process in list(self.running.items()):
                if (status := process.poll()) is not None:
                    print(f"{name} ended with {status}; see {self.logs / name}.log", flush=True)
                    del self.running[name]
            time.sleep(0.5)

    def kill(self, *names: str) -> None:
        """Sends SIGKILL to the process groups of `names`, or to all if there are none."""
        for name in names or tuple(self.running):
            process = self.running.pop(name)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self, first: str) -> None:
        """Sends SIGTERM, and waits, first to the processes whose names begin with `first`, then to the others.

        Kills all of them when it is interrupted, or after STOP_TIMEOUT.
        """
        early = [process for name, process in self.running.items() if name.startswith(first)]
        others = [process for process in self.running.values() if process not in early]
        try:
            for group in (early, others):
                for process in group:
                    process.terminate()
                for process in group:
                    process.wait(STOP_TIMEOUT)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            for process in (*early, *others):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def free_ports(count: int) -> list[int]:
    """Different TCP ports of 127.0.0.1 that are free right now, none of which this process was given before.

    They lie below Linux's default range for outgoing connections, so no connection takes one before its server starts.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = next(_candidates)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
    return ports


def _terminate_with_parent() -> None:
    """In the child: asks for SIGTERM when the parent ends, so that a killed parent leaves nothing behind."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
