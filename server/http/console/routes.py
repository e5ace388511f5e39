"""The routes of the console: the page at / and its files."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from flask import Blueprint, Response, send_from_directory

from server.http.access import needs

STATIC = Path(__file__).parent / "static"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

mimetypes.add_type("text/javascript", ".js")  # the system's table may say otherwise, and browsers then refuse modules


def make_console_routes() -> Blueprint:
    """The console as a blueprint. It may be seen by everyone: it says nothing about this server."""
    console = Blueprint("console", __name__)
    console.add_url_rule("/", "page", needs("public", lambda: _file("index.html")), methods=["GET"])
    console.add_url_rule("/console/<path:name>", "file", needs("public", lambda name: _file(name)), methods=["GET"])
    return console


def _file(name: str) -> Response:
    response = send_from_directory(STATIC, name, conditional=True)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response
