#!/usr/bin/env python3
"""Measures the latency of /health while others keep the server busy: what a Consul agent would see.

    scripts/benchmarks/health.py                                    each load in turn, 20 s
    scripts/benchmarks/health.py --url http://a:7860 http://b:7860  running servers, in turn
    scripts/benchmarks/health.py --loads streams --clients 16 --idle 500

A process of its own asks, on a new connection each time, so that the load does not delay it. Prints a table; writes
JSON (--json).
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count, cycle
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.attacks.bodies import large_bodies  # noqa: E402  # needs the path above
from scripts.bench import TEXTS, server, stream_once  # noqa: E402

PROBE_INTERVAL_SECONDS = 0.02
WARM_UP_SECONDS = 3.0
UNKNOWN_KEYS = b"{" + b",".join(b'"%x":1' % number for number in range(250_000)) + b"}"
RECORDING = base64.encodebytes(bytes(range(256)) * 2**16)
Call = Callable[[str], object]


def _stream() -> Call:
    seeds = count()

    def call(url: str) -> object:
        body = {"text": TEXTS["medium"][next(seeds) % 2], "seed": 1, "timeout": 600}
        return stream_once(url, body, 24000)

    return call


def _segments() -> Call:
    return lambda url: requests.post(f"{url}/segments", json={"text": "中" * 5000}, timeout=120)


def _posts(bodies: Sequence[bytes]) -> Call:
    turns = cycle(bodies)
    headers = {"Content-Type": "application/json"}
    return lambda url: requests.post(f"{url}/tts", data=next(turns), headers=headers, timeout=120)


LOADS: dict[str, Callable[[], Call]] = {
    "none": lambda: lambda _: time.sleep(0.1),
    "streams": _stream,
    "segments": _segments,
    "keys": lambda: _posts([UNKNOWN_KEYS]),
    "recordings": lambda: _posts([b'{"text":"Hi.","reference_audio":"' + RECORDING + b'"}']),
    "large": lambda: _posts([body for _, body in large_bodies()]),
}
"""What each client sends, again and again: nothing; listeners; the longest text; 2.4 MB of unknown keys;
16 MiB that are no recording, in base64 with line breaks; 20 MiB that break parsers."""


@contextmanager
def idle_connections(url: str, number: int) -> Iterator[None]:
    """Keeps `number` connections open without sending anything."""
    address = urlsplit(url)
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
        yield


@contextmanager
def busy_clients(url: str, call: Call, number: int) -> Iterator[None]:
    """Keeps `number` clients busy with one call after the other."""
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.is_set():
            with suppress(requests.ConnectionError):  # a refused body ends its connection
                call(url)

    threads = [threading.Thread(target=repeat, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _probe(url: str, seconds: float, pipe: Connection) -> None:
    with suppress(PermissionError):
        os.nice(-10)  # for the server's delays alone
    latencies, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        requests.get(f"{url}/health", timeout=10).raise_for_status()
        latencies.append(time.perf_counter() - start)
        time.sleep(PROBE_INTERVAL_SECONDS)
    pipe.send(sorted(latencies))


def probe(url: str, seconds: float) -> list[float]:
    """Sorted latencies in seconds. Raises EOFError if the status is not 200."""
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.get_context("spawn").Process(target=_probe, args=(url, seconds, theirs), daemon=True)
    prober.start()
    theirs.close()  # so that an end of the process is seen
    latencies: list[float] = ours.recv()
    prober.join()
    return latencies


def measure(url: str, load: str, args: argparse.Namespace) -> dict[str, object]:
    """A row of the table; latencies in milliseconds."""
    with idle_connections(url, args.idle), busy_clients(url, LOADS[load](), args.clients):
        time.sleep(WARM_UP_SECONDS)
        latencies = probe(url, args.seconds)
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    last = len(latencies) - 1
    quantiles = {name: 1e3 * latencies[min(last, int(share * len(latencies)))] for name, share in shares.items()}
    return {"server": url, "load": load, "clients": args.clients, "probes": len(latencies), **quantiles}


def table(rows: Sequence[dict[str, object]]) -> str:
    """A Markdown table."""
    cells = [[f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parse() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", nargs="+", help="running servers (default: start one)")
    flags.add_argument("--checkpoint", default="", help="of the server to start, as for app.py")
    flags.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    flags.add_argument("--clients", type=int, default=8, help="of a load (default: %(default)s)")
    flags.add_argument("--idle", type=int, default=0, help="connections that send nothing")
    flags.add_argument("--seconds", type=float, default=20.0, help="of each load (default: %(default)s)")
    flags.add_argument("--json", type=Path)
    return flags.parse_args()


def main() -> None:
    args = parse()
    with ExitStack() as stack:
        urls = args.url or [stack.enter_context(server(None, args.checkpoint))]
        rows = [measure(url, load, args) for load in args.loads for url in urls]
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
