"""deploy/nginx.conf in a real nginx: streams come through as they are made, and a cut one is seen as cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.helpers.server import ROOT, Server, free_port, store_voice, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]

CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    {ours}
}}
"""


@contextmanager
def nginx(folder: Path, server: Server) -> Iterator[str]:
    """nginx with our file in front of a server; yields its URL."""
    port = free_port()
    ours = (ROOT / "deploy/nginx.conf").read_text().replace("127.0.0.1:7860", f"127.0.0.1:{server.port}")
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, ours=ours.replace("listen 8080", f"listen 127.0.0.1:{port}")))
    process = subprocess.Popen(["nginx", "-c", str(config), "-e", str(folder / "errors")])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: (folder / "pid").exists(), "nginx to start")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def test_a_cut_stream_is_seen_through_nginx(tmp_path: Path) -> None:
    """The first sound comes while the rest is being made; then the node dies, and no client takes that for an end."""
    store_voice(tmp_path / "voices", "default", {"neutral": "This is me."})
    with (
        Server("fake:delay=0.05", voices=tmp_path / "voices") as server,
        nginx(tmp_path, server) as url,
        requests.post(url + "/tts/stream", json={"text": "a" * 300}, stream=True, timeout=60) as stream,
    ):
        pieces = stream.iter_content(9600)
        assert next(pieces)[:4] == b"RIFF"
        assert server.metric("glmtts_backlog_seconds") > 1
        os.kill(server.worker(), signal.SIGKILL)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(pieces)
