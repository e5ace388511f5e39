"""POST /tts and POST /tts/stream, and what every route that speaks has in common: from a body to its audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from flask import Request, Response, g

from server.http import parsing, responses
from server.http.audible_mark import mark_before
from server.http.context import AppContext
from server.http.disconnect import watch_client
from server.http.encoding import Encoder, make_encoder
from server.http.job_builder import make_job
from server.http.provenance import AI_DISCLOSURE, Provenance
from server.http.running_job import RunningJob
from server.http.schemas import SpeechRequest
from server.http.streaming import BareAudio, Framing
from server.observability.request_log import RequestRecord


@dataclass(frozen=True)
class SpeechPlan:
    """What a request asks for: what to speak, and how the audio is sent."""

    params: SpeechRequest
    stream: bool
    """Whether the audio is sent while it is being made."""
    make_framing: Callable[[RunningJob], Framing] | None = None
    """How it stands in the body of a stream, given the job. None: the body is the audio file."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of the response."""


def handle_tts(context: AppContext, request: Request, *, stream: bool) -> Response:
    """The response to POST /tts or, with `stream`, to POST /tts/stream."""
    max_body_bytes, limits = context.settings.max_body_bytes, context.cluster_config.limits

    def plan() -> SpeechPlan:
        return SpeechPlan(parsing.parse_speech(request, max_body_bytes, limits.max_text_chars), stream)

    return speak_response(context, request, plan)


def speak_response(context: AppContext, request: Request, make_plan: Callable[[], SpeechPlan]) -> Response:
    """The response to a request that speaks; `make_plan` reads its body.

    Raises what a step raises; `server.errors` maps it. Until then `resources` holds everything to be released: a
    streaming response takes it over.
    """
    record: RequestRecord = g.record
    context.request_history.add(record)
    with ExitStack() as resources:
        # Before the body is read: slow uploads must not occupy every thread.
        engine = resources.enter_context(context.node.admit())
        plan = make_plan()
        job = make_job(context, engine, plan.params, stream=plan.stream)
        provenance = Provenance(engine.info.model, engine.info.model_version)
        encoder = resources.enter_context(_make_encoder(plan, job.sample_rate, provenance))
        record.format, record.sample_rate = plan.params.format, encoder.sample_rate
        mark = mark_before(job, enabled=context.settings.audible_mark)
        running = resources.enter_context(RunningJob(engine, job, record, mark=mark))
        resources.enter_context(watch_client(request.environ, running.on_disconnect))
        running.wait_for_audio()
        if plan.stream:
            framing = BareAudio() if plan.make_framing is None else plan.make_framing(running)
            response = responses.streaming_response(context, running, encoder, framing, resources)
        else:
            response = responses.full_response(context, running, encoder)
        response.headers[AI_DISCLOSURE] = provenance.header()
        response.headers.update(plan.headers)
        return response


def _make_encoder(plan: SpeechPlan, source_rate: int, provenance: Provenance) -> Encoder:
    sample_rate = plan.params.sample_rate or source_rate
    return make_encoder(plan.params.format, source_rate, sample_rate, provenance, streamed=plan.stream)
