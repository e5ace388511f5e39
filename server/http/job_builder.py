"""From a validated request to the engine's job."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from flask import g

from glmtts.engine.api import Engine, Job
from server.http import continuation, encoding
from server.http.context import AppContext
from server.http.continuation import Continuation
from server.http.schemas import SpeechRequest
from server.http.voice_lookup import find_voice
from server.observability.request_log import RequestRecord


def make_job(context: AppContext, engine: Engine, params: SpeechRequest, *, stream: bool) -> Job:
    """The job for `params`, with the cluster's and the node's defaults where it gives no value."""
    record: RequestRecord = g.record
    start = time.monotonic()
    earlier = Continuation() if params.continuation is None else continuation.decode(params.continuation, engine.info)
    with record.timed("text"):
        segments = tuple(
            # Numbered on from the earlier ones: a segment's randomness is a function of its index.
            replace(segment, index=earlier.segments + segment.index)
            for segment in engine.segments(params.text, phoneme=params.phoneme, segmented=params.segmented)
        )
    record.characters, record.segments = len(params.text), len(segments)
    with record.timed("voice"):
        voice = find_voice(context, engine, params)
    record.prompted, record.history = voice.prompted, params.history
    native_rates = engine.info.sample_rates
    record.seed = secrets.randbits(32) if params.seed is None else params.seed
    return Job(
        segments=segments,
        voice=voice,
        sample_rate=encoding.native_rate(params.sample_rate or native_rates[0], native_rates),
        seed=record.seed,
        speed=context.cluster_config.style.speed if params.speed is None else params.speed,
        use_history=params.history,
        stream=stream,
        deadline=start + (params.timeout or context.settings.queue_timeout),
        history=earlier.history,
    )
