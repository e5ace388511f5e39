"""The routes of the console: the page at /, its files, and the cluster as JSON."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, send_from_directory

from server.http.access import needs

STATIC = Path(__file__).parent / "static"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

mimetypes.add_type("text/javascript", ".js")  # the system's table may say otherwise, and browsers then refuse modules


def make_console_routes(cluster_snapshot: Callable[[], dict[str, Any]]) -> Blueprint:
    """The console as a blueprint. `cluster_snapshot`: see ClusterView."""
    console = Blueprint("console", __name__)
    console.add_url_rule("/", "page", needs("public", lambda: _file("index.html")), methods=["GET"])
    console.add_url_rule("/console/<path:name>", "file", needs("public", lambda name: _file(name)), methods=["GET"])
    console.add_url_rule("/cluster", "cluster", needs("speak", lambda: cluster_snapshot()), methods=["GET"])
    return console


def _file(name: str) -> Response:
    response = send_from_directory(STATIC, name, conditional=True)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response
