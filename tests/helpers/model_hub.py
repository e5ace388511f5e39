"""A model hub on this machine: the part of its protocol that downloads use, and faults."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

REPO = "someone/speech"
COMMIT = "c0ffee" * 6 + "c0de"
LARGE_BYTES = 10_000
"""Files of this size have a sha256 in the list of files, as those in git LFS do."""


@dataclass
class ModelHub:
    """Serves the files in `folder` as `REPO` at `COMMIT`, which `main` stands for.

    `cuts`: how many times the next transfers of a file end half-way. `damaged`: files with a byte changed on the way.
    `stated_bytes`: sizes that the list of files has instead of the true ones. `sent` counts bytes by file.
    """

    folder: Path
    url: str = ""
    cuts: Counter[str] = field(default_factory=Counter)
    damaged: set[str] = field(default_factory=set)
    stated_bytes: dict[str, int] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)

    def entry(self, name: str) -> dict[str, object]:
        """A file in the list of files."""
        data = (self.folder / name).read_bytes()
        size = self.stated_bytes.get(name, len(data))
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        entry: dict[str, object] = {"type": "file", "path": name, "size": size, "oid": blob}
        if len(data) >= LARGE_BYTES:
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 130}
        return entry

    def tree(self) -> list[dict[str, object]]:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [self.entry(file.relative_to(self.folder).as_posix()) for file in files]


@contextmanager
def model_hub(folder: Path) -> Iterator[ModelHub]:
    """A running hub."""
    hub = ModelHub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ModelHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:  # http.server's name
        self._respond()

    def do_GET(self) -> None:  # http.server's name
        self._respond()

    def _respond(self) -> None:
        path = urlsplit(self.path).path
        files = f"/{REPO}/resolve/{COMMIT}/"
        if path in (f"/api/models/{REPO}", f"/api/models/{REPO}/revision/main"):
            self._json({"id": REPO, "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/api/models/{REPO}/tree/{COMMIT}"):
            self._json(self.hub.tree())
        elif path.startswith(files) and (self.hub.folder / path.removeprefix(files)).is_file():
            self._file(path.removeprefix(files))
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound" if REPO in path else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _file(self, name: str) -> None:
        data, entry = (self.hub.folder / name).read_bytes(), self.hub.entry(name)
        if name in self.hub.damaged:
            data = bytes([data[0] ^ 1]) + data[1:]
        lfs, asked = entry.get("lfs"), self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{lfs["oid"] if isinstance(lfs, dict) else entry["oid"]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            self._send(name, data[start:])

    def _send(self, name: str, data: bytes) -> None:
        if self.hub.cuts[name]:
            self.hub.cuts[name] -= 1
            data = data[: len(data) // 2]
            self.close_connection = True
        self.hub.sent[name] += len(data)
        self.wfile.write(data)
