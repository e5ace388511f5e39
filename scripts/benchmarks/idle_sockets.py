#!/usr/bin/env python3
"""What idle WebSockets cost those that speak: 16 sockets with and without 100 idle ones, in turn, on one server.

    scripts/benchmarks/idle_sockets.py                  starts a server on checkpoints/nano; the extra dev
    scripts/benchmarks/idle_sockets.py --checkpoint fake:max_queued=32 --rounds 8

Each round has every socket speak one text. Prints medians of the rounds: seconds of audio per second, and the time to
the first audio of a round's median socket.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.bench import BYTES_PER_SAMPLE, TEXTS, server  # noqa: E402  # needs the path above

PATH = "/v1/audio/speech/stream"
SAMPLE_RATE = 24000
"""Of `pcm` without a `sample_rate`."""


class Round(NamedTuple):
    """Seconds of audio per second, and seconds to the median socket's first audio."""

    throughput: float
    first_audio: float


@contextmanager
def sockets(url: str, count: int) -> Iterator[list[ClientConnection]]:
    """So many open sockets."""
    with ExitStack() as stack:
        address = url.replace("http", "ws", 1) + PATH
        yield [stack.enter_context(connect(address, max_size=None, open_timeout=60)) for _ in range(count)]


def speak(socket: ClientConnection, text: str) -> tuple[float, float]:
    """Seconds to the first audio, and of audio."""
    start, first, audio = time.monotonic(), 0.0, 0
    for message in ({"type": "input.text", "text": text}, {"type": "input.done"}):
        socket.send(json.dumps(message))
    while True:
        data = socket.recv(timeout=600)
        if isinstance(data, bytes):
            first = first or time.monotonic() - start
            audio += len(data)
        elif (kind := json.loads(data)["type"]) == "error":
            raise RuntimeError(data)
        elif kind == "audio.done":
            return first, audio / BYTES_PER_SAMPLE / SAMPLE_RATE


def measure(url: str, speaking: int, idle: int) -> Round:
    """One round beside `idle` other sockets."""
    with sockets(url, idle), sockets(url, speaking) as active, ThreadPoolExecutor(speaking) as pool:
        texts = [TEXTS["medium"][number % 2] for number in range(speaking)]
        start = time.monotonic()
        results = list(pool.map(speak, active, texts))
        seconds = time.monotonic() - start
    return Round(sum(audio for _, audio in results) / seconds, statistics.median(first for first, _ in results))


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a running server (default: start one)")
    flags.add_argument("--checkpoint", default="", help="of the server to start, as for app.py")
    flags.add_argument("--speaking", type=int, default=16)
    flags.add_argument("--idle", type=int, default=100)
    flags.add_argument("--rounds", type=int, default=4)
    args = flags.parse_args()
    rounds: dict[int, list[Round]] = {0: [], args.idle: []}
    with server(args.url, args.checkpoint) as url:
        measure(url, args.speaking, 0)
        for number in range(args.rounds):
            for idle in sorted(rounds, reverse=bool(number % 2)):
                rounds[idle].append(measure(url, args.speaking, idle))
    print("| idle sockets | audio s/s, median (range) | first audio, median (range) |\n|---|---|---|")
    for idle, values in rounds.items():
        cells = [
            f"{statistics.median(column):.2f} ({min(column):.2f} – {max(column):.2f})"
            for column in zip(*values, strict=True)
        ]
        print(f"| {idle} | {cells[0]} | {cells[1]} s |")


if __name__ == "__main__":
    main()
