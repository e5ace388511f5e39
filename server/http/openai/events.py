"""A stream of audio as server-sent events, as OpenAI's API sends it with `stream_format: sse`."""

from __future__ import annotations

import base64
import json
from typing import Any

from glmtts.engine.api import Report, SegmentTiming, WordTiming
from server.errors import ErrorInfo
from server.http.openai.errors import error_object
from server.http.running_job import RunningJob

ROUTE = "/v1/audio/speech"


def usage(report: Report) -> dict[str, int]:
    """Token counts of a finished job: ids of the text, and speech tokens."""
    read, spoken = report.text_ids, report.speech_tokens
    return {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}


class SpeechEvents:
    """Frames encoded audio as events, with one for each segment whose audio is complete: where it is, and its words.

    A failure is an event too: the response itself then ends as usual.
    """

    content_type: str | None = "text/event-stream"

    def __init__(self, running: RunningJob) -> None:
        self._running = running
        self._timings_sent = 0

    def audio(self, data: bytes) -> bytes:
        delta = _event("speech.audio.delta", audio=base64.b64encode(data).decode()) if data else b""
        new = self._running.record.segment_timings()[self._timings_sent :]
        self._timings_sent += len(new)
        return b"".join([delta, *map(_timing_event, new)])

    def end(self) -> bytes:
        return _event("speech.audio.done", usage=usage(self._running.report))

    def error(self, info: ErrorInfo) -> bytes:
        return _event("speech.audio.error", error=error_object(info, ROUTE))


def _timing_event(timing: SegmentTiming) -> bytes:
    words = [{**_span(word), "estimated": word.estimated} for word in timing.words]
    return _event("speech.audio.timing", index=timing.index, **_span(timing), **({"words": words} if words else {}))


def _span(timing: SegmentTiming | WordTiming) -> dict[str, Any]:
    return {"text": timing.text, "start_s": round(timing.start_seconds, 4), "end_s": round(timing.end_seconds, 4)}


def _event(kind: str, **fields: Any) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()
