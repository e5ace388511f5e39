"""POST /tts and POST /tts/stream: from a request's body to its audio."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Request, Response, g

from server.http import encoding, parsing, responses
from server.http.context import AppContext
from server.http.disconnect import watch_client
from server.http.job_builder import make_job
from server.http.running_job import RunningJob
from server.observability.request_log import RequestRecord


def handle_tts(context: AppContext, request: Request, *, stream: bool) -> Response:
    """The response to POST /tts or, with `stream`, to POST /tts/stream.

    Raises what a step raises; `server.errors` maps it. Until then `resources` holds everything to be released: a
    streaming response takes it over.
    """
    record: RequestRecord = g.record
    context.request_history.add(record)
    limits = context.cluster_config.limits
    with ExitStack() as resources:
        # Before the body is read: slow uploads must not occupy every thread.
        engine = resources.enter_context(context.node.admit())
        params = parsing.parse_speech(request, context.settings.max_body_bytes, limits.max_text_chars)
        job = make_job(context, engine, params, stream=stream)
        running = resources.enter_context(RunningJob(engine, job, record))
        resources.enter_context(watch_client(request.environ, running.on_disconnect))
        record.format, record.sample_rate = params.format, params.sample_rate or job.sample_rate
        encoder = encoding.make_encoder(params.format, job.sample_rate, record.sample_rate, streamed=stream)
        running.wait_for_audio()
        if stream:
            return responses.streaming_response(context, running, encoder, resources)
        return responses.full_response(running, encoder)
