"""POST /v1/audio/speech: its body as a SpeechRequest, which is served as one of /tts is."""

from __future__ import annotations

from typing import Any

from flask import Request, Response

from server.errors import ApiError
from server.http import parsing, schemas
from server.http.context import AppContext
from server.http.openai.events import SpeechEvents
from server.http.openai.schemas import CreateSpeechRequest, without_empty
from server.http.openai.voices import choose_voice, style_in
from server.http.schemas import SpeechRequest
from server.http.tts import SpeechPlan, speak_response
from server.voices.stored_voice import StoredVoice

PCM_RATE = 24000
"""What clients of OpenAI's API play `pcm` at, whatever a header says."""

SAME_FIELDS = {"speed", "reference_audio", "reference_text", "consent", "language", "seed", "phoneme", "word_timings"}
"""Fields that are those of /tts."""


def handle_speech(context: AppContext, request: Request) -> Response:
    """The response to POST /v1/audio/speech."""

    def plan() -> SpeechPlan:
        return make_plan(context, parse_body(context, parsing.parse_json(request, context.settings.max_body_bytes)))

    return speak_response(context, request, plan)


def parse_body(context: AppContext, fields: dict[str, Any]) -> CreateSpeechRequest:
    """The fields of a body; ApiError 400."""
    max_text_chars = context.cluster_config.limits.max_text_chars
    return schemas.validate(CreateSpeechRequest, without_empty(fields), strict=False, max_text_chars=max_text_chars)


def make_plan(context: AppContext, body: CreateSpeechRequest) -> SpeechPlan:
    """What to speak and how to send it; ApiError 400, also for an unknown voice."""
    voice = _stored_voice(context, body)
    instructed = style_in(body.instructions or "", voice) if voice is not None and body.style is None else None
    fields = body.model_dump(include=SAME_FIELDS)
    fields |= {"text": body.input, "voice": voice and voice.name, "style": body.style or instructed}
    fields |= {"format": body.response_format, "sample_rate": body.sample_rate}
    if body.response_format == "pcm" and body.sample_rate is None:
        fields["sample_rate"] = PCM_RATE
    use = "unused" if instructed is None else f"style={instructed}"
    return SpeechPlan(
        schemas.validate(SpeechRequest, fields, strict=False),
        stream=not body.whole,
        make_framing=SpeechEvents if body.stream_format == "sse" else None,
        headers={} if body.instructions is None else {"X-Instructions": use},
    )


def _stored_voice(context: AppContext, body: CreateSpeechRequest) -> StoredVoice | None:
    """The stored voice that speaks; None if a recording does, or if the default voice is not stored."""
    if body.reference_audio is not None:
        return None
    if body.voice is not None:
        return choose_voice(context.voices, body.voice, body.input)
    try:
        return context.voices.get(context.settings.default_voice)
    except ApiError:
        return None
