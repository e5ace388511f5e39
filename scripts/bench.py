#!/usr/bin/env python3
"""Measures a server under load over HTTP: time to first audio, RTF, throughput, underruns, CPU, memory.

    scripts/bench.py                                        starts a server on checkpoints/nano and measures it
    scripts/bench.py --url http://a:7860 --compare http://b:7860    measures two running servers in turn
    scripts/bench.py --quick                                one minute, to see that it works

At each level, `concurrency` listeners send streaming requests, each one after the other, up to a fixed number of
requests, after one warm-up request. Prints a table; writes JSON (--json) and a plot (--plot). CPU and memory come from
the server's /metrics.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import requests
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.processes import Processes, free_ports  # noqa: E402  # needs the path above

TEXTS = {
    "short": ("Please come in.", "请进来坐吧。"),
    "medium": (
        "The weather is nice today, so let us walk in the park and talk about the plans for next week.",
        "今天天气很好，我们一起去公园散步，顺便聊一聊下个星期的计划。",
    ),
    "long": (
        "The old man sat by the fire and read his newspaper. Outside, the wind moved the branches of the trees. "
        "His daughter was cooking dinner in the kitchen, and the children were singing in the next room. "
        "Nobody wanted to go out, because the night was cold and the road was long.",
        "老人坐在火炉旁边看报纸。外面的风吹动着树枝。他的女儿正在厨房里准备晚饭，孩子们在隔壁的房间里唱歌。"
        "谁也不想出门，因为夜里很冷，路又很远。",
    ),
}
BYTES_PER_SAMPLE = 2
VOICES = ROOT / "checkpoints" / "nano" / "voices"


@dataclass(frozen=True)
class RequestResult:
    """One streaming request; times in seconds.

    `underrun`: by how much the latest chunk would have missed its time to be played.
    """

    first_audio: float
    total: float
    audio: float
    underrun: float
    status: int


@dataclass(frozen=True)
class Load:
    """The requests of one level: names in TEXTS and of the voice, listeners at a time, requests in all."""

    text: str
    voice: str
    concurrency: int
    requests: int


def stream_once(url: str, body: dict[str, Any], sample_rate: int) -> RequestResult:
    """Sends a streaming request, and computes its underrun for a player that starts with the first chunk."""
    start = time.perf_counter()
    with requests.post(f"{url}/tts/stream", json={**body, "format": "pcm"}, stream=True, timeout=600) as response:
        if response.status_code != 200:
            return RequestResult(0.0, time.perf_counter() - start, 0.0, 0.0, response.status_code)
        first = underrun = audio = 0.0
        for chunk in response.iter_content(None):
            now = time.perf_counter() - start
            first = first or now
            underrun = max(underrun, now - (first + audio))
            audio += len(chunk) / BYTES_PER_SAMPLE / sample_rate
        return RequestResult(first, time.perf_counter() - start, audio, underrun, 200)


def read_metric(url: str, name: str) -> float:
    """The value of a metric without labels from the server's /metrics; NaN if there is none."""
    text = requests.get(f"{url}/metrics", timeout=10).text
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else float("nan")


@contextmanager
def peak_memory(url: str) -> Iterator[Callable[[], float]]:
    """Polls the server's resident memory twice a second; yields a function that returns the peak so far, in MiB."""
    peak, stopped = [0.0], threading.Event()

    def poll() -> None:
        stop = False
        while not stop:  # at least once, and once more at the end
            stop = stopped.wait(0.5)
            peak[0] = max(peak[0], read_metric(url, "process_resident_memory_bytes") / 2**20)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        stopped.set()
        thread.join()


def request_bodies(load: Load, voices: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests of a level: alternating languages, a seed each."""
    return [
        {"text": TEXTS[load.text][i % 2], "seed": i, "timeout": 600, **voices[load.voice]} for i in range(load.requests)
    ]


def measure(url: str, load: Load, voices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures of one level on one server."""
    sample_rate = int(requests.get(f"{url}/info", timeout=10).json()["sample_rates"][0])
    bodies = request_bodies(load, voices)
    stream_once(url, {**bodies[0], "seed": 10**6}, sample_rate)
    cpu = read_metric(url, "process_cpu_seconds_total")
    start = time.perf_counter()
    with peak_memory(url) as memory, ThreadPoolExecutor(load.concurrency) as executor:
        results = list(executor.map(lambda body: stream_once(url, body, sample_rate), bodies))
        wall = time.perf_counter() - start
    cpu = read_metric(url, "process_cpu_seconds_total") - cpu
    ok = [result for result in results if result.status == 200]
    audio = sum(result.audio for result in ok)
    firsts = sorted(result.first_audio for result in ok)
    return {
        "server": url,
        "text": load.text,
        "voice": load.voice,
        "concurrency": load.concurrency,
        "requests": load.requests,
        "rejected": len(results) - len(ok),
        "first_audio_p50": statistics.median(firsts),
        "first_audio_p95": firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))],
        "rtf": statistics.median(result.total / result.audio for result in ok),
        "audio_per_second": audio / wall,
        "max_underrun": max(result.underrun for result in ok),
        "cpu_per_audio": cpu / audio,
        "peak_mib": memory(),
    }


