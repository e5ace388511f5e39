#!/usr/bin/env python3
"""Speaks through the programs that people use: installs those that it can, and replays requests of the others.

    scripts/clients.py                          starts two nodes on checkpoints/nano and a gateway, and prints a table
    scripts/clients.py --url http://host:7860   a running server or gateway; --key KEY where it has API keys
    scripts/clients.py --quick                  one short sentence with each

Each client speaks twice: with a node, and through deploy/gateway where HAProxy is installed. A client that cannot be
installed is named with the reason. Environments are kept in --folder for the next time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts import cluster  # noqa: E402  # needs the path above
from scripts.bench import TEXTS  # noqa: E402
from scripts.client_checks.installed import INSTALLED, ClientError, InstalledClient, run  # noqa: E402
from scripts.client_checks.recorded import recorded_requests  # noqa: E402
from scripts.gateway import haproxy  # noqa: E402

RECORDING = ROOT / "checkpoints/nano/voices/hibari/neutral.flac"


@dataclass(frozen=True)
class Row:
    """A line of the table. `how`: run, replayed, or not installed. `through`: node, gateway, or the address given."""

    client: str
    how: str
    through: str
    ok: bool
    what: str
    seconds: float


def run_client(client: InstalledClient, folder: Path, urls: dict[str, str], key: str, text: str) -> Iterator[Row]:
    """Installs a client and speaks through it; a row for each address, or one that says why it was not installed."""
    start = time.monotonic()
    try:
        command = client.install(folder)
    except ClientError as error:
        yield Row(client.name, "not installed", "–", True, str(error), time.monotonic() - start)
        return
    for through, url in urls.items():
        start = time.monotonic()
        try:
            ok, what = True, "; ".join(run(command, url, key, text))
        except ClientError as error:
            ok, what = False, str(error)
        yield Row(client.name, "run", through, ok, what, time.monotonic() - start)


def replay(through: str, url: str, key: str) -> Iterator[Row]:
    """Sends every recorded request to one address; a row for each client."""
    recording, requests = RECORDING.read_bytes(), recorded_requests()
    for client in dict.fromkeys(request.client for request in requests):
        start = time.monotonic()
        answers = [
            (f"{each.method} {each.path}", each.problem(each.send(url, key, recording)))
            for each in requests
            if each.client == client
        ]
        problems = [f"{name}: {problem}" for name, problem in answers if problem is not None]
        what = "; ".join(problems) or f"{len(answers)} requests"
        yield Row(client, "replayed", through, not problems, what, time.monotonic() - start)


def print_row(row: Row) -> None:
    result = "ok" if row.ok else "FAILED"
    print(f"| {row.client} | {row.how} | {row.through} | {result} | {row.seconds:.1f} s | {row.what} |", flush=True)


@contextmanager
def addresses(url: str | None, state: Path) -> Iterator[dict[str, str]]:
    """The running server at `url`, or two nodes that share a folder of voices: one of them, and the gateway to both."""
    if url is not None:
        yield {"address": url.rstrip("/")}
        return
    (state / "voices").mkdir()
    os.environ.setdefault("GLMTTS_VOICES_DIR", str(state / "voices"))
    ports = [f"--{name}port=0" for name in ("", "consul-", "prometheus-", "gateway-")]
    gateway = ["--gateway"] if haproxy() else []
    with cluster.started(state, "--no-prometheus", *ports, *gateway) as running:
        used = {"node": next(iter(running["nodes"])), "gateway": running["gateway"]}
        yield {through: f"http://{cluster.HOST}:{port}" for through, port in used.items() if port}


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a running server or gateway (default: start nodes and a gateway)")
    flags.add_argument("--key", default="", help="its API key, with the scopes speak and voices")
    flags.add_argument("--only", nargs="+", metavar="CLIENT", help="names of clients to install and run")
    flags.add_argument("--folder", type=Path, default=ROOT / ".tools" / "clients", help="of their environments")
    flags.add_argument("--quick", action="store_true", help="one short sentence")
    return flags


def main() -> None:
    args = parser().parse_args()
    text = TEXTS["short" if args.quick else "long"][0]
    chosen = [client for client in INSTALLED if args.only is None or client.name in args.only]
    rows: list[Row] = []
    with TemporaryDirectory() as state, addresses(args.url, Path(state)) as roots:
        urls = {through: f"{root}/v1" for through, root in roots.items()}
        print("| client | how | through | result | time | what |\n|---|---|---|---|---|---|", flush=True)
        sources = [run_client(client, args.folder, urls, args.key or "none", text) for client in chosen]
        sources += [replay(through, url, args.key) for through, url in urls.items()]
        for row in chain.from_iterable(sources):
            rows.append(row)
            print_row(row)
    num_run, num_replayed = (len({row.client for row in rows if row.how == how}) for how in ("run", "replayed"))
    print(f"{num_run} run, {num_replayed} replayed; through {' and '.join(roots)}")
    sys.exit(0 if all(row.ok for row in rows) else 1)


if __name__ == "__main__":
    main()
