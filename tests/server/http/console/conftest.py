"""A real browser on the console of a running server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.helpers.server import Server, recording, store_voice

FLAGS = ("--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
"""The microphone is a device of Chromium's own, which beeps, and permission is given."""
EXPECTED_FAILURES = ("Failed to load resource",)
"""What Chromium writes for a status of 400 and above, which tests ask for."""

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that can store voices."""
    directory = tmp_path_factory.mktemp("voices")
    store_voice(directory, "default", {"neutral": "This is me.", "happy": "Oh, wonderful!"})
    store_voice(directory, "mei", {"neutral": "你好。"}, language="zh")
    with Server("fake:delay=0.02", voices=directory) as server:
        yield server


@pytest.fixture
def open_page(browser: Browser, node: Server) -> Iterator[Open]:
    """Opens the console in a fresh profile; it must write no error, and ask nobody but its own server."""
    errors: list[str] = []
    foreign: list[str] = []
    pages: list[Page] = []

    def log(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED_FAILURES):
            errors.append(message.text)

    def open_page(url: str = node.url, *, ready: bool = True, **context: object) -> Page:
        page = browser.new_context(**{"locale": "en-US", **context}).new_page()  # type: ignore[arg-type]
        pages.append(page)
        page.on("console", log)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "request", lambda request: request.url.startswith((url, "blob:", "data:")) or foreign.append(request.url)
        )
        page.goto(url)
        if ready:
            page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert errors == []
    assert foreign == []


@pytest.fixture
def sound_file(tmp_path: Path) -> Path:
    path = tmp_path / "me.wav"
    path.write_bytes(recording(4.0))
    return path
