"""A page in a real, headless Chromium."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
NO_FILES: Mapping[str, bytes] = {}


def run_in_chromium(
    page: str, names: Collection[str], profile: Path, files: Mapping[str, bytes] = NO_FILES, *, seconds: float = 90
) -> dict[str, bytes]:
    """Opens `page`, which may get `files` by name, and returns what it posts, once it has posted all `names`."""
    posted: dict[str, bytes] = {}
    complete = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path[1:]
            self._respond(
                200,
                files.get(name, b"") if name else page.encode(),
                "application/octet-stream" if name else "text/html",
            )

        def do_POST(self) -> None:
            posted[self.path[1:]] = self.rfile.read(int(self.headers["Content-Length"]))
            self._respond(204)
            if posted.keys() >= set(names):
                complete.set()

        def _respond(self, status: int, body: bytes = b"", content_type: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        url = f"http://127.0.0.1:{server.server_port}/"
        process = subprocess.Popen(["chromium", *flags, f"--user-data-dir={profile}", url], stderr=subprocess.DEVNULL)
        try:
            assert complete.wait(seconds), f"Chromium posted {sorted(posted)} only"
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    return posted
