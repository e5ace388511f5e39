#!/usr/bin/env python3
"""How soon /health answers while a server is as busy as can be: streams at work, and connections that say nothing.

    scripts/benchmarks/health.py                                  16 streams, 500 idle connections, 30 s
    scripts/benchmarks/health.py --url http://a:7860 --seconds 60

One probe after the other, each on a connection of its own, as a Consul agent does. A line and JSON (--json). Knows
nothing about the server but its HTTP interface.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # run as a file, it does not see its own package

from scripts.bench import TEXTS, listen, server  # noqa: E402  # the line above comes first

PAUSE = 0.02
"""Seconds between two probes."""


@contextmanager
def idle_connections(url: str, count: int) -> Iterator[None]:
    """Connections that were opened and on which nothing is said."""
    place = urlsplit(url)
    with ExitStack() as opened:
        for _ in range(count):
            opened.enter_context(socket.create_connection((place.hostname, place.port), timeout=10))
        yield


@contextmanager
def streams(url: str, count: int) -> Iterator[None]:
    """So many listeners, each with one stream after the other."""
    rate, over = int(requests.get(f"{url}/info", timeout=10).json()["sample_rates"][0]), threading.Event()

    def keep_listening(seed: int) -> None:
        while not over.is_set():
            listen(url, {"text": TEXTS["medium"][seed % 2], "seed": seed, "timeout": 600}, rate)

    threads = [threading.Thread(target=keep_listening, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def probe(url: str, seconds: float) -> list[float]:
    """Seconds that each answer took, in order of size. An answer other than 200 is an error."""
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        requests.get(f"{url}/health", timeout=10).raise_for_status()
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    return sorted(taken)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a server that runs; without it one is started here")
    flags.add_argument("--checkpoint", default="", help="of the server that is started")
    flags.add_argument("--streams", type=int, default=16)
    flags.add_argument("--idle", type=int, default=500)
    flags.add_argument("--seconds", type=float, default=30.0)
    flags.add_argument("--json", type=Path)
    args = flags.parse_args()
    with (
        server(args.url, args.checkpoint) as url,
        idle_connections(url, args.idle),
        streams(url, args.streams),
    ):
        time.sleep(2.0)  # until they are all at work
        taken = probe(url, args.seconds)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    found = {name: 1e3 * taken[min(len(taken) - 1, int(share * len(taken)))] for name, share in shares.items()}
    figures = ", ".join(f"{name} {ms:.1f} ms" for name, ms in found.items())
    print(f"/health with {args.streams} streams and {args.idle} idle connections: {figures} of {len(taken)} probes")
    if args.json:
        args.json.write_text(json.dumps({**found, "probes": len(taken)}), encoding="utf-8")


if __name__ == "__main__":
    main()
