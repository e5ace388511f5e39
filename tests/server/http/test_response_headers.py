"""Headers of all responses, and pages of other origins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from server.http.response_headers import register_response_headers
from server.settings import Settings

PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os,x-stainless-retry-count,x-secret",
}


def client(cors_origins: str = "") -> FlaskClient:
    app = Flask(__name__)
    app.add_url_rule("/tts", view_func=lambda: {"a": 1}, methods=["POST"], endpoint="tts")
    app.add_url_rule("/page", view_func=lambda: "<p>Hello", endpoint="page")
    app.add_url_rule("/fails", view_func=lambda: 1 / 0, endpoint="fails")
    app.register_error_handler(Exception, lambda error: Response("no", 500))
    register_response_headers(app, Settings(cors_origins=cors_origins))
    return app.test_client()


@pytest.mark.parametrize("call", [lambda c: c.post("/tts"), lambda c: c.get("/none"), lambda c: c.get("/fails")])
def test_nothing_is_sniffed(call: Callable[[FlaskClient], Response]) -> None:
    answer = call(client())
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not any(name.startswith("Access-Control") for name, _ in answer.headers)


def test_pages_load_nothing_from_elsewhere() -> None:
    """And stand in nobody's frame."""
    policy = client().get("/page").headers["Content-Security-Policy"]
    assert {"default-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert "Content-Security-Policy" not in client().post("/tts").headers


@pytest.mark.parametrize("origin", ["https://a.example", "http://[::1]:3000"])
def test_a_listed_origin_may_call_with_what_clients_send(origin: str) -> None:
    """The openai package sends x-stainless-…; what we do not read is not allowed."""
    app = client("https://a.example, http://[::1]:3000")
    answer = app.options("/tts", headers={"Origin": origin, **PREFLIGHT})
    assert answer.status_code == 200
    assert answer.headers.getlist("Access-Control-Allow-Origin") == [origin]
    assert answer.headers["Vary"] == "Origin"
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert set(allowed) == {"authorization", "content-type", "x-stainless-os", "x-stainless-retry-count"}
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    for response in (app.post("/tts", headers={"Origin": origin}), app.get("/fails", headers={"Origin": origin})):
        assert response.headers.getlist("Access-Control-Allow-Origin") == [origin]
        assert response.headers["Access-Control-Expose-Headers"] == "*"


@pytest.mark.parametrize("origin", ["https://b.example", "https://a.example.evil", "https://xa.example", "null"])
def test_another_origin_may_not(origin: str) -> None:
    app = client("https://a.example")
    for answer in (
        app.options("/tts", headers={"Origin": origin, **PREFLIGHT}),
        app.post("/tts", headers={"Origin": origin}),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_all_origins() -> None:
    answer = client("*").post("/tts", headers={"Origin": "https://any.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
