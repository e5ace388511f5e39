"""The way of a speech request: body → voice → segments → job → audio, whole or as a stream.

Each step's failure is an exception that server.errors maps; whatever was taken is given back by one ExitStack.
Knows nothing about how the engine does its work.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Request, Response, g

from glmtts.dsp.audio import Wave
from glmtts.engine.api import Engine, Handle, Job
from server.errors import ApiError, refusal
from server.http import continuation, encoding, parsing
from server.http.context import Services
from server.http.continuation import Continuation
from server.http.schemas import SpeechRequest
from server.http.streaming import SpeechStream, collect
from server.observability.playout import UnderrunMeter, measure_underruns
from server.observability.request_log import RequestRecord

if TYPE_CHECKING:  # loads torch, which this package does without
    from glmtts.voice.voice import Voice

SERVER_TIMING = ("queue", "text", "voice", "ar", "flow", "vocoder")
LONGEST_HEADER = 3000
"""Characters of X-Continuation: common proxies take 4 KiB of headers. A longer one is at /requests/<id> only."""


def speak(services: Services, request: Request, *, stream: bool) -> Response:
    """Answers POST /tts or, with `stream`, POST /tts/stream."""
    record: RequestRecord = g.record
    services.records.add(record)
    with ExitStack() as held:
        # Before the body is read: slow uploads must not take every thread.
        engine = held.enter_context(services.node.admit())
        asked, recording = parsing.read_speech(request, services.settings, services.shared.limits.max_text_chars)
        job = _job(services, engine, asked, recording, stream)
        handle = engine.submit(job)
        # The ids as numbers take twenty times a token's memory, and the record is kept, also of those who hang up.
        held.callback(setattr, handle.report, "history", ())
        held.callback(handle.cancel)
        record.report = handle.report
        held.enter_context(services.hangups.watching(request.environ.get("gunicorn.socket"), _hangup(record, handle)))
        rate = asked.sample_rate or job.sample_rate
        record.sample_rate, record.format, record.seed = rate, asked.format, job.seed
        resampler = encoding.Resampler(job.sample_rate, rate)

        def finished() -> None:
            spoken = Continuation(job.segments[-1].index + 1, handle.report.history)
            record.continuation = continuation.write(spoken, engine.info)

        if stream:
            record.underrun_meter = UnderrunMeter()
            chunks = measure_underruns(handle.chunks(), job.sample_rate, record.underrun_meter)
            return _streamed(services, _followed(chunks, finished), resampler, asked, rate, held)
        return _whole(handle, resampler, asked, rate, finished)


def _job(services: Services, engine: Engine, asked: SpeechRequest, recording: bytes | None, stream: bool) -> Job:
    began = time.monotonic()
    before = continuation.read(asked.continuation, engine.info) if asked.continuation is not None else Continuation()
    with g.record.timed("text"):
        segments = tuple(
            # Counted on: a segment's randomness is a function of its number.
            replace(segment, index=before.segments + segment.index)
            for segment in engine.segments(asked.text, phoneme=asked.phoneme, segmented=asked.segmented)
        )
    with g.record.timed("voice"):
        voice = _voice(services, engine, asked, recording)
    g.record.characters, g.record.segments = len(asked.text), len(segments)
    g.record.prompted, g.record.history = voice.prompted, asked.history
    return Job(
        segments=segments,
        voice=voice,
        sample_rate=encoding.native_rate(asked.sample_rate or engine.info.sample_rates[0], engine.info.sample_rates),
        seed=secrets.randbits(32) if asked.seed is None else asked.seed,
        speed=services.shared.style.speed if asked.speed is None else asked.speed,
        use_history=asked.history,
        stream=stream,
        deadline=began + (asked.timeout or services.settings.queue_timeout),
        history=before.spoken,
    )


def _hangup(record: RequestRecord, handle: Handle) -> Callable[[], None]:
    def gone() -> None:
        record.disconnected = True
        handle.cancel()

    return gone


def _voice(services: Services, engine: Engine, asked: SpeechRequest, recording: bytes | None) -> Voice:
    if recording is not None:
        g.record.voice = "upload"
        return services.cache.get(engine.make_voice, recording, asked.reference_text)
    name = asked.voice or services.settings.default_voice
    try:
        encoded, transcript, _ = services.voices.reference(name, asked.recording_style, services.shared.style.emotion)
    except ApiError as error:
        if asked.voice is not None or error.status != 404:
            raise
        message = f"voice: none came, and the default, {name!r}, is not stored; want a stored one, or reference_audio"
        raise ApiError(404, "unknown_voice", message, field="voice") from None
    g.record.voice = name
    return services.cache.get(engine.make_voice, encoded, transcript)


def _streamed(
    services: Services,
    chunks: Iterator[Wave],
    resampler: encoding.Resampler,
    asked: SpeechRequest,
    rate: int,
    held: ExitStack,
) -> Response:
    record: RequestRecord = g.record

    def failed(error: Exception) -> None:
        record.error = refusal(services.node.attribute_to_shutdown(error)).code

    encoder = encoding.make_encoder(asked.format, rate, None)
    body = SpeechStream(chunks, resampler, encoder, failed)
    body.begin()
    record.first_audio = record.elapsed()
    response = Response(body, content_type=encoder.content_type)
    response.headers.update({"X-Accel-Buffering": "no", "Cache-Control": "no-store"})
    _describe(response, rate)
    # From here on the body's close() gives everything back.
    body.own(held.pop_all())
    return response


def _followed(chunks: Iterator[Wave], then: Callable[[], None]) -> Iterator[Wave]:
    """All of `chunks`, and `then`: that is before the last bytes of them leave."""
    yield from chunks
    then()


def _whole(
    handle: Handle, resampler: encoding.Resampler, asked: SpeechRequest, rate: int, finished: Callable[[], None]
) -> Response:
    record: RequestRecord = g.record

    def started() -> None:
        record.first_audio = record.elapsed()

    wave = collect(handle, resampler, started)
    finished()
    data, content_type = encoding.encode_whole(asked.format, wave, rate)
    response = Response(data, content_type=content_type)
    if record.continuation is not None and len(record.continuation) <= LONGEST_HEADER:
        response.headers["X-Continuation"] = record.continuation
    response.headers["X-Audio-Seconds"] = f"{len(wave) / rate:.3f}"
    response.headers["X-Finish-Reason"] = handle.report.finish_reason or "stop"
    _describe(response, rate)
    return response


def _describe(response: Response, rate: int) -> None:
    """The headers that are known before the audio has ended."""
    record: RequestRecord = g.record
    timings = record.timings()
    response.headers["X-Sample-Rate"] = str(rate)
    response.headers["X-Seed"] = str(record.seed)
    response.headers["Server-Timing"] = ", ".join(
        f"{stage};dur={1000 * timings[stage]:.1f}" for stage in SERVER_TIMING if stage in timings
    )
