#!/usr/bin/env python3
"""Attacks a server of its own through its port, as a stranger could: it must neither fail nor stall nor grow.

    scripts/attack.py                                   everything, on checkpoints/nano: most of an hour
    scripts/attack.py --quick --checkpoint fake:        a minute and a half, as in CI
    scripts/attack.py --only smuggling,slow             some of the attacks; --list names them

Prints a table: what was sent, what came, memory before and after, the p99 of /health (asked by another process on new
connections), and how long another client waited for a word of speech. The exit status is 1 if there was a crash, a
status that says so (5xx but 501, 503 and 505; 1011 on a WebSocket), an answer of more than 2 kB to what is refused, a
request that was read as two, a stall of /health beyond a second, another client who was not served, or growth.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.attacks import bodies, connections, frames, heads, pieces, recordings, schema, smuggling  # noqa: E402  # needs the path above
from scripts.attacks.report import Row, max_memory, table  # noqa: E402
from scripts.attacks.senders import Outcomes  # noqa: E402
from scripts.attacks.target import BYSTANDER, Target, observe  # noqa: E402
from scripts.processes import Processes, free_ports  # noqa: E402
from server.keys.__main__ import add_key  # noqa: E402

LOAD_TIMEOUT = 300.0


@dataclass(frozen=True)
class Attack:
    """`full` and `quick` say how much is sent, and `sent` says it in words; `run` sends that much."""

    full: int
    quick: int
    sent: str
    run: Callable[[Target, int, float], Outcomes]


ATTACKS = {
    "schema": Attack(
        100, 1, "schemathesis, {} a route and more", lambda target, count, _: schema.attack(target, count)
    ),
    "bodies": Attack(10_000, 300, "{} malformed bodies", lambda target, count, _: bodies.attack(target, count)),
    "large": Attack(
        15, 5, "{} bodies of 20 MiB", lambda target, count, _: bodies.attack_with_large_bodies(target, count // 5)
    ),
    "heads": Attack(5000, 200, "{} changed HTTP messages", lambda target, count, _: heads.attack(target, count)),
    "recordings": Attack(2000, 60, "{} mutated recordings", lambda target, count, _: recordings.attack(target, count)),
    "smuggling": Attack(
        1, 1, f"{len(smuggling.refused_shapes()) + 8} ambiguous requests", lambda target, *_: smuggling.attack(target)
    ),
    "frames": Attack(
        1000, 40, "{} WebSockets with hostile frames", lambda target, count, _: frames.attack(target, count)
    ),
    "pieces": Attack(
        8,
        4,
        f"{{}} connections at a time that send {', '.join(pieces.FLOODS)} in the smallest pieces",
        pieces.attack,
    ),
    "idle": Attack(500, 100, "{} connections that send nothing", connections.attack_idle),
    "slow": Attack(200, 60, "{} connections that send a byte a second", connections.attack_slow),
    "unread": Attack(40, 12, "{} connections that never read", connections.attack_unread),
}


def run(target: Target, names: list[str], *, quick: bool) -> list[Row]:
    """A row for each attack. Those over connections last 4 or 70 seconds; the server's limits are shorter than 70.

    `quick`: memory is compared with that before all of them, and waited for only while there is too much of it.
    """
    rows: list[Row] = []
    at_first = target.memory_mib()
    for name in names:
        attack, start = ATTACKS[name], time.monotonic()
        count, seconds = (attack.quick, 4.0) if quick else (attack.full, 70.0)
        before = at_first if quick or not rows else rows[-1].memory_after
        with observe(target) as observation:
            outcomes = attack.run(target, count, seconds)
        alive = target.is_alive()
        after = target.memory_mib(max_memory(before) if quick else 0.0) if alive else 0.0
        rows.append(Row(name, attack.sent.format(count), outcomes, before, after, observation, alive))
        took = time.monotonic() - start
        print(f"{name}: {', '.join(rows[-1].faults()) or 'held'} ({took:.0f} s)", file=sys.stderr, flush=True)
        if not alive:
            break
    return rows


@contextmanager
def target_server(checkpoint: str, folder: Path) -> Iterator[Target]:
    """A server with keys, and a folder for voices; warmed up, so that what it needs once does not count as growth."""
    keys = folder / "keys.yaml"
    key, [port] = add_key(keys, "stranger", ["speak", "voices"]), free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GLMTTS_")}
    environment |= {
        "GLMTTS_CONSUL": "off",
        "GLMTTS_API_KEYS_FILE": str(keys),
        "GLMTTS_VOICES_DIR": str(folder / "voices"),
    }
    environment["GLMTTS_DEFAULT_VOICE"] = BYSTANDER
    environment |= {"GLMTTS_PROPAGATION_DELAY": "0", "GLMTTS_LOG_LEVEL": "error", "GLMTTS_DRAIN_TIMEOUT": "5"}
    (folder / "voices").mkdir()
    processes = Processes(ROOT, folder)
    command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port), "--checkpoint", checkpoint]
    processes.start("server", command, environment)
    try:
        processes.wait("server", f"http://127.0.0.1:{port}/ready", LOAD_TIMEOUT)
        master = processes.running["server"].pid
        worker = int(Path(f"/proc/{master}/task/{master}/children").read_text("ascii").split()[0])
        target = Target(port, worker, key)
        _warm_up(target)
        yield target
    finally:
        processes.stop("server")
        sys.stderr.write((folder / "server.log").read_text("utf-8")[-4000:])


def _warm_up(target: Target) -> None:
    """Uses each slot for a stream, whose memory a CPU takes with the first use, and each way of sending a body."""
    for voice in (BYSTANDER, "mutant"):
        url, files = f"{target.url}/voices/{voice}", {"reference_audio": ("a", recordings.recordings()["wav"])}
        requests.post(url, files=files, headers=target.headers, timeout=120).raise_for_status()
    info = requests.get(f"{target.url}/info", headers=target.headers, timeout=10).json()

    def speak(_: int) -> None:
        body = {"text": "Good morning. " * 20, "voice": BYSTANDER}
        requests.post(f"{target.url}/tts", json=body, headers=target.headers, timeout=120).raise_for_status()

    streams = info["limits"]["max_streams"]
    with ThreadPoolExecutor(streams) as executor:
        list(executor.map(speak, range(streams)))
    with observe(target):
        bodies.attack(target, 64, seed=2)
        bodies.attack_with_large_bodies(target, 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few of each, in a minute and a half")
    parser.add_argument("--checkpoint", default="", help="as for app.py")
    parser.add_argument("--only", default=",".join(ATTACKS), help="attacks, comma-separated (default: all)")
    parser.add_argument("--list", action="store_true", help="name the attacks and exit")
    args = parser.parse_args()
    if unknown := set(args.only.split(",")) - set(ATTACKS):
        parser.error(f"--only: expected {', '.join(ATTACKS)}, got {', '.join(sorted(unknown))}")
    return args


def main() -> None:
    args = parse()
    if args.list:
        print("\n".join(ATTACKS))
        return
    with TemporaryDirectory() as folder, target_server(args.checkpoint, Path(folder)) as target:
        rows = run(target, args.only.split(","), quick=args.quick)
    print(table(rows))
    sys.exit(any(row.faults() for row in rows))


if __name__ == "__main__":
    main()
