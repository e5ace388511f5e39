"""The lists of models and voices, and the probe, over real HTTP."""

from __future__ import annotations

from typing import Any

import requests

from tests.helpers.server import Server


def get(server: Server, path: str) -> Any:
    answer = requests.get(server.url + path, timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"]
    return answer.json()


def test_models(server: Server) -> None:
    """The loaded model is the first; each can be asked for by its id."""
    models = get(server, "/v1/models")
    assert models["object"] == "list"
    assert models["data"][0]["id"] == "fake"
    for model in models["data"]:
        assert set(model) == {"id", "object", "created", "owned_by"}
        assert model["object"] == "model"
        assert get(server, f"/v1/models/{model['id']}") == model
    assert [model["id"] for model in get(server, "/v1/audio/models")["models"]] == [m["id"] for m in models["data"]]


def test_voices(server: Server) -> None:
    """As objects, under both names; or as strings, for older programs."""
    voices = get(server, "/v1/audio/voices")
    assert voices["object"] == "list"
    assert voices["data"] == voices["voices"]
    anna, default = voices["voices"]
    assert anna == {"id": "anna", "name": "anna", "language": "zh", "styles": ["calm"]}
    assert default["id"] == "default"
    assert get(server, "/v1/audio/voices?legacy=true") == ["anna", "default"]


def test_the_probe(server: Server) -> None:
    """Programs that look for a speech server find one."""
    assert get(server, "/v1/test") == {"status": "ok"}
