"""A stream of audio as server-sent events, as OpenAI's API sends it with `stream_format: sse`."""

from __future__ import annotations

import base64
import json
from typing import Any

from glmtts.engine.api import Report
from server.errors import ErrorInfo
from server.http.openai.errors import error_object

ROUTE = "/v1/audio/speech"


def usage(report: Report) -> dict[str, int]:
    """Token counts of a finished job: ids of the text, and speech tokens."""
    read, spoken = report.text_ids, report.speech_tokens
    return {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}


class SpeechEvents:
    """Frames encoded audio as events. A failure is an event too: the response itself then ends as usual."""

    content_type: str | None = "text/event-stream"

    def __init__(self, report: Report) -> None:
        self._report = report

    def audio(self, data: bytes) -> bytes:
        return _event("speech.audio.delta", audio=base64.b64encode(data).decode()) if data else b""

    def end(self) -> bytes:
        return _event("speech.audio.done", usage=usage(self._report))

    def error(self, info: ErrorInfo) -> bytes:
        return _event("speech.audio.error", error=error_object(info, ROUTE))


def _event(kind: str, **fields: Any) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()
