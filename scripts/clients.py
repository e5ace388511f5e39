#!/usr/bin/env python3
"""Speaks through the programs that people use: installs those that it can, and replays requests of the others.

    scripts/clients.py                          starts a server on checkpoints/nano and prints a table
    scripts/clients.py --url http://host:7860   a running server or gateway; --key KEY where it has API keys
    scripts/clients.py --quick                  one short sentence with each

A client that cannot be installed is named with the reason. Environments are kept in --folder for the next time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.bench import TEXTS, server  # noqa: E402  # needs the path above
from scripts.client_checks.installed import INSTALLED, ClientError, InstalledClient, run  # noqa: E402
from scripts.client_checks.recorded import recorded_requests  # noqa: E402

RECORDING = ROOT / "checkpoints/nano/voices/hibari/neutral.flac"


@dataclass(frozen=True)
class Row:
    """A line of the table. `how`: run, replayed, or not installed."""

    client: str
    how: str
    ok: bool
    what: str
    seconds: float


def run_client(client: InstalledClient, folder: Path, url: str, key: str, text: str) -> Row:
    """Installs a client and speaks through it."""
    start = time.monotonic()
    try:
        command = client.install(folder)
    except ClientError as error:
        return Row(client.name, "not installed", True, str(error), time.monotonic() - start)
    start = time.monotonic()
    try:
        received = run(command, url, key, text)
    except ClientError as error:
        return Row(client.name, "run", False, str(error), time.monotonic() - start)
    return Row(client.name, "run", True, "; ".join(received), time.monotonic() - start)


def replay(url: str, key: str) -> Iterator[Row]:
    """Sends every recorded request; a row for each client."""
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
        yield Row(client, "replayed", not problems, what, time.monotonic() - start)


def print_row(row: Row) -> None:
    print(
        f"| {row.client} | {row.how} | {'ok' if row.ok else 'FAILED'} | {row.seconds:.1f} s | {row.what} |", flush=True
    )


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a running server or gateway (default: start a server)")
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
    print("| client | how | result | time | what |\n|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as voices, server(args.url, "", {"GLMTTS_VOICES_DIR": voices}) as root:
        url = root.rstrip("/") + "/v1"
        for client in chosen:
            rows.append(run_client(client, args.folder, url, args.key or "none", text))
            print_row(rows[-1])
        for row in replay(url, args.key):
            rows.append(row)
            print_row(row)
    num_run, num_replayed = (sum(row.how == how for row in rows) for how in ("run", "replayed"))
    print(f"{num_run} run, {num_replayed} replayed")
    sys.exit(0 if all(row.ok for row in rows) else 1)


if __name__ == "__main__":
    main()
