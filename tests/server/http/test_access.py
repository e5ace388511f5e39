"""Who may call what: with API keys, without them, and from web pages of others. The real app, without a socket."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from glmtts.engine.runtime.fake import FakeEngine
from server.http.access import Need, need_of, needs
from server.http.lifecycle import register_access
from server.keys.__main__ import add_key
from server.settings import Settings
from server.wsgi.app import make_context
from tests.helpers.app import MakeClient
from tests.helpers.server import ROOT, recording


def code(answer: TestResponse) -> tuple[int, str | None]:
    """The status, and the code of an error."""
    return answer.status_code, answer.json["error"]["code"] if answer.is_json and "error" in answer.json else None


def enrol(client: FlaskClient, **headers: str) -> TestResponse:
    data = {"reference_audio": (io.BytesIO(recording()), "a.wav")}
    return client.post("/voices/new", data=data, headers={name.replace("_", "-"): headers[name] for name in headers})


def test_who_agreed_to_a_voice_is_for_those_who_may_store_voices(client: MakeClient, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    speaker = {"Authorization": f"Bearer {add_key(keys, 'speaker', ['speak'])}"}
    keeper = {"Authorization": f"Bearer {add_key(keys, 'keeper', ['speak', 'voices'])}"}
    app = client(api_keys_file=keys)
    data = {"reference_audio": (io.BytesIO(recording()), "a.wav"), "consent": "Bob, by letter"}
    assert app.post("/voices/bob", data=data, headers=keeper).status_code == 201
    shown = [app.get("/voices/bob", headers=headers).json["recordings"]["neutral"] for headers in (speaker, keeper)]
    assert [entry.get("consent") for entry in shown] == [None, "Bob, by letter"]
    assert all(entry["created_at"] for entry in shown)


def test_the_list_of_voices_says_why_none_can_be_stored(client: MakeClient, tmp_path: Path) -> None:
    """With the code of the error that storing one gets, so that nobody records for nothing."""
    keys = tmp_path / "keys.yaml"
    speaker = {"Authorization": f"Bearer {add_key(keys, 'speaker', ['speak'])}"}
    keeper = {"Authorization": f"Bearer {add_key(keys, 'keeper', ['speak', 'voices'])}"}
    for settings, headers, expected in (
        ({}, {}, None),
        ({"api_keys_file": keys}, keeper, None),
        ({"api_keys_file": keys}, speaker, "insufficient_scope"),
        ({"host": "0.0.0.0"}, {}, "keys_required"),
        ({"voices_dir": None}, {}, "voices_read_only"),
    ):
        app = client(**settings)
        assert app.get("/voices", headers=headers).json["closed"] == expected
        assert code(enrol(app, **headers))[1] == expected


def test_each_route_needs_its_scope(client: MakeClient, tmp_path: Path) -> None:
    """A key with another one gets 403, and the scope is named."""
    keys = tmp_path / "keys.yaml"
    bearer = {
        scope: {"Authorization": f"Bearer {add_key(keys, scope, [scope])}"} for scope in ("speak", "voices", "admin")
    }
    app = client(api_keys_file=keys)
    calls: list[tuple[str, str, str]] = [
        ("speak", "GET", "/voices"),
        ("speak", "GET", "/info"),
        ("speak", "POST", "/tts"),
        ("speak", "POST", "/segments"),
        ("speak", "GET", "/requests/x"),
        ("voices", "DELETE", "/voices/none"),
        ("voices", "POST", "/voices/new"),
        ("admin", "POST", "/admin/drain"),
    ]
    for needed, method, path in calls:
        for scope, headers in bearer.items():
            if scope != needed:
                answer = app.open(path, method=method, headers=headers)
                assert code(answer) == (403, "insufficient_scope"), (path, scope)
                assert needed in answer.json["error"]["message"]
            elif path != "/admin/drain":
                assert app.open(path, method=method, headers=headers).status_code not in (401, 403), path
        assert code(app.open(path, method=method)) == (401, "missing_api_key")


def test_a_key_sees_its_own_requests_alone(client: MakeClient, tmp_path: Path) -> None:
    """Another's is unknown to it, even with its id; a key with admin sees all."""
    keys = tmp_path / "keys.yaml"
    anna, ben, both = (
        {"X-API-Key": add_key(keys, name, scopes)}
        for name, scopes in (("anna", ["speak"]), ("ben", ["speak"]), ("operator", ["speak", "admin"]))
    )
    app = client(api_keys_file=keys)
    path = "/requests/" + app.post("/tts", json={"text": "Hello."}, headers=anna).headers["X-Request-Id"]
    assert code(app.get(path, headers=ben)) == (404, "unknown_request")
    for headers in (anna, both):
        record = app.get(path, headers=headers).json
        assert (record["key"], record["characters"]) == ("anna", 6)
        assert record["continuation"]


