#!/usr/bin/env python3
"""Measures the latency of /health on a busy server: one with concurrent streams and idle connections.

    scripts/benchmarks/health.py                                  16 streams, 500 idle connections, 30 s
    scripts/benchmarks/health.py --url http://a:7860 --seconds 60

Probes run one after the other, each on a new connection, as those of a Consul agent do. Prints one line; writes JSON
(--json).
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
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.bench import TEXTS, server, stream_once  # noqa: E402  # needs the path above

PROBE_INTERVAL_SECONDS = 0.02


@contextmanager
def idle_connections(url: str, count: int) -> Iterator[None]:
    """Keeps `count` connections open without sending anything."""
    address = urlsplit(url)
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
        yield


@contextmanager
def streams(url: str, count: int) -> Iterator[None]:
    """Keeps `count` listeners busy, each with one stream after the other."""
    sample_rate = int(requests.get(f"{url}/info", timeout=10).json()["sample_rates"][0])
    stopped = threading.Event()

    def stream_repeatedly(seed: int) -> None:
        while not stopped.is_set():
            stream_once(url, {"text": TEXTS["medium"][seed % 2], "seed": seed, "timeout": 600}, sample_rate)

    threads = [threading.Thread(target=stream_repeatedly, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def probe(url: str, seconds: float) -> list[float]:
    """Sorted latencies in seconds. Raises requests.HTTPError if the status is not 200."""
    latencies, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        requests.get(f"{url}/health", timeout=10).raise_for_status()
        latencies.append(time.perf_counter() - start)
        time.sleep(PROBE_INTERVAL_SECONDS)
    return sorted(latencies)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a running server (default: start one)")
    flags.add_argument("--checkpoint", default="", help="of the server to start, as for app.py")
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
        time.sleep(2.0)  # until all streams have started
        latencies = probe(url, args.seconds)
    count, shares = len(latencies), {"p50": 0.5, "p99": 0.99, "max": 1.0}
    quantiles = {name: 1e3 * latencies[min(count - 1, int(share * count))] for name, share in shares.items()}
    figures = ", ".join(f"{name} {ms:.1f} ms" for name, ms in quantiles.items())
    print(f"/health with {args.streams} streams and {args.idle} idle connections: {figures} of {count} probes")
    if args.json:
        args.json.write_text(json.dumps({**quantiles, "probes": count}), encoding="utf-8")


if __name__ == "__main__":
    main()
