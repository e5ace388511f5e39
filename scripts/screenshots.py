#!/usr/bin/env python3
"""Takes the documentation's pictures of the console, in a cluster of two nodes on this machine, and times the page.

    scripts/screenshots.py --to docs/images
    scripts/screenshots.py --to /tmp/images --checkpoint fake:

Needs Chromium and, for Chinese text, a font that has it (Debian: chromium, fonts-wqy-zenhei). Prints how long the page
and the first sound took, in medians of three.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
TEXT = "The children are singing happily on the playground. 今天天气很好，我们一起去公园散步吧。"
TRIALS = 3
TIMEOUT = 120_000
"""ms."""
DESK, PHONE = {"width": 1200, "height": 860}, {"width": 390, "height": 844}


@contextmanager
def cluster(checkpoint: str, port: int) -> Iterator[list[str]]:
    """The addresses of two nodes."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-u", str(ROOT / "scripts/cluster.py"), "--state", state, "up", "--nodes", "2"]
        command += ["--port", str(port), "--consul-port", "0", "--no-prometheus", "--regions", "north,south"]
        command += ["--checkpoint", checkpoint] if checkpoint else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        try:
            if not any("cluster: ready" in line for line in process.stdout):
                raise SystemExit("screenshots: expected a cluster that starts, got one that ended")
            yield [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"]
        finally:
            process.terminate()
            process.wait(120)


def open_console(browser: Browser, url: str, *, scheme: str = "light", phone: bool = False) -> Page:
    """The page, filled, in a fresh profile."""
    page = browser.new_context(
        viewport=PHONE if phone else DESK,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="en-US",
        device_scale_factor=2 if phone else 1,
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


def take(browser: Browser, urls: list[str], folder: Path) -> None:
    """Writes speak, voices, cluster, phone and dark."""

    def shoot(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    page = open_console(browser, urls[0])
    speak(page, TEXT)
    page.wait_for_timeout(1500)  # so that some of it is heard
    shoot(page, "speak")
    page.click("#tab-voices")
    shoot(page, "voices")
    page.click("#tab-cluster")
    expect(page.locator("#node-rows tr")).to_have_count(len(urls))
    shoot(page, "cluster")
    for name, scheme, phone in (("phone", "light", True), ("dark", "dark", False)):
        page = open_console(browser, urls[0], scheme=scheme, phone=phone)
        speak(page, TEXT)
        page.click("#show-pronunciation")
        page.wait_for_selector(".readings")
        shoot(page, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--checkpoint", default="", help="as app.py's; `fake:` plays tones")
    parser.add_argument("--port", type=int, default=7900, help="of the first node (default: %(default)s)")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    with cluster(args.checkpoint, args.port) as urls, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        print(time_page(browser, urls[0]))
        take(browser, urls, args.to)
        browser.close()


if __name__ == "__main__":
    main()
