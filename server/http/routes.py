"""The routes: from URL to one function call, nothing more. Knows nothing about engines, files or Consul."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST

from server.errors import ApiError
from server.http import encoding, enrolment, parsing
from server.http.context import Services
from server.http.tts import speak
from server.voices.store import StoredVoice

OPEN = ("/health", "/ready", "/metrics")
"""What is answered without an API key: the cluster's own questions."""


def make_routes(services: Services) -> Blueprint:
    """The API over `services`."""
    api = Blueprint("api", __name__)
    api.before_app_request(lambda: _check_key(services))
    api.add_url_rule("/health", "health", lambda: {"status": "ok"}, methods=["GET"])
    api.add_url_rule("/ready", "ready", lambda: _ready(services), methods=["GET"])
    api.add_url_rule("/metrics", "metrics", lambda: _metrics(services), methods=["GET"])
    api.add_url_rule("/info", "info", lambda: _info(services), methods=["GET"])
    api.add_url_rule("/segments", "segments", lambda: _segments(services), methods=["POST"])
    api.add_url_rule("/voices", "voices", lambda: _voices(services), methods=["GET"])
    api.add_url_rule("/voices/<name>", "voice", lambda name: _shown(services.voices.get(name)), methods=["GET"])
    api.add_url_rule("/voices/<name>", "enrol", lambda name: _enrolled(services, name), methods=["POST"])
    api.add_url_rule("/voices/<name>", "dismiss", lambda name: _dismissed(services, name), methods=["DELETE"])
    api.add_url_rule("/requests/<request_id>", "request", lambda **ids: _request(services, **ids), methods=["GET"])
    api.add_url_rule("/tts", "tts", lambda: speak(services, request, stream=False), methods=["POST"])
    api.add_url_rule("/tts/stream", "stream", lambda: speak(services, request, stream=True), methods=["POST"])
    return api


def _check_key(services: Services) -> None:
    if services.keys is None or request.path in OPEN:
        return
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.headers.get("X-Api-Key", "")
    if not key.strip():
        raise ApiError(
            401, "missing_api_key", "API key: expected Authorization: Bearer KEY or X-API-Key: KEY, got none"
        )
    if not services.keys.allows(key.strip()):
        raise ApiError(401, "invalid_api_key", "API key: expected a key of this server, got another")


def _ready(services: Services) -> Response:
    reason = services.node.not_ready_reason()
    response = jsonify(status="ready") if reason is None else jsonify(status="not ready", reason=reason)
    response.status_code = 200 if reason is None else 503
    return response


def _metrics(services: Services) -> Response:
    return Response(services.metrics.text(), content_type=CONTENT_TYPE_LATEST)


def _info(services: Services) -> dict[str, Any]:
    """What was loaded; `metadata` is word for word what Consul is told."""
    info, settings, limits = services.node.engine.info, services.settings, services.shared.limits
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
        "voices": [voice.name for voice in services.voices.all()],
        "limits": {
            "max_streams": min(info.max_streams, limits.max_concurrent_requests),
            "max_text_chars": limits.max_text_chars,
            "max_body_bytes": settings.max_body_bytes,
            "max_backlog_seconds": limits.max_backlog_seconds,
            "queue_timeout": settings.queue_timeout,
        },
        "default_style": vars(services.shared.style),
        "metadata": services.metadata(),
    }


def _segments(services: Services) -> dict[str, Any]:
    asked = parsing.read_segments(request, services.settings, services.shared.limits.max_text_chars)
    segments = services.node.engine.segments(asked.text, phoneme=asked.phoneme)
    return {"segments": [{"index": segment.index, "text": segment.text} for segment in segments]}


def _voices(services: Services) -> dict[str, Any]:
    return {"voices": [_shown(voice) for voice in services.voices.all()], "default": services.settings.default_voice}


def _shown(voice: StoredVoice) -> dict[str, Any]:
    return {
        "name": voice.name,
        "language": voice.language,
        "styles": voice.transcripts,
        "default_style": voice.default_style,
    }


def _enrolled(services: Services, name: str) -> tuple[dict[str, Any], int]:
    fresh = enrolment.enrol(services, request, name)
    return _shown(services.voices.get(name)), 201 if fresh else 200


def _dismissed(services: Services, name: str) -> Response:
    enrolment.dismiss(services, name, request.args.get("style"))
    return Response(status=204)


def _request(services: Services, request_id: str) -> dict[str, Any]:
    record = services.records.get(request_id)
    if record is None:
        raise ApiError(404, "unknown_request", f"request: came {request_id:.64}; it is not among those remembered")
    token = {} if record.continuation is None else {"continuation": record.continuation}
    return {"state": "running" if record.total is None else "finished", **record.as_dict(), **token}
