#!/usr/bin/env python3
"""Time to first audio over OpenAI's API beside that of /tts/stream, in one run.

    scripts/benchmarks/first_audio.py                  starts a server on checkpoints/nano
    scripts/benchmarks/first_audio.py --url http://host:7860 --rounds 48

In each round the same text is asked for once over each API, in turn, in an order that changes, on a connection of its
own. Prints medians, and the median of the ratios to /tts/stream with its 95 % interval (bootstrap).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.bench import TEXTS, server  # noqa: E402  # needs the path above

BASELINE = "/tts/stream"
SPEECH = {"model": "tts-1", "response_format": "pcm"}
CALLS: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    BASELINE: ("/tts/stream", "text", {"format": "pcm"}),
    "events": ("/v1/audio/speech", "input", {**SPEECH, "stream_format": "sse"}),
    "bare audio": ("/v1/audio/speech", "input", SPEECH),
}
"""Path, name of the text's field and other fields, by name."""


def first_audio(url: str, name: str, text: str, seed: int) -> float:
    """Seconds from the request to the first piece of audio. The rest is read, so that the server is free again."""
    path, field, fields = CALLS[name]
    start = time.perf_counter()
    with requests.post(url + path, json={field: text, "seed": seed, **fields}, stream=True, timeout=600) as response:
        response.raise_for_status()
        pieces = response.iter_content(None)
        if not next(pieces):
            raise RuntimeError(f"{name}: no audio")
        seconds = time.perf_counter() - start
        for _ in pieces:
            pass
    return seconds


def measure(url: str, rounds: int, text: str) -> dict[str, list[float]]:
    """Seconds to first audio of each round, by name, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in CALLS}
    orders = itertools.cycle(itertools.permutations(CALLS))
    for number, order in zip(range(rounds + 1), orders, strict=False):
        for name in order:
            value = first_audio(url, name, TEXTS[text][number % 2], number)
            if number:
                seconds[name].append(value)
    return seconds


def interval(ratios: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """The 95 % interval of the median."""
    samples = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(samples, axis=1), (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a running server (default: start one)")
    flags.add_argument("--checkpoint", default="", help="of the server to start, as for app.py")
    flags.add_argument("--rounds", type=int, default=24)
    flags.add_argument("--text", choices=TEXTS, default="medium")
    args = flags.parse_args()
    with server(args.url, args.checkpoint) as url:
        seconds = measure(url, args.rounds, args.text)
    print("| API | first audio, median | ratio to /tts/stream, median | 95 % interval |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratios = np.array(values) / np.array(seconds[BASELINE])
        low, high = interval(ratios)
        print(f"| {name} | {1000 * np.median(values):.0f} ms | {np.median(ratios):.3f} | {low:.3f} – {high:.3f} |")


if __name__ == "__main__":
    main()
