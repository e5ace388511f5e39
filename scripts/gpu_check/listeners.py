"""A server on a checkpoint, and listeners who each hear one sentence after another."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from scripts.bench import RequestResult, peak_memory, stream_once
from scripts.gpu_check.texts import sentence
from scripts.processes import Processes, free_ports

ROOT = Path(__file__).resolve().parents[2]
AUDIBLE = 0.02
"""Seconds of silence in a stream from which on it counts as an underrun."""


@dataclass(frozen=True)
class RunningServer:
    """Its address, and how long it took to be ready."""

    url: str
    ready_seconds: float


@contextmanager
def serve(checkpoint: Path, device: str, folder: Path, slots: int, ready_timeout: float) -> Iterator[RunningServer]:
    """`app.py` with as many slots as there will be listeners. Its log and its voices are in `folder`.

    Raises ProcessError if it isn't ready in time.
    """
    processes, port = Processes(ROOT, folder), free_ports(1)[0]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GLMTTS_", "CONSUL_"))}
    settings = {
        "GLMTTS_DEVICE": device,
        "GLMTTS_CONSUL": "off",
        "GLMTTS_PROPAGATION_DELAY": "0",
        "GLMTTS_DRAIN_TIMEOUT": "5",
        "GLMTTS_VOICES_DIR": str(folder / "voices"),
        "GLMTTS_MAX_NUM_SEQS": str(slots),
        "GLMTTS_MAX_CONCURRENT_REQUESTS": str(slots + 2),
        "GLMTTS_THREADS": str(slots + 16),
        "GLMTTS_MAX_BACKLOG_SECONDS": "100000",
    }
    start, url = time.monotonic(), f"http://127.0.0.1:{port}"
    command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port), "--checkpoint", str(checkpoint)]
    processes.start("server", command, {**own, **settings})
    try:
        processes.wait("server", f"{url}/ready", ready_timeout)
        yield RunningServer(url, time.monotonic() - start)
    finally:
        processes.stop("server")


class Texts:
    """Numbers of sentences that have not been spoken yet."""

    def __init__(self) -> None:
        self._next = 0

    def bodies(self, count: int) -> list[dict[str, Any]]:
        """Requests for as many of them, each with a seed of its own."""
        numbers = range(self._next, self._next + count)
        self._next += count
        return [{"text": sentence(number), "seed": number, "timeout": 600} for number in numbers]


def hear(server: RunningServer, listeners: int, each: int, texts: Texts, deadline: float) -> dict[str, Any]:
    """The figures of `listeners` who hear `each` sentences, after one each that is not counted.

    No sentence begins after `deadline`, a time of the monotonic clock. Raises RuntimeError if none was heard.
    """
    info = requests.get(f"{server.url}/info", timeout=10).json()
    rate = int(info["sample_rates"][0])

    def listen(body: dict[str, Any]) -> RequestResult | None:
        return stream_once(server.url, body, rate) if time.monotonic() < deadline else None

    with ThreadPoolExecutor(listeners) as executor:
        list(executor.map(listen, texts.bodies(listeners)))
        start, plain_before = time.monotonic(), plain_steps(metrics_of(server))
        with peak_memory(server.url) as memory:
            results = [one for one in executor.map(listen, texts.bodies(listeners * each)) if one is not None]
        wall = time.monotonic() - start
    spoken = [one for one in results if one.status == 200 and one.audio > 0]
    if not spoken:
        raise RuntimeError(f"{len(results)} requests, none heard to its end: {sorted({one.status for one in results})}")
    return {
        "listeners": listeners,
        "requests": listeners * each,
        "spoken": len(spoken),
        "refused": len(results) - len(spoken),
        "plain_steps": plain_steps(metrics_of(server)) - plain_before,
        "host_mib": memory(),
        "device_mib": device_memory_mib(),
        **figures(spoken, wall),
    }


def metrics_of(server: RunningServer) -> str:
    return requests.get(f"{server.url}/metrics", timeout=10).text


def recorded_shapes(metrics: str) -> dict[str, int]:
    """CUDA graphs by stage; none on a CPU."""
    return {f"{stage} graphs": count for (stage,), count in samples(metrics, "glmtts_recorded_shapes", "stage")}


def plain_steps(metrics: str) -> int:
    """Steps so far for which there was no CUDA graph, though there are some."""
    steps = samples(metrics, "glmtts_recorded_steps_total", "stage", "launch")
    return sum(count for (_, launch), count in steps if launch == "plain")


def samples(metrics: str, name: str, *labels: str) -> list[tuple[tuple[str, ...], int]]:
    """Of one metric in a text of Prometheus: its values with these labels."""
    found = re.findall(rf"^{name}{{(.*)}} (\S+)$", metrics, re.MULTILINE)
    by_label = [(dict(re.findall(r'(\w+)="([^"]*)"', pairs)), int(float(value))) for pairs, value in found]
    return [(tuple(pairs[label] for label in labels), value) for pairs, value in by_label]


def figures(spoken: list[RequestResult], wall: float) -> dict[str, float]:
    """Of streams that were heard to their end, times in seconds; `wall` is that of all of them together."""
    firsts = sorted(one.first_audio for one in spoken)
    silences = [one.underrun for one in spoken]
    return {
        "first_audio_p50": statistics.median(firsts),
        "first_audio_p95": firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))],
        "rtf": statistics.median(one.total / one.audio for one in spoken),
        "audio_per_second": sum(one.audio for one in spoken) / wall,
        "underruns": sum(silence > AUDIBLE for silence in silences),
        "worst_silence": max(silences),
    }


def device_memory_mib() -> float | None:
    """Memory in use on the first GPU by all processes; None without nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return float(answer.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
