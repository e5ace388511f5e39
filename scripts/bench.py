#!/usr/bin/env python3
"""What a server does under load, through real HTTP: first audio, real-time factor, throughput, gaps, CPU, memory.

    scripts/bench.py                                        starts a server on checkpoints/nano and measures it
    scripts/bench.py --url http://a:7860 --compare http://b:7860    measures two that run, in turn
    scripts/bench.py --quick                                one minute, to see that it works

Each level keeps `concurrency` listeners busy with streamed requests, one after the other, for a fixed number of
requests; one warm-up request goes first. A table, JSON (--json) and a plot (--plot). Knows nothing about the server but
its HTTP interface; CPU and memory are what its own /metrics says.
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, it does not see its own package

from scripts.processes import Processes, free_ports  # noqa: E402  # the line above comes first

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
class Heard:
    """One request as its listener had it, in seconds. `underrun`: the longest he would have waited in the middle."""

    first: float
    total: float
    audio: float
    underrun: float
    status: int


@dataclass(frozen=True)
class Load:
    """What is asked of a server at one level."""

    text: str
    voice: str
    concurrency: int
    requests: int


def listen(url: str, body: dict[str, Any], rate: int) -> Heard:
    """Asks for a stream of `rate` Hz and plays it in mind: what has come is heard at real time from the first on."""
    began = time.perf_counter()
    with requests.post(f"{url}/tts/stream", json={**body, "format": "pcm"}, stream=True, timeout=600) as answer:
        if answer.status_code != 200:
            return Heard(0.0, time.perf_counter() - began, 0.0, 0.0, answer.status_code)
        first = underrun = audio = 0.0
        for chunk in answer.iter_content(None):
            now = time.perf_counter() - began
            first = first or now
            underrun = max(underrun, now - (first + audio))
            audio += len(chunk) / BYTES_PER_SAMPLE / rate
        return Heard(first, time.perf_counter() - began, audio, underrun, 200)


def gauge(url: str, name: str) -> float:
    """A series without labels of the server's /metrics; NaN when it has none."""
    text = requests.get(f"{url}/metrics", timeout=10).text
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else float("nan")


@contextmanager
def peak_memory(url: str) -> Iterator[Callable[[], float]]:
    """Looks at the server's resident memory twice a second; the function given tells the most so far, in MiB."""
    most, over = [0.0], threading.Event()

    def look() -> None:
        ended = False
        while not ended:  # at least once, and once more at the end
            ended = over.wait(0.5)
            most[0] = max(most[0], gauge(url, "process_resident_memory_bytes") / 2**20)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()


def bodies(load: Load, voices: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests of a level: both languages in turn, each with its own seed."""
    return [
        {"text": TEXTS[load.text][i % 2], "seed": i, "timeout": 600, **voices[load.voice]} for i in range(load.requests)
    ]


def measure(url: str, load: Load, voices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One level against one server."""
    rate = int(requests.get(f"{url}/info", timeout=10).json()["sample_rates"][0])
    asked = bodies(load, voices)
    listen(url, {**asked[0], "seed": 10**6}, rate)
    cpu = gauge(url, "process_cpu_seconds_total")
    began = time.perf_counter()
    with peak_memory(url) as memory, ThreadPoolExecutor(load.concurrency) as listeners:
        heard = list(listeners.map(lambda body: listen(url, body, rate), asked))
        wall = time.perf_counter() - began
    cpu = gauge(url, "process_cpu_seconds_total") - cpu
    good = [one for one in heard if one.status == 200]
    audio = sum(one.audio for one in good)
    firsts = sorted(one.first for one in good)
    return {
        "server": url,
        "text": load.text,
        "voice": load.voice,
        "concurrency": load.concurrency,
        "requests": load.requests,
        "refused": len(heard) - len(good),
        "first_audio_p50": statistics.median(firsts),
        "first_audio_p95": firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))],
        "rtf": statistics.median(one.total / one.audio for one in good),
        "audio_per_second": audio / wall,
        "worst_underrun": max(one.underrun for one in good),
        "cpu_per_audio": cpu / audio,
        "peak_mib": memory(),
    }


