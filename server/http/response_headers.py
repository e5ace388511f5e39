"""Headers of all responses: what browsers must not do with them, and which other pages may read them (CORS)."""

from __future__ import annotations

import re

from flask import Flask, Response
from flask_cors import CORS

from server.settings import Settings, comma_separated

PAGE_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
"""Content-Security-Policy of a page that sets none: nothing from elsewhere, no inline scripts, in nobody's frame."""
CORS_REQUEST_HEADERS = ("Authorization", "Content-Type", "X-API-Key", "X-Request-Id", re.compile("x-stainless-.*"))
CORS_MAX_AGE = 600
"""Seconds for which a browser need not ask again."""


def register_response_headers(app: Flask, settings: Settings) -> None:
    """Adds the headers to every response of the app, errors included."""
    app.after_request(_set_headers)
    if origins := comma_separated(settings.cors_origins):
        CORS(
            app,
            # As patterns: the extension takes a string with a bracket in it, as in [::1], for one.
            origins="*" if "*" in origins else [re.compile(re.escape(origin) + r"\Z", re.I) for origin in origins],
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers="*",
            max_age=CORS_MAX_AGE,
            send_wildcard=True,
            always_send=False,  # without Origin nobody asks
            intercept_exceptions=False,  # error responses are set like all others
        )


def _set_headers(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        response.headers.setdefault("Referrer-Policy", "no-referrer")
    return response
