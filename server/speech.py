"""The way of a speech request: body → voice → segments → job → audio, whole or as a stream.

Each step's failure is an exception that server.errors maps; whatever was taken is given back by one ExitStack.
Knows nothing about how the engine does its work.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from flask import Request, Response, g

from server import bodies, encoding
from server.errors import ApiError, refusal
from server.records import Record
from server.schema import SpeechRequest
from server.services import Services
from server.stream import SpeechStream, collect

if TYPE_CHECKING:  # they import torch, which this package does without
    from glmtts.engine.job import Engine, Handle, Job
    from glmtts.voice.voice import Voice

SERVER_TIMING = ("queue", "text", "voice", "ar", "flow", "vocoder")


def speak(services: Services, request: Request, *, stream: bool) -> Response:
    """Answers POST /tts or, with `stream`, POST /tts/stream."""
    record: Record = g.record
    services.records.add(record)
    with ExitStack() as held:
        # Before the body is read: slow uploads must not take every thread.
        engine = held.enter_context(services.node.admitted())
        asked, recording = bodies.read_speech(request, services.settings, services.shared.limits.max_text)
        job = _job(services, engine, asked, recording, stream)
        handle = engine.submit(job)
        held.callback(handle.cancel)
        record.report = handle.report
        held.enter_context(services.hangups.watching(request.environ.get("gunicorn.socket"), handle.cancel))
        rate = asked.sample_rate or job.sample_rate
        record.sample_rate, record.format, record.seed = rate, asked.format, job.seed
        resampler = encoding.Resampler(job.sample_rate, rate)
        if stream:
            return _streamed(services, handle, resampler, asked, rate, held)
        return _whole(handle, resampler, asked, rate)


def _job(services: Services, engine: Engine, asked: SpeechRequest, recording: bytes | None, stream: bool) -> Job:
    from glmtts.engine.job import Job  # has been imported with the engine; at the top it would import torch

    began = time.monotonic()
    with _timed("text"):
        segments = tuple(engine.segments(asked.text, phoneme=asked.phoneme))
    with _timed("voice"):
        voice = _voice(services, engine, asked, recording)
    g.record.characters, g.record.segments = len(asked.text), len(segments)
    return Job(
        segments=segments,
        voice=voice,
        sample_rate=encoding.native_rate(asked.sample_rate or engine.info.sample_rates[0], engine.info.sample_rates),
        seed=secrets.randbits(32) if asked.seed is None else asked.seed,
        speed=services.shared.style.speed if asked.speed is None else asked.speed,
        history=asked.history,
        stream=stream,
        deadline=began + (asked.timeout or services.settings.queue_timeout),
    )


@contextmanager
def _timed(stage: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        g.record.stages[stage] = time.monotonic() - began


def _voice(services: Services, engine: Engine, asked: SpeechRequest, recording: bytes | None) -> Voice:
    if recording is not None:
        g.record.voice = "upload"
        return services.cache.get(engine.make_voice, recording, asked.reference_text)
    name = asked.voice or services.settings.default_voice
    try:
        encoded, transcript, _ = services.voices.prompt(name, asked.recording_style, services.shared.style.emotion)
    except ApiError as error:
        if asked.voice is not None or error.status != 404:
            raise
        message = f"voice: none came, and the default, {name!r}, is not stored; want a stored one, or reference_audio"
        raise ApiError(404, "unknown_voice", message, field="voice") from None
    g.record.voice = name
    return services.cache.get(engine.make_voice, encoded, transcript)


def _streamed(
    services: Services,
    handle: Handle,
    resampler: encoding.Resampler,
    asked: SpeechRequest,
    rate: int,
    held: ExitStack,
) -> Response:
    record: Record = g.record

    def failed(error: Exception) -> None:
        record.error = refusal(services.node.blame(error)).code

    encoder = encoding.make_encoder(asked.format, rate, None)
    body = SpeechStream(handle, resampler, encoder, failed)
    body.begin()
    record.first_audio = record.elapsed()
    response = Response(body, content_type=encoder.content_type)
    response.headers.update({"X-Accel-Buffering": "no", "Cache-Control": "no-store"})
    _describe(response, rate)
    # From here on the body's close() gives everything back.
    body.own(held.pop_all())
    return response


def _whole(handle: Handle, resampler: encoding.Resampler, asked: SpeechRequest, rate: int) -> Response:
    record: Record = g.record

    def started() -> None:
        record.first_audio = record.elapsed()

    wave = collect(handle, resampler, started)
    data, content_type = encoding.encode_whole(asked.format, wave, rate)
    response = Response(data, content_type=content_type)
    response.headers["X-Audio-Seconds"] = f"{len(wave) / rate:.3f}"
    response.headers["X-Finish-Reason"] = handle.report.finish_reason or "stop"
    _describe(response, rate)
    return response


def _describe(response: Response, rate: int) -> None:
    """The headers that are known before the audio has ended."""
    record: Record = g.record
    timings = record.timings()
    response.headers["X-Sample-Rate"] = str(rate)
    response.headers["X-Seed"] = str(record.seed)
    response.headers["Server-Timing"] = ", ".join(
        f"{stage};dur={1000 * timings[stage]:.1f}" for stage in SERVER_TIMING if stage in timings
    )
