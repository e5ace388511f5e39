"""The routes: each maps a URL to one function call."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST

from server.errors import ApiError
from server.http import encoding, enrolment, parsing, probes
from server.http.auth import check_api_key
from server.http.context import AppContext
from server.http.responses import SKIPPED_CHARACTERS
from server.http.tts import handle_tts
from server.http.voice_lookup import reading_language
from server.voices.store import StoredVoice


def make_routes(context: AppContext) -> Blueprint:
    """The API as a blueprint."""
    api = Blueprint("api", __name__)
    api.before_app_request(lambda: check_api_key(request, context.api_keys))
    api.add_url_rule("/health", "health", lambda: _probe(*probes.health()), methods=["GET"])
    api.add_url_rule("/ready", "ready", lambda: _probe(*probes.ready(context.node)), methods=["GET"])
    api.add_url_rule("/metrics", "metrics", lambda: _metrics(context), methods=["GET"])
    api.add_url_rule("/info", "info", lambda: _info(context), methods=["GET"])
    api.add_url_rule("/segments", "segments", lambda: _segments(context), methods=["POST"])
    api.add_url_rule("/voices", "voices", lambda: _voices(context), methods=["GET"])
    api.add_url_rule("/voices/<name>", "voice", lambda name: _voice_json(context.voices.get(name)), methods=["GET"])
    api.add_url_rule("/voices/<name>", "enrol_voice", lambda name: _enrol_voice(context, name), methods=["POST"])
    api.add_url_rule("/voices/<name>", "delete_voice", lambda name: _delete_voice(context, name), methods=["DELETE"])
    api.add_url_rule("/requests/<request_id>", "request", lambda **ids: _request(context, **ids), methods=["GET"])
    api.add_url_rule("/tts", "tts", lambda: handle_tts(context, request, stream=False), methods=["POST"])
    api.add_url_rule("/tts/stream", "stream", lambda: handle_tts(context, request, stream=True), methods=["POST"])
    return api


def _probe(status: int, values: dict[str, Any]) -> tuple[dict[str, Any], int]:
    return values, status


def _metrics(context: AppContext) -> Response:
    return Response(context.metrics.text(), content_type=CONTENT_TYPE_LATEST)


def _info(context: AppContext) -> dict[str, Any]:
    info, settings, limits = context.node.engine.info, context.settings, context.cluster_config.limits
    return {
        "model": info.model,
        "model_version": info.model_version,
        "languages": info.languages,
        "sample_rates": info.sample_rates,
        "features": info.features,
        "device": info.device,
        "generation": info.generation,
        "formats": encoding.FORMATS,
        "resampled_rates": encoding.SAMPLE_RATES,
        "voices": [voice.name for voice in context.voices.all()],
        "limits": {
            "max_streams": min(info.max_streams, limits.max_concurrent_requests),
            "max_text_chars": limits.max_text_chars,
            "max_body_bytes": settings.max_body_bytes,
            "max_backlog_seconds": limits.max_backlog_seconds,
            "queue_timeout": settings.queue_timeout,
        },
        "default_style": vars(context.cluster_config.style),
        "metadata": context.metadata(),
    }


def _segments(context: AppContext) -> Response:
    max_text_chars = context.cluster_config.limits.max_text_chars
    params = parsing.parse_segments(request, context.settings.max_body_bytes, max_text_chars)
    if params.voice is not None:
        context.voices.get(params.voice)  # raises if there is none
    engine, language = context.node.engine, reading_language(context, params)
    segments = [
        {"index": segment.index, "text": segment.written}
        | ({"pronunciation": engine.pronunciation(segment.text)} if params.pronunciation else {})
        for segment in engine.segments(params.text, phoneme=params.phoneme, language=language)
    ]
    response = jsonify(segments=segments)
    response.headers[SKIPPED_CHARACTERS] = str(len(engine.foreign_characters(params.text, language=language)))
    return response


def _voices(context: AppContext) -> dict[str, Any]:
    return {"voices": [_voice_json(voice) for voice in context.voices.all()], "default": context.settings.default_voice}


def _voice_json(voice: StoredVoice) -> dict[str, Any]:
    return {
        "name": voice.name,
        "language": voice.language,
        "styles": voice.transcripts,
        "default_style": voice.default_style,
    }


def _enrol_voice(context: AppContext, name: str) -> tuple[dict[str, Any], int]:
    is_new = enrolment.enrol(context, request, name)
    return _voice_json(context.voices.get(name)), 201 if is_new else 200


def _delete_voice(context: AppContext, name: str) -> Response:
    enrolment.delete(context, name, request.args.get("style"))
    return Response(status=204)


def _request(context: AppContext, request_id: str) -> dict[str, Any]:
    record = context.request_history.get(request_id)
    if record is None:
        message = f"request: expected the id of a recent speech request, got {request_id:.64}"
        raise ApiError(404, "unknown_request", message)
    token = {} if record.continuation is None else {"continuation": record.continuation}
    return {"state": "running" if record.total_seconds is None else "finished", **record.as_dict(), **token}