COLUMNS = {
    "server": "{}",
    "text": "{}",
    "voice": "{}",
    "concurrency": "{}",
    "refused": "{}",
    "first_audio_p50": "{:.3f}",
    "first_audio_p95": "{:.3f}",
    "rtf": "{:.3f}",
    "audio_per_second": "{:.2f}",
    "worst_underrun": "{:.3f}",
    "cpu_per_audio": "{:.2f}",
    "peak_mib": "{:.0f}",
}


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a Markdown table; times in seconds."""
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)]
    lines += [[form.format(row[name]) for name, form in COLUMNS.items()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Throughput and first audio against concurrency, a line a server, text and voice."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for key in dict.fromkeys((row["server"], row["text"], row["voice"]) for row in rows):
        own = [row for row in rows if (row["server"], row["text"], row["voice"]) == key]
        name = " ".join(key[1:]) + ("" if len({row["server"] for row in rows}) == 1 else f" @ {key[0]}")
        left.plot([r["concurrency"] for r in own], [r["audio_per_second"] for r in own], "o-", label=name)
        right.plot([r["concurrency"] for r in own], [r["first_audio_p50"] for r in own], "o-", label=name)
    left.set(xlabel="listeners at once", ylabel="seconds of audio per second", title="throughput")
    right.set(xlabel="listeners at once", ylabel="s, median", title="first audio")
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(visible=True, alpha=0.3)
    right.legend(fontsize="small")
    figure.savefig(file, dpi=110)


@contextmanager
def server(url: str | None, checkpoint: str) -> Iterator[str]:
    """The server at `url`, or one of our own while the block runs."""
    if url is not None:
        yield url
        return
    with TemporaryDirectory() as logs:
        programs = Processes(ROOT, Path(logs))
        port = free_ports(1)[0]
        flags = ["--host", "127.0.0.1", "--port", str(port), *(["--checkpoint", checkpoint] if checkpoint else [])]
        quiet = {
            "GLMTTS_VOICES_DIR": str(VOICES),
            **os.environ,
            "GLMTTS_CONSUL": "off",
            "GLMTTS_PROPAGATION_DELAY": "0",
        }
        programs.start("server", [sys.executable, "app.py", *flags], quiet)
        try:
            programs.wait("server", f"http://127.0.0.1:{port}/ready", 300.0)
            yield f"http://127.0.0.1:{port}"
        finally:
            programs.stop("server")


def voices(recording: Path, transcript: str) -> dict[str, dict[str, Any]]:
    """What a request says of its voice: the default stored one, and a recording that comes along."""
    encoded = base64.b64encode(recording.read_bytes()).decode()
    return {"stored": {}, "cloned": {"reference_audio": encoded, "reference_text": transcript}}


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--url", help="a server that runs; without it one is started here")
    flags.add_argument("--compare", help="a second server, measured in turn with the first")
    flags.add_argument("--checkpoint", default="", help="of the server that is started")
    flags.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    flags.add_argument("--texts", nargs="+", choices=TEXTS, default=list(TEXTS))
    flags.add_argument("--voices", nargs="+", choices=("stored", "cloned"), default=["stored", "cloned"])
    flags.add_argument("--requests", type=int, default=3, help="for each listener of a level")
    flags.add_argument("--recording", type=Path, default=ROOT / "checkpoints/nano/voices/hibari/neutral.flac")
    flags.add_argument("--transcript", help="what is said in it; default: voice.json beside it")
    flags.add_argument("--quick", action="store_true", help="short text, stored voice, 1 and 4 listeners")
    flags.add_argument("--json", type=Path)
    flags.add_argument("--plot", type=Path, help="a PNG; needs matplotlib")
    return flags


def main() -> None:
    args = parser().parse_args()
    if args.quick:
        args.concurrency, args.texts, args.voices, args.requests = [1, 4], ["short"], ["stored"], 1
    described = json.loads((args.recording.parent / "voice.json").read_text(encoding="utf-8"))
    own = voices(args.recording, args.transcript or described["transcripts"][args.recording.stem])
    levels = [
        Load(text, voice, concurrency, max(args.requests * concurrency, 2 * args.requests))
        for text in args.texts
        for voice in args.voices
        for concurrency in args.concurrency
    ]
    rows = []
    with server(args.url, args.checkpoint) as first:
        for load in tqdm(levels, desc="levels"):
            rows += [measure(url, load, own) for url in (first, args.compare) if url]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"client's machine: {machine}\n\n{table(rows)}")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
