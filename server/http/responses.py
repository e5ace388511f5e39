"""A running job's audio as an HTTP response: the whole file, or a stream of it while it is being made."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Response

from server.discovery.metadata import own_service_id
from server.errors import ErrorInfo, to_error_info
from server.http.context import AppContext
from server.http.encoding import Encoder
from server.http.running_job import RunningJob
from server.http.streaming import Framing, SpeechStream
from server.observability.request_log import RequestRecord

SKIPPED_CHARACTERS = "X-Skipped-Characters"
SERVER_TIMING_STAGES = ("queue", "text", "voice", "ar", "flow", "vocoder")
MAX_HEADER_CHARS = 3000
"""Longest X-Continuation: common proxies accept 4 KiB of headers. /requests/<id> has a longer one."""


def full_response(context: AppContext, running: RunningJob, encoder: Encoder) -> Response:
    """The response once the whole file is made."""
    record = running.record
    data = b"".join(map(encoder.encode, running.chunks())) + encoder.flush()
    response = Response(data, content_type=encoder.content_type, headers=_audio_headers(context, record))
    if record.continuation is not None and len(record.continuation) <= MAX_HEADER_CHARS:
        response.headers["X-Continuation"] = record.continuation
    response.headers["X-Audio-Seconds"] = f"{encoder.seconds:.3f}"
    response.headers["X-Finish-Reason"] = running.finish_reason
    return response


def streaming_response(
    context: AppContext, running: RunningJob, encoder: Encoder, framing: Framing, resources: ExitStack
) -> Response:
    """The response as soon as there is audio. Its body takes over `resources`, and releases them when it is closed."""
    record = running.record

    def on_error(error: Exception) -> ErrorInfo:
        info = to_error_info(context.node.attribute_to_shutdown(error))
        record.error = info.code
        return info

    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store", **_audio_headers(context, record)}
    body = SpeechStream(running.chunks(), encoder, framing, on_error, resources.pop_all())
    return Response(body, content_type=framing.content_type or encoder.content_type, headers=headers)


def _audio_headers(context: AppContext, record: RequestRecord) -> dict[str, str]:
    """The headers that are known before the audio ends."""
    timings = record.timings()
    stages = [stage for stage in SERVER_TIMING_STAGES if stage in timings]
    return {
        "X-Node": own_service_id(context.settings),
        "X-Sample-Rate": str(record.sample_rate),
        "X-Seed": str(record.seed),
        SKIPPED_CHARACTERS: str(record.skipped_characters),
        "Server-Timing": ", ".join(f"{stage};dur={1000 * timings[stage]:.1f}" for stage in stages),
    }
