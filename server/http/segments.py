"""POST /segments: a text split into segments as they would be spoken."""

from __future__ import annotations

from typing import Any

from flask import Request, Response, jsonify

from glmtts.engine.api import Engine
from glmtts.text.language import Language
from server.http import parsing
from server.http.context import AppContext
from server.http.responses import SKIPPED_CHARACTERS
from server.http.schemas import SegmentsRequest
from server.http.voice_lookup import reading_language
from server.worker_pool import MAX_WAITING


def handle_segments(context: AppContext, request: Request) -> Response:
    """The response to POST /segments. Raises what a step raises; ApiError 429 if too many other texts wait."""
    max_body_bytes, max_text_chars = context.settings.max_body_bytes, context.cluster_config.limits.max_text_chars
    with context.node.admit_reading() as engine:
        params = parsing.parse_segments(request, max_body_bytes, max_text_chars)
        if params.voice is not None:
            context.voices.get(params.voice)  # raises if there is none
        language = reading_language(context, params)
        segments, foreign = context.workers.segments.run(
            lambda: _read(engine, params, language), max_waiting=MAX_WAITING
        )
    response = jsonify(segments=segments)
    response.headers[SKIPPED_CHARACTERS] = str(len(foreign))
    return response


def _read(engine: Engine, params: SegmentsRequest, language: Language | None) -> tuple[list[dict[str, Any]], str]:
    """The segments as JSON, and the characters that they leave out."""
    reading = engine.read(params.text, phoneme=params.phoneme, language=language)
    segments = [
        {"index": segment.index, "text": segment.written}
        | ({"pronunciation": engine.pronunciation(segment.text)} if params.pronunciation else {})
        for segment in reading.segments
    ]
    return segments, reading.foreign
