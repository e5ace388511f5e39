"""GET /openapi.json, and GET /docs, a page that shows it without anything from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, jsonify
from werkzeug.exceptions import NotFound

from server.http.access import AccessControl, needs
from server.http.docs.document import make_document
from server.http.response_headers import PAGE_POLICY

READER = Path(__file__).parent / "reader"
"""RapiDoc 9.3.8 (MIT), compressed as its npm package has it, and our page."""
FILES = {"rapidoc-min.js": "rapidoc-min.js.gz", "page.js": "page.js"}
"""Files by the name under /docs/. The page may be seen by everyone: it says nothing about this server."""
POLICY = f"{PAGE_POLICY}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; media-src 'self' blob:"
"""RapiDoc has styles in attributes, pictures in its code, and plays the audio of a trial call."""
MAX_AGE = 86400
"""Seconds for which browsers may keep the files."""


def make_docs_routes(app: Flask, access: AccessControl) -> Blueprint:
    """The pages as a blueprint. They describe the routes that `app` has at the first request."""
    docs = Blueprint("docs", __name__)

    @cache
    def document() -> dict[str, Any]:
        return make_document(app, keys=access.keys is not None) | {"x-trial-calls": not access.only_speech}

    def add(rule: str, name: str, view: Any) -> None:
        docs.add_url_rule(rule, name, view, methods=["GET"])

    add("/openapi.json", "openapi", needs("speak", lambda: jsonify(document())))
    add("/docs", "page", needs("public", _page))
    add("/docs/<name>", "file", needs("public", _file))
    return docs


def _page() -> Response:
    response = Response((READER / "index.html").read_bytes(), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    return response


def _file(name: str) -> Response:
    if name not in FILES:
        raise NotFound
    path = READER / FILES[name]
    headers = {"Cache-Control": f"max-age={MAX_AGE}"} | ({"Content-Encoding": "gzip"} if path.suffix == ".gz" else {})
    return Response(path.read_bytes(), content_type="text/javascript; charset=utf-8", headers=headers)
