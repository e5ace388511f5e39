"""The server under attack, and what is observed of it: memory, /health, and whether others can still speak."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import requests

PROBE_INTERVAL_SECONDS = 0.02
MIN_PROBES = 20
"""Some attacks are over within milliseconds; an observation goes on until it holds this many."""
SPEECH_INTERVAL_SECONDS = 0.5
BYSTANDER = "bystander"
"""The stored voice that somebody else speaks with."""
SETTLE_SECONDS = 10
"""How long the server's memory must not have fallen: it returns what it has freed once it has rested for five."""
MAX_SETTLE_SECONDS = 40


@dataclass(frozen=True)
class Target:
    """A server of this host. `key` may speak and store voices; it is no secret to the attacker."""

    port: int
    worker: int
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def head(self) -> bytes:
        """Headers that every request of the attacker has, as they are sent."""
        return f"Host: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.key}\r\n".encode()

    def connect(self, timeout: float = 10.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def memory_mib(self, enough: float = 0.0) -> float:
        """Resident memory of the worker, once it rests, or at once if it is `enough` or less."""
        values = [self._resident_mib()]
        while values[-1] > enough and len(values) <= MAX_SETTLE_SECONDS and not _rests(values):
            time.sleep(1.0)
            values.append(self._resident_mib())
        return values[-1]

    def _resident_mib(self) -> float:
        status = Path(f"/proc/{self.worker}/status").read_text("ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def is_alive(self) -> bool:
        return Path(f"/proc/{self.worker}").exists()


def _rests(values: list[float]) -> bool:
    """Whether memory, by the second, has not fallen for SETTLE_SECONDS."""
    return len(values) > SETTLE_SECONDS + 1 and min(values[-SETTLE_SECONDS:]) >= values[-SETTLE_SECONDS - 1] - 1


@dataclass
class Observation:
    """Latencies in seconds: of /health, and of short speech by somebody else; inf for one that failed."""

    health: list[float] = field(default_factory=list)
    speech: list[float] = field(default_factory=list)

    def health_p99(self) -> float:
        ordered = sorted(self.health) or [float("inf")]
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]

    def slowest_speech(self) -> float:
        return max(self.speech, default=float("inf"))


@contextmanager
def observe(target: Target) -> Iterator[Observation]:
    """Observes the server during the block. A process of its own asks /health, so that the attack does not delay it."""
    observation, stopped = Observation(), threading.Event()
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.get_context("spawn").Process(target=_probe, args=(target.port, theirs), daemon=True)
    prober.start()
    theirs.close()  # so that an end of the process is seen
    ours.recv()  # it has started
    speaker = threading.Thread(target=_speak, args=(target, observation.speech, stopped), daemon=True)
    speaker.start()
    try:
        yield observation
    finally:
        stopped.set()
        ours.send(None)
        observation.health += ours.recv()
        prober.join()
        speaker.join()


def _probe(port: int, pipe: Connection) -> None:
    """Asks /health on a new connection each time, as Consul does, at least `MIN_PROBES` times."""
    pipe.send(None)
    latencies: list[float] = []
    while not pipe.poll(PROBE_INTERVAL_SECONDS) or len(latencies) < MIN_PROBES:
        start = time.perf_counter()
        try:
            requests.get(f"http://127.0.0.1:{port}/health", timeout=10).raise_for_status()
            latencies.append(time.perf_counter() - start)
        except requests.RequestException:
            latencies.append(float("inf"))
    pipe.send(latencies)


def _speak(target: Target, latencies: list[float], stopped: threading.Event) -> None:
    body = {"text": "Hello.", "seed": 1, "voice": BYSTANDER}
    while True:
        start = time.perf_counter()
        try:
            answer = requests.post(f"{target.url}/tts", json=body, headers=target.headers, timeout=60)
            served = answer.status_code in (200, 429)
        except requests.RequestException:
            served = False
        latencies.append(time.perf_counter() - start if served else float("inf"))
        if stopped.wait(SPEECH_INTERVAL_SECONDS):
            return
