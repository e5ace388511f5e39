"""deploy/nginx.conf with a real nginx: what is cut is seen as cut, and audio passes while it is being made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.processes import free_ports
from tests.helpers.server import ROOT, Server, store_voice, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx"),
]
CONFIG = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")


class Proxy:
    """nginx in front of one server."""

    def __init__(self, folder: Path, server: Server) -> None:
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        (folder / "site.conf").write_text(
            CONFIG.replace("127.0.0.1:7860", f"127.0.0.1:{server.port}").replace(
                "listen 8080", f"listen 127.0.0.1:{port}"
            )
        )
        temporary = " ".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
        )
        self.process = subprocess.Popen(["nginx", "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf"])
        wait_until(self._listens, "nginx")

    def _listens(self) -> bool:
        try:
            return requests.get(self.url + "/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    store_voice(tmp_path / "voices", "default", {"neutral": "Hello."})
    with Server(voices=tmp_path / "voices") as running:
        yield running


@pytest.fixture
def proxy(tmp_path: Path, server: Server) -> Iterator[Proxy]:
    running = Proxy(tmp_path, server)
    yield running
    running.stop()


def test_a_cut_stream_is_seen_as_cut(server: Server, proxy: Proxy) -> None:
    """The first sound passes before the rest is made; when the node is killed, the client gets an error."""
    whole = requests.post(proxy.url + "/tts/stream", json={"text": "Hello.", "format": "mp3"}, timeout=60)
    assert whole.headers["Content-Type"] == "audio/mpeg"
    assert len(whole.content) > 1000
    body = {"text": "Hello there. " * 300}
    with requests.post(proxy.url + "/tts/stream", json=body, stream=True, timeout=60) as answer:
        pieces = answer.iter_content(9600)
        assert next(pieces)[:4] == b"RIFF"
        assert server.metric("glmtts_backlog_seconds") > 1
        os.kill(server.worker(), signal.SIGKILL)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(pieces)
