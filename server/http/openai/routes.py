"""The routes of OpenAI's API, and those that other servers of it have added."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn

from flask import Blueprint, request

from server.errors import ApiError
from server.http.access import Need, needs
from server.http.context import AppContext
from server.http.openai.batch import handle_batch
from server.http.openai.create_speech import handle_speech
from server.http.openai.create_voice import delete_voice, handle_voice

MODEL_NAMES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""Names that clients of OpenAI's API know. They, as any other name, mean the loaded model."""


def make_openai_routes(context: AppContext) -> Blueprint:
    """The API under /v1 as a blueprint."""
    api = Blueprint("openai", __name__, url_prefix="/v1")
    started = int(time.time())

    def add(rule: str, name: str, need: Need, view: Callable[..., Any], *, method: str = "GET") -> None:
        api.add_url_rule(rule, name, needs(need, view), methods=[method])

    add("/audio/speech", "speech", "speak", lambda: handle_speech(context, request), method="POST")
    add("/audio/speech/stream", "speech_socket", "speak", _upgrade_required)
    add("/models", "models", "names", lambda: _models(context, started))
    add("/models/<path:name>", "model", "names", lambda name: _model(context, started, name))
    add("/audio/models", "audio_models", "names", lambda: _audio_models(context))
    add("/audio/voices", "voices", "names", lambda: _voices(context))
    add("/audio/voices", "create_voice", "voices", lambda: handle_voice(context, request), method="POST")
    add("/audio/voices/<name>", "delete_voice", "voices", lambda name: delete_voice(context, name), method="DELETE")
    add("/audio/speech/batch", "batch", "speak", lambda: handle_batch(context, request), method="POST")
    add("/test", "test", "probe", lambda: {"status": "ok"})
    return api


def _upgrade_required() -> NoReturn:
    """The edge serves the WebSocket; what comes here is a plain request."""
    raise ApiError(426, "upgrade_required", "Upgrade: expected websocket, got a plain request")


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
