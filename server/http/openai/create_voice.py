"""POST and DELETE /v1/audio/voices: storing and deleting voices as vllm-omni has it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Request

from server.http import enrolment, parsing, schemas
from server.http.context import AppContext
from server.http.openai.schemas import CreateVoiceRequest
from server.http.schemas import VoiceRequest

STYLE = "neutral"
"""This API knows no styles: a voice has one recording."""


def handle_voice(context: AppContext, request: Request) -> dict[str, Any]:
    """Stores the recording in a form as a voice, in place of an earlier one of that name."""

    def parse() -> tuple[str, VoiceRequest]:
        fields = parsing.parse_form(request, context.settings.max_body_bytes, "audio_sample")
        body = schemas.validate(CreateVoiceRequest, fields, strict=False)
        reference = {"reference_audio": body.audio_sample, "reference_text": body.ref_text, "consent": body.consent}
        return body.name, schemas.validate(VoiceRequest, {**reference, "style": STYLE}, strict=False)

    name, _ = enrolment.enrol(context, parse)
    return {"success": True, "voice": _description(context, name)}


def _description(context: AppContext, name: str) -> dict[str, Any]:
    recording = context.voices.get(name).recordings[STYLE]
    created = datetime.fromisoformat(recording.created_at.replace("Z", "+00:00"))
    return {
        "id": name,
        "name": name,
        "consent": recording.consent,
        "created_at": int(created.timestamp()),
        "mime_type": "audio/flac",
        "file_size": len(context.voices.reference(name, STYLE).audio),
        **({"ref_text": recording.text} if recording.text else {}),
    }


def delete_voice(context: AppContext, name: str) -> dict[str, Any]:
    """Deletes a voice."""
    enrolment.delete(context, name, None)
    return {"success": True, "message": f"Voice '{name}' deleted successfully"}