def test_limits_of_a_key(client: MakeClient, tmp_path: Path) -> None:
    """In flight from its start to the end of its response; characters of what is spoken."""
    keys = tmp_path / "keys.yaml"
    one = {"X-API-Key": add_key(keys, "one", ["speak"], concurrent=1)}
    few = {"X-API-Key": add_key(keys, "few", ["speak"], characters=10)}
    app, body = client(api_keys_file=keys), {"text": "Hello."}
    running = app.post("/tts/stream", json=body, headers=one, buffered=False)
    refused = app.post("/tts", json=body, headers=one)
    assert (*code(refused), refused.headers["Retry-After"]) == (429, "rate_limit_exceeded", "1")
    assert app.get("/voices", headers=one).status_code == 200
    running.close()
    assert app.post("/tts", json={"text": ""}, headers=one, buffered=True).status_code == 400
    assert app.post("/tts", json=body, headers=one, buffered=True).status_code == 200
    assert app.post("/tts", json=body, headers=few).status_code == 200
    refused = app.post("/tts", json=body, headers=few)
    assert code(refused) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_a_batch_takes_what_its_key_may(client: MakeClient, tmp_path: Path) -> None:
    """Its items are in flight, one by one if the key may have one; they count as characters, and are the key's."""
    keys = tmp_path / "keys.yaml"
    one = {"X-API-Key": add_key(keys, "one", ["speak"], concurrent=1)}
    few = {"X-API-Key": add_key(keys, "few", ["speak"], characters=10)}
    app, body = client(api_keys_file=keys), {"items": [{"input": "Hello."}] * 3, "response_format": "wav"}
    for headers, expected in ((one, 3), (few, 1), (one, 3)):
        assert app.post("/v1/audio/speech/batch", json=body, headers=headers).json["succeeded"] == expected


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/tts-1", "/v1/audio/models", "/v1/audio/voices"])
def test_names_need_no_key_unless_a_setting_says_so(client: MakeClient, tmp_path: Path, path: str) -> None:
    """Some programs read them without one, or with an empty one."""
    keys = tmp_path / "keys.yaml"
    speak = {"Authorization": f"Bearer {add_key(keys, 'a', ['speak'])}"}
    for headers in ({}, {"Authorization": "Bearer "}):
        assert client(api_keys_file=keys).get(path, headers=headers).status_code == 200
        closed = client(api_keys_file=keys, protect_names=True)
        assert code(closed.get(path, headers=headers)) == (401, "missing_api_key")
        assert closed.get(path, headers=speak).status_code == 200


def test_errors_of_keys_have_the_shape_of_openai(client: MakeClient, tmp_path: Path) -> None:
    """An empty bearer is no key; each kind of refusal has its type, and only a full limit may be tried again."""
    keys = tmp_path / "keys.yaml"
    voices = {"Authorization": f"Bearer {add_key(keys, 'v', ['voices'])}"}
    few = {"Authorization": f"Bearer {add_key(keys, 'f', ['speak'], characters=6)}"}
    app, empty, wrong = client(api_keys_file=keys), {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}
    assert app.post("/v1/audio/speech", json={"input": "Hello."}, headers=few, buffered=True).status_code == 200
    for headers, status, kind, name in (
        (empty, 401, "authentication_error", "missing_api_key"),
        (wrong, 401, "authentication_error", "invalid_api_key"),
        (voices, 403, "permission_error", "insufficient_scope"),
        (few, 429, "rate_limit_error", "rate_limit_exceeded"),
    ):
        answer = app.post("/v1/audio/speech", json={"input": "Hello."}, headers=headers)
        error = answer.json["error"]
        assert (answer.status_code, error["type"], error["code"], error["param"]) == (status, kind, name, None)
        assert ("Retry-After" in answer.headers) == (status == 429) == ("X-Should-Retry" not in answer.headers)


