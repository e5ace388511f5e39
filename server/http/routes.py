"""The routes: each maps a URL to one function call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST

from server import RELEASE
from server.discovery.metadata import own_service_id
from server.errors import ApiError
from server.http import encoding, enrolment, probes, sync
from server.http.access import Need, needs
from server.http.context import AppContext
from server.http.segments import handle_segments
from server.http.tts import handle_tts
from server.voices.stored_voice import StoredVoice


def make_routes(context: AppContext) -> Blueprint:
    """The API as a blueprint."""
    api = Blueprint("api", __name__)

    def add(rule: str, name: str, need: Need, view: Callable[..., Any], *, method: str = "GET") -> None:
        api.add_url_rule(rule, name, needs(need, view), methods=[method])

    add("/health", "health", "probe", lambda: _probe(*probes.health()))
    add("/ready", "ready", "probe", lambda: _probe(*probes.ready(context.node)))
    add("/metrics", "metrics", "metrics", lambda: _metrics(context))
    add("/info", "info", "speak", lambda: _info(context))
    add("/cluster", "cluster", "speak", lambda: context.cluster_view.snapshot())
    add("/segments", "segments", "speak", lambda: handle_segments(context, request), method="POST")
    add("/voices", "voices", "speak", lambda: _voices(context))
    add("/voices/<name>", "voice", "speak", lambda name: _voice_json(context, context.voices.get(name)))
    add("/voices/<name>", "enrol_voice", "voices", lambda name: _enrol_voice(context, name), method="POST")
    add("/voices/<name>", "delete_voice", "voices", lambda name: _delete_voice(context, name), method="DELETE")
    add("/sync/voices", "sync_voices", "voices", lambda: sync.index_response(context.voices, request))
    add("/sync/voices/<name>", "sync_voice", "voices", lambda name: sync.description_response(context.voices, name))
    add(
        "/sync/voices/<name>/<file>",
        "sync_file",
        "voices",
        lambda name, file: sync.file_response(context.voices, name, file),
    )
    add("/requests/<request_id>", "request", "speak", lambda request_id: _request(context, request_id))
    add("/tts", "tts", "speak", lambda: handle_tts(context, request, stream=False), method="POST")
    add("/tts/stream", "stream", "speak", lambda: handle_tts(context, request, stream=True), method="POST")
    add("/admin/drain", "drain", "admin", lambda: _drain(context), method="POST")
    return api


def _probe(status: int, values: dict[str, Any]) -> tuple[dict[str, Any], int]:
    return values, status


def _drain(context: AppContext) -> tuple[dict[str, str], int]:
    """Drains this node. ApiError 409: the client means another one, as a gateway may send the request to any."""
    own = own_service_id(context.settings)
    if request.args.get("node", own) != own:
        raise ApiError(409, "another_node", f"node: expected this one, {own}, got another", field="node")
    context.request_drain()
    return {"status": "draining", "node": own}, 202


def _metrics(context: AppContext) -> Response:
    return Response(context.metrics.text(), content_type=CONTENT_TYPE_LATEST)


def _info(context: AppContext) -> dict[str, Any]:
    info, settings, limits = context.node.engine.info, context.settings, context.cluster_config.limits
    return {
        "release": RELEASE,
        "model": info.model,
        "model_version": info.model_version,
        "languages": info.languages,
        "sample_rates": info.sample_rates,
        "features": info.features,
        "device": info.device,
        "generation": info.generation,
        "calibrated": info.calibrated,
        "memory": info.memory,
        "formats": encoding.available_formats(),
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


def _voices(context: AppContext) -> dict[str, Any]:
    return {
        "voices": [_voice_json(context, voice) for voice in context.voices.all()],
        "default": context.settings.default_voice,
        "closed": _voices_closed(context),
    }


def _voices_closed(context: AppContext) -> str | None:
    """The code of the error that keeps the caller from storing any voice; None if nothing does."""
    return context.access.refusal(g.caller, "voices") or (None if context.voices.can_write else "voices_read_only")


def _voice_json(context: AppContext, voice: StoredVoice) -> dict[str, Any]:
    shows_consent = context.access.refusal(g.caller, "voices") is None
    return {
        "name": voice.name,
        "language": voice.language,
        "styles": voice.transcripts,
        "default_style": voice.default_style,
        "read_only": context.voices.is_read_only(voice),
        "recordings": {
            style: ({"consent": item.consent} if shows_consent else {})
            | {"created_at": item.created_at, "updated_at": item.updated_at}
            for style, item in voice.recordings.items()
        },
    }


def _enrol_voice(context: AppContext, name: str) -> tuple[dict[str, Any], int]:
    is_new = enrolment.enrol_from_body(context, request, name)
    return {**_voice_json(context, context.voices.get(name)), "prompted": g.record.prompted}, 201 if is_new else 200


def _delete_voice(context: AppContext, name: str) -> Response:
    enrolment.delete(context, name, request.args.get("style"))
    return Response(status=204)


def _request(context: AppContext, request_id: str) -> dict[str, Any]:
    record = context.request_history.get(request_id)
    if record is None or not context.access.may_see(g.caller, record.key):
        message = f"request: expected the id of a recent speech request, got {request_id:.64}"
        raise ApiError(404, "unknown_request", message)
    token = {} if record.continuation is None else {"continuation": record.continuation}
    timing = {} if record.report is None else {"timing": [asdict(segment) for segment in record.segment_timings()]}
    state = "running" if record.total_seconds is None else "finished"
    return {"state": state, **record.as_dict(), **timing, **token}
