#!/usr/bin/env python3
"""Takes the documentation's pictures of the console, in a cluster of three nodes on this machine, and times the page.

    scripts/screenshots.py --to docs/images
    scripts/screenshots.py --to /tmp/images --checkpoint fake:

Needs Chromium and, for Chinese text, a font that has it (Debian: chromium, fonts-wqy-zenhei). Prints how long the page
and the first sound took, in medians of three.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import requests
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run directly

from scripts.cluster import HOST, started  # noqa: E402  # needs the path above

TEXT = "The children are singing happily on the playground. 今天天气很好，我们一起去公园散步吧。"
CHINESE = "今天天气很好，我们一起去公园散步吧。路上遇到了一位老朋友。"
LONG = "It rained a little this morning. After breakfast we went for a walk in the park. " * 8
SAMPLE = ROOT / "checkpoints/nano/voices/hibari/calm.flac"
SAMPLE_TEXT = "The national mood had changed radically since the last election."
TRIALS = 3
TIMEOUT = 120_000
"""ms."""
DESK: ViewportSize = {"width": 1200, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
LOW: ViewportSize = {"width": 1200, "height": 620}
"""Of a page that has little."""


class Cluster(NamedTuple):
    """`urls` of its nodes, and of Consul."""

    urls: list[str]
    consul: str


@contextmanager
def cluster(checkpoint: str, port: int) -> Iterator[Cluster]:
    """Three nodes, each of which can store voices."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        state = Path(folder)
        os.environ.setdefault("GLMTTS_VOICES_DIR", str(state / "voices"))
        flags = ["--nodes", "3", "--port", str(port), "--consul-port", "0", "--prometheus-port", "0"]
        flags += ["--no-prometheus", "--regions", "north,south", *(["--checkpoint", checkpoint] if checkpoint else [])]
        with redirect_stdout(sys.stderr):  # the cluster's addresses: stdout is for the times of the page
            running = stack.enter_context(started(state, *flags))
        nodes = sorted(running["nodes"])  # as the page lists them
        yield Cluster([f"http://{HOST}:{node}" for node in nodes], f"http://{HOST}:{running['consul']}")


def store_voice(url: str) -> None:
    """So that the list has a voice that can be deleted."""
    body = {"reference_audio": base64.b64encode(SAMPLE.read_bytes()).decode(), "reference_text": SAMPLE_TEXT}
    requests.post(f"{url}/voices/anna", json=body, timeout=60).raise_for_status()


def maintain(cluster: Cluster) -> None:
    """Takes the last node out of discovery, as an operator does."""
    service = requests.get(f"{cluster.urls[-1]}/cluster", timeout=30).json()["node"]
    query = {"enable": "true", "reason": "kernel update"}
    url = f"{cluster.consul}/v1/agent/service/maintenance/{service}"
    requests.put(url, params=query, timeout=30).raise_for_status()


@contextmanager
def listeners(urls: list[str]) -> Iterator[None]:
    """One at each address, to a long text again and again: curl repeats it for each number, which it does not send."""
    request = ["-H", "Content-Type: application/json", "-d", json.dumps({"text": LONG}), "-o", os.devnull]
    processes = [subprocess.Popen(["curl", "-sN", f"{url}/tts/stream#[1-1000]", *request]) for url in urls]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def open_console(browser: Browser, url: str, *, scheme: str = "light", phone: bool = False) -> Page:
    """The page, filled, in a fresh profile; on a phone in Chinese."""
    page = browser.new_context(
        viewport=PHONE if phone else DESK,
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="zh-CN" if phone else "en-US",
        device_scale_factor=2 if phone else 1.5,
    ).new_page()
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    return page


def speak(page: Page, text: str) -> float:
    """Lets the page speak to its end; the seconds until the first sound."""
    page.fill("#text", text)
    page.click("#play")
    expect(page.locator("#rtf")).not_to_have_text("–", timeout=TIMEOUT)
    shown = (page.text_content("#first-audio") or "").split()
    return float(shown[0]) / (1000 if shown[1] == "ms" else 1)


def speak_into(page: Page, text: str) -> None:
    """Lets the page speak until its last sentence is heard."""
    page.fill("#text", text)
    page.click("#play")
    last = page.locator("#sentences span:last-child")
    expect(last).to_contain_text(text[-8:-1], timeout=TIMEOUT)
    expect(last).to_have_class("spoken", timeout=TIMEOUT)


def time_page(browser: Browser, url: str) -> str:
    """How long the page takes to be ready, and a sentence to be heard, in medians."""
    ready, first = [], []
    for _ in range(TRIALS):
        start = time.monotonic()
        page = open_console(browser, url)
        ready.append(time.monotonic() - start)
        first.append(speak(page, "Good morning, everyone."))
        page.context.close()
    return f"page ready {statistics.median(ready):.2f} s, first sound {statistics.median(first):.2f} s"


def take(browser: Browser, cluster: Cluster, folder: Path) -> None:
    """Writes speak, voices, cluster, phone and dark."""
    url = cluster.urls[0]

    def shoot(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    page = open_console(browser, url)
    speak_into(page, TEXT)
    shoot(page, "speak")
    page.click("#tab-voices")
    page.set_input_files("#voice-file", SAMPLE)
    page.wait_for_selector("#voice-checks li")
    page.fill("#voice-transcript", SAMPLE_TEXT)
    page.fill("#voice-name", "hannah")
    page.fill("#voice-consent", "Hannah, by e-mail")
    page.locator("#voice-consent").blur()
    shoot(page, "voices")
    maintain(cluster)
    with listeners([*cluster.urls[:2], url]):
        page.click("#tab-cluster")
        expect(page.locator("#nodes .passing")).to_have_count(len(cluster.urls) - 1)
        expect(page.locator("#nodes li").first).not_to_contain_text("0 running", timeout=TIMEOUT)
        page.set_viewport_size(LOW)
        shoot(page, "cluster")
    page = open_console(browser, url, phone=True)
    speak_into(page, CHINESE)
    shoot(page, "phone")
    page = open_console(browser, url, scheme="dark")
    speak(page, TEXT)
    page.click("#show-pronunciation")
    page.wait_for_selector(".readings")
    shoot(page, "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--checkpoint", default="", help="as app.py's; `fake:` plays tones")
    parser.add_argument(
        "--port", type=int, default=7900, help="of the first node (default: %(default)s); 0: any free ones"
    )
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    with cluster(args.checkpoint, args.port) as nodes, sync_playwright() as playwright:
        store_voice(nodes.urls[0])
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        print(time_page(browser, nodes.urls[0]))
        take(browser, nodes, args.to)
        browser.close()


if __name__ == "__main__":
    main()
