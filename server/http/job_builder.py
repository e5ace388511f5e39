"""From a validated request to the engine's job."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from flask import g

from glmtts.engine.api import Engine, Job
from server.http import continuation, encoding
from server.http.context import AppContext
from server.http.continuation import Continuation
from server.http.schemas import SpeechRequest
from server.http.voice_lookup import find_voice, reading_language
from server.observability.request_log import RequestRecord

if TYPE_CHECKING:
    from glmtts.text.frontend.frontend import Segment


def make_job(context: AppContext, engine: Engine, params: SpeechRequest, *, stream: bool) -> Job:
    """The job for `params`, with the cluster's and the node's defaults where it gives no value."""
    record: RequestRecord = g.record
    start = time.monotonic()
    context.access.charge(g.caller, params.text)
    earlier = Continuation() if params.continuation is None else continuation.decode(params.continuation, engine.info)
    with record.timed("text"):
        segments = _segments(context, engine, params, record)
    with record.timed("voice"):
        voice = find_voice(context, engine, params)
    record.prompted, record.history = voice.prompted, params.history
    native_rates = engine.info.sample_rates
    record.seed = secrets.randbits(32) if params.seed is None else params.seed
    return Job(
        # Numbered on from the earlier ones: a segment's randomness is a function of its index.
        segments=tuple(replace(segment, index=earlier.segments + segment.index) for segment in segments),
        voice=voice,
        sample_rate=encoding.native_rate(params.sample_rate or native_rates[0], native_rates),
        seed=record.seed,
        speed=context.cluster_config.style.speed if params.speed is None else params.speed,
        use_history=params.history,
        stream=stream,
        deadline=start + (params.timeout or context.settings.queue_timeout),
        speaker="" if params.reference_audio is not None else record.voice or "",
        history=earlier.history,
    )


def _segments(context: AppContext, engine: Engine, params: SpeechRequest, record: RequestRecord) -> list[Segment]:
    language = reading_language(context, params)
    record.characters = len(params.text)
    text, phoneme, segmented = params.text, params.phoneme, params.segmented
    reading = context.workers.texts.run(
        lambda: engine.read(text, phoneme=phoneme, segmented=segmented, language=language)
    )
    record.skipped_characters = len(reading.foreign)
    record.segments = len(reading.segments)
    if not params.word_timings:
        return reading.segments
    return [replace(segment, words=engine.words(segment)) for segment in reading.segments]
