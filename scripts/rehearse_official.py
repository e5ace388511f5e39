#!/usr/bin/env python3
"""Rehearses the published checkpoint: writes its stand-in, serves it by `app.py`, and speaks in a stored voice.

    scripts/rehearse_official.py                 the published size: 6 GB of disk, 10 GB of memory, minutes
    scripts/rehearse_official.py --quick         narrow, within a minute
    scripts/rehearse_official.py --checkpoint D  an existing folder, which may be the published checkpoint itself

Prints a table of seconds and peak memory by part. Random weights hardly ever end: each answer has its text's maximum.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import soundfile
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from glmtts.checkpoint.verify_parts import read_tensors  # noqa: E402  # needs the path above
from scripts.endurance.footprint import worker_of  # noqa: E402
from scripts.processes import Processes, free_ports  # noqa: E402
from scripts.standin.sizes import PUBLISHED, QUICK  # noqa: E402
from scripts.standin.write import write_standin  # noqa: E402

VOICE = "speaker"
RECORDING = ROOT / "checkpoints" / "nano" / "voices" / "hibari" / "neutral.flac"
TRANSCRIPT = "He sat on the floor cross-legged and meditated."
ROUTES: dict[str, dict[str, Any]] = {
    "/tts": {"seed": 1},
    "/tts/stream": {"seed": 1, "format": "wav"},
    "/v1/audio/speech": {"response_format": "wav"},
}
"""What is asked of each but text and voice."""
READY_TIMEOUT, ANSWER_TIMEOUT = 1200.0, 1200.0


@dataclass
class Table:
    """Prints a row for each part: its seconds, the server's peak memory so far, and what came of it."""

    worker: int | None = None

    def __post_init__(self) -> None:
        print("| part | seconds | peak memory | result |\n|---|---|---|---|", flush=True)

    def row(self, part: str, seconds: float, result: str) -> None:
        peak = f"{peak_bytes(self.worker) / 1e9:.2f} GB" if self.worker is not None else ""
        print(f"| {part} | {seconds:.1f} | {peak} | {result} |", flush=True)


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def server(checkpoint: Path, device: str, folder: Path, table: Table) -> Iterator[str]:
    """The URL of `app.py` on the checkpoint; rows for its start. Its log and voices are in `folder`."""
    processes, port = Processes(ROOT, folder), free_ports(1)[0]
    environment = {
        **os.environ,
        "GLMTTS_CONSUL": "off",
        "GLMTTS_PROPAGATION_DELAY": "0",
        "GLMTTS_VOICES_DIR": str(folder / "voices"),
        "GLMTTS_STALL_TIMEOUT": str(ANSWER_TIMEOUT),
    }
    flags = ["--port", str(port), "--checkpoint", str(checkpoint), "--device", device]
    start, url = time.monotonic(), f"http://127.0.0.1:{port}"
    processes.start("server", [sys.executable, "app.py", *flags], environment)
    try:
        processes.wait("server", f"{url}/ready", READY_TIMEOUT)
        seconds = time.monotonic() - start
        table.worker = worker_of(processes.running["server"].pid)
        for line in (folder / "server.log").read_text(encoding="utf-8").splitlines():
            for part, part_seconds in json.loads(line).get("seconds_by_part", {}).items():
                table.row(f"of the start: {part}", part_seconds, "")
        table.row("start to ready", seconds, json.dumps(requests.get(f"{url}/info", timeout=60).json()["limits"]))
        yield url
    finally:
        processes.stop("server")


def store_voice(url: str) -> str:
    """Stores the recording under VOICE; what the server says of it."""
    body = {"reference_text": TRANSCRIPT, "language": "en"}
    with RECORDING.open("rb") as recording:
        answer = requests.post(
            f"{url}/voices/{VOICE}", data=body, files={"reference_audio": recording}, timeout=ANSWER_TIMEOUT
        )
    check(answer)
    return f"prompted: {answer.json()['prompted']}"


def speak(url: str, route: str, text: str) -> tuple[float, float]:
    """Seconds until the first byte of audio, and seconds of audio."""
    body = {"input" if route.startswith("/v1") else "text": text, "voice": VOICE, **ROUTES[route]}
    start = time.monotonic()
    with requests.post(url + route, json=body, timeout=ANSWER_TIMEOUT, stream=True) as answer:
        check(answer)
        chunks = answer.iter_content(None)
        first = next(chunks)
        first_seconds = time.monotonic() - start
        data = first + b"".join(chunks)
    wave, rate = soundfile.read(io.BytesIO(data))
    return first_seconds, len(wave) / rate


def check(answer: requests.Response) -> None:
    """Exits with the server's own words if it refused."""
    if answer.status_code not in (200, 201):
        sys.exit(f"{answer.request.path_url}: {answer.status_code}: {answer.text}")


def serve_and_speak(checkpoint: Path, options: argparse.Namespace, folder: Path, table: Table) -> float:
    """Seconds of audio by all routes."""
    audio_seconds = 0.0
    with server(checkpoint, options.device, folder, table) as url:
        start = time.monotonic()
        result = store_voice(url)
        table.row(f"POST /voices/{VOICE}", time.monotonic() - start, result)
        for route in ROUTES:
            start = time.monotonic()
            first, seconds = speak(url, route, options.text)
            table.row(route, time.monotonic() - start, f"{seconds:.2f} s of audio, the first after {first:.1f} s")
            audio_seconds += seconds
    return audio_seconds


def count_parameters(checkpoint: Path) -> int:
    """The numbers of all tensors in the checkpoint's files."""
    with torch.device("meta"):
        return sum(tensor.numel() for state in read_tensors(checkpoint).values() for tensor in state.values())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--quick", action="store_true", help="a narrow stand-in")
    flags.add_argument("--checkpoint", type=Path, help="this folder instead of a stand-in")
    flags.add_argument("--device", default="auto", help="of the server: auto, cpu, cuda, … (default: auto)")
    flags.add_argument("--text", default="Hello.", help="default: %(default)s")
    flags.add_argument("--folder", type=Path, help="where a temporary folder is made (default: the system's)")
    return flags.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    table = Table()
    with TemporaryDirectory(dir=options.folder, prefix="standin-") as temporary:
        checkpoint: Path = options.checkpoint or Path(temporary) / "standin"
        if options.checkpoint is None:
            start = time.monotonic()
            write_standin(checkpoint, QUICK if options.quick else PUBLISHED)
            table.row("write the stand-in", time.monotonic() - start, "")
        parameters = count_parameters(checkpoint)
        size_bytes = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
        audio_seconds = serve_and_speak(checkpoint, options, Path(temporary), table)
    routes = ", ".join(ROUTES)
    print(f"rehearsed: {parameters} parameters, {size_bytes} bytes, {audio_seconds:.1f} s of audio by {routes}")


if __name__ == "__main__":
    main()