def test_without_keys_beyond_loopback_only_speaking_is_open(
    client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """And one line of the log says how to open the rest."""
    app = client(host="0.0.0.0")
    assert app.post("/tts", json={"text": "Hello."}).status_code == 200
    assert code(enrol(app)) == (403, "keys_required")
    assert code(app.delete("/voices/default")) == (403, "keys_required")
    assert code(app.post("/admin/drain")) == (403, "keys_required")
    assert [line.levelname for line in caplog.records if "python -m server.keys new" in line.message] == ["WARNING"]


def test_without_keys_on_loopback_voices_are_open(client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    assert enrol(client()).status_code == 201
    assert not any("API KEYS" in line.message for line in caplog.records)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_pages_of_others_cannot_use_a_server_without_keys(client: MakeClient, host: str) -> None:
    """Neither with a form that needs no preflight, nor with DNS rebinding."""
    app = client(host=host)
    assert code(enrol(app, Host="127.0.0.1:7860", Origin="https://evil.example")) == (403, "origin_not_allowed")
    assert code(enrol(app, Host="127.0.0.1:7860", Origin="null")) == (403, "origin_not_allowed")
    assert code(enrol(app, Host="127.0.0.1:7860", Origin="http://127.0.0.1:80")) == (403, "origin_not_allowed")
    for name in (
        "evil.example:7860",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a@b.example",
    ):
        assert code(enrol(app, Host=name, Origin=f"http://{name}")) == (403, "host_not_allowed"), name
        assert app.get("/health", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:7860", "[::1]:7860", "10.1.2.3", "localhost:7860", "glmtts:7860", "glm-tts.service.consul", "a.local"],
)
def test_own_names_are_served(client: MakeClient, host: str) -> None:
    """Addresses and names that nobody can register; a page of this server's own may call it."""
    app = client()
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        assert app.get("/voices", headers=headers).status_code == 200


def test_public_names_are_a_setting(client: MakeClient) -> None:
    app = client(allowed_hosts="tts.example.com, .glm.example")
    for host, status in (
        ("tts.example.com", 200),
        ("TTS.example.com:443", 200),
        ("a.glm.example", 200),
        ("b.example", 403),
    ):
        assert app.get("/voices", headers={"Host": host}).status_code == status, host
    assert client(allowed_hosts="*").get("/voices", headers={"Host": "any.example"}).status_code == 200


def test_with_keys_host_and_origin_are_free(client: MakeClient, tmp_path: Path) -> None:
    """The key is the lock: no page of others has it."""
    keys = tmp_path / "keys.yaml"
    headers = {"X-API-Key": add_key(keys, "a", ["speak"]), "Host": "tts.example.com", "Origin": "https://x.example"}
    assert client(api_keys_file=keys).get("/voices", headers=headers).status_code == 200


def test_metrics_can_need_a_key(client: MakeClient, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    headers = {"X-API-Key": add_key(keys, "prometheus", ["admin"])}
    app = client(api_keys_file=keys, protect_metrics=True)
    assert code(app.get("/metrics")) == (401, "missing_api_key")
    assert app.get("/metrics", headers=headers).status_code == 200


def test_a_view_must_say_what_it_needs(client: MakeClient, tmp_path: Path) -> None:
    """A route that is added without a thought is an error when the app is made, not a hole."""
    app = client().application
    app.add_url_rule("/open", "open", needs("public", lambda: "x"))
    context = make_context(Settings(consul=False), lambda: FakeEngine(), None)
    register_access(app, context.access)
    app.view_functions["hole"] = lambda: "x"
    with pytest.raises(LookupError, match="hole"):
        register_access(app, context.access)


ROWS: dict[Need, int] = {"probe": 0, "metrics": 0, "public": 1, "names": 2, "speak": 3, "voices": 4, "admin": 5}
"""Of the table in docs/api.md."""


def test_the_page_says_what_each_route_needs(client: MakeClient) -> None:
    """Each route is in the row of its need, itself or as one below another."""
    section = (ROOT / "docs" / "api.md").read_text("utf-8").partition("### Who may call what")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")][1:]
    app = client().application
    for rule in app.url_map.iter_rules():
        documented = re.findall(r"`(?:GET )?(/[^`]*)`", rows[ROWS[need_of(app, rule.endpoint)]])
        assert any(rule.rule == path or rule.rule.startswith(path.rstrip("/") or "-") for path in documented), rule.rule


def test_unknown_paths_and_methods_need_no_key(client: MakeClient, tmp_path: Path) -> None:
    """They say what is wrong instead."""
    keys = tmp_path / "keys.yaml"
    add_key(keys, "a", ["speak"])
    app = client(api_keys_file=keys)
    assert code(app.get("/nothing")) == (404, "not_found")
    assert code(app.get("/tts")) == (405, "method_not_allowed")
    assert code(app.get("/admin/drain")) == (405, "method_not_allowed")