COLUMNS = {
    "server": "{}",
    "text": "{}",
    "voice": "{}",
    "concurrency": "{}",
    "rejected": "{}",
    "first_audio_p50": "{:.3f}",
    "first_audio_p95": "{:.3f}",
    "rtf": "{:.3f}",
    "audio_per_second": "{:.2f}",
    "max_underrun": "{:.3f}",
    "cpu_per_audio": "{:.2f}",
    "peak_mib": "{:.0f}",
}


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a Markdown table; times in seconds."""
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)]
    lines += [[form.format(row[name]) for name, form in COLUMNS.items()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Plots throughput and time to first audio against concurrency; a line for each server, text and voice."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for key in dict.fromkeys((row["server"], row["text"], row["voice"]) for row in rows):
        own = [row for row in rows if (row["server"], row["text"], row["voice"]) == key]
        name = " ".join(key[1:]) + ("" if len({row["server"] for row in rows}) == 1 else f" @ {key[0]}")
        left.plot([r["concurrency"] for r in own], [r["audio_per_second"] for r in own], "o-", label=name)
        right.plot([r["concurrency"] for r in own], [r["first_audio_p50"] for r in own], "o-", label=name)
    left.set(xlabel="concurrent listeners", ylabel="seconds of audio per second", title="throughput")
    right.set(xlabel="concurrent listeners", ylabel="s, median", title="time to first audio")
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(visible=True, alpha=0.3)
    right.legend(fontsize="small")
    figure.savefig(file, dpi=110)


@contextmanager
def server(url: str | None, checkpoint: str, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[str]:
    """The URL of the running server at `url`, or of one that is started for the duration of the block."""
    if url is not None:
        yield url
        return
    with TemporaryDirectory() as logs:
        processes = Processes(ROOT, Path(logs))
        port = free_ports(1)[0]
        flags = ["--host", "127.0.0.1", "--port", str(port), *(["--checkpoint", checkpoint] if checkpoint else [])]
        environment = {
            "GLMTTS_VOICES_DIR": str(VOICES),
            **os.environ,
            "GLMTTS_CONSUL": "off",
            "GLMTTS_PROPAGATION_DELAY": "0",
            **settings,
        }
        processes.start("server", [sys.executable, "app.py", *flags], environment)
        try:
            processes.wait("server", f"http://127.0.0.1:{port}/ready", 300.0)
            yield f"http://127.0.0.1:{port}"
        finally:
            processes.stop("server")


def voice_fields(reference_audio: Path, reference_text: str) -> dict[str, dict[str, Any]]:
    """The request fields of a voice: the default stored one, and one cloned from a recording."""
    encoded = base64.b64encode(reference_audio.read_bytes()).decode()
    return {"stored": {}, "cloned": {"reference_audio": encoded, "reference_text": reference_text}}


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a running server (default: start one)")
    flags.add_argument("--compare", help="a second running server, measured in turn with the first")
    flags.add_argument("--checkpoint", default="", help="of the server to start, as for app.py")
    flags.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    flags.add_argument("--texts", nargs="+", choices=TEXTS, default=list(TEXTS))
    flags.add_argument("--voices", nargs="+", choices=("stored", "cloned"), default=["stored", "cloned"])
    flags.add_argument("--requests", type=int, default=3, help="for each listener (default: %(default)s)")
    flags.add_argument("--reference-audio", type=Path, default=ROOT / "checkpoints/nano/voices/hibari/neutral.flac")
    flags.add_argument("--reference-text", help="its transcript (default: that of voice.json beside it)")
    flags.add_argument("--quick", action="store_true", help="short text, stored voice, 1 and 4 listeners")
    flags.add_argument("--json", type=Path)
    flags.add_argument("--plot", type=Path, help="a PNG; needs matplotlib")
    return flags


def main() -> None:
    args = parser().parse_args()
    if args.quick:
        args.concurrency, args.texts, args.voices, args.requests = [1, 4], ["short"], ["stored"], 1
    audio: Path = args.reference_audio
    voice = json.loads((audio.parent / "voice.json").read_text(encoding="utf-8"))
    voices = voice_fields(audio, args.reference_text or voice["transcripts"][audio.stem])
    levels = [
        Load(text, voice, concurrency, max(args.requests * concurrency, 2 * args.requests))
        for text in args.texts
        for voice in args.voices
        for concurrency in args.concurrency
    ]
    rows = []
    with server(args.url, args.checkpoint) as first:
        for load in tqdm(levels, desc="levels"):
            rows += [measure(url, load, voices) for url in (first, args.compare) if url]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"client's machine: {machine}\n\n{table(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
