"""The routes of OpenAI's API, and those that other servers of it have added."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, request

from server.errors import ApiError
from server.http.context import AppContext
from server.http.openai.create_speech import handle_speech

MODEL_NAMES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""Names that clients of OpenAI's API know. They, as any other name, mean the loaded model."""


def make_openai_routes(context: AppContext) -> Blueprint:
    """The API under /v1 as a blueprint."""
    api = Blueprint("openai", __name__, url_prefix="/v1")
    started = int(time.time())
    api.add_url_rule("/audio/speech", "speech", lambda: handle_speech(context, request), methods=["POST"])
    api.add_url_rule("/models", "models", lambda: _models(context, started), methods=["GET"])
    api.add_url_rule("/models/<path:name>", "model", lambda name: _model(context, started, name), methods=["GET"])
    api.add_url_rule("/audio/models", "audio_models", lambda: _audio_models(context), methods=["GET"])
    api.add_url_rule("/audio/voices", "voices", lambda: _voices(context), methods=["GET"])
    api.add_url_rule("/test", "test", lambda: {"status": "ok"}, methods=["GET"])
    return api


def _model_names(context: AppContext) -> tuple[str, ...]:
    return (context.node.engine.info.model, *MODEL_NAMES)


def _models(context: AppContext, started: int) -> dict[str, Any]:
    return {"object": "list", "data": [_model_object(name, started) for name in _model_names(context)]}


def _model(context: AppContext, started: int, name: str) -> dict[str, Any]:
    names = _model_names(context)
    if name not in names:
        raise ApiError(404, "model_not_found", f"model: expected one of {', '.join(names)}, got another", field="model")
    return _model_object(name, started)


def _model_object(name: str, started: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": started, "owned_by": "glm-tts"}


def _audio_models(context: AppContext) -> dict[str, Any]:
    return {"models": [{"id": name, "name": name} for name in _model_names(context)]}


def _voices(context: AppContext) -> Any:
    voices = context.voices.all()
    if request.args.get("legacy", "").lower() in ("1", "true"):
        return [voice.name for voice in voices]
    entries = [
        {"id": voice.name, "name": voice.name, "language": voice.language, "styles": list(voice.transcripts)}
        for voice in voices
    ]
    return {"object": "list", "voices": entries, "data": entries}
