"""One text that comes in pieces, spoken as one file: its pieces are a chain of jobs, as if it were one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from flask import Flask, g
from werkzeug.datastructures import EnvironHeaders

from glmtts.engine.api import Engine
from glmtts.errors import CancelledError, LanguageError, TextError
from server.errors import to_error_info
from server.http.access import Caller
from server.http.audible_mark import mark_before
from server.http.context import AppContext
from server.http.encoding import Encoder, make_encoder
from server.http.job_builder import make_job
from server.http.lifecycle import finish_request
from server.http.openai.create_speech import make_plan, parse_body
from server.http.provenance import Provenance
from server.http.running_job import RunningJob
from server.http.schemas import SpeechRequest
from server.observability.request_log import RequestRecord

ROUTE = "/v1/audio/speech/stream"
"""Also the route of the records: each piece counts as a request."""

Send = Callable[[dict[str, Any] | bytes], None]
"""Sends a message or audio to the client, and blocks until the client has taken most of it."""


class Utterance:
    """Speaks pieces in one voice and encodes them as one file. Its methods block, except `cancel`.

    `environ`: of the handshake.
    """

    def __init__(
        self,
        app: Flask,
        context: AppContext,
        caller: Caller,
        environ: dict[str, Any],
        config: dict[str, Any],
        send: Send,
    ) -> None:
        self._app = app
        self._context = context
        self._caller = caller
        self._headers = EnvironHeaders(environ)
        self._address = environ["REMOTE_ADDR"]
        self._config = config
        self._send = send
        self._params: SpeechRequest | None = None
        self._encoder: Encoder | None = None
        self._engine: Engine | None = None
        self._admission = ExitStack()
        self._resources = ExitStack()
        self._seconds = 0.0
        self._sentences = 0
        self._unspeakable: Exception | None = None
        self._working = threading.Lock()
        self._lock = threading.Lock()
        self._running: RunningJob | None = None
        self._is_cancelled = False

    @property
    def has_begun(self) -> bool:
        """Whether there has been audio."""
        return self._encoder is not None

    def synthesize(self, text: str) -> None:
        """Speaks a piece, and returns when its audio has been sent. Without letters it is skipped.

        Raises what a request raises; CancelledError after `cancel`.
        """
        record = RequestRecord.from_headers(self._headers, ROUTE)
        record.key = self._caller.name
        with self._working, self._app.app_context():
            g.caller, g.address, g.record = self._caller, self._address, record
            try:
                record.release = self._context.access.begin(self._caller)
                self._speak(text, record)
            except (TextError, LanguageError) as error:
                self._unspeakable = error
                record.status, record.error = 400, to_error_info(error).code
            except Exception as error:
                record.disconnected |= isinstance(error, OSError)
                cause = CancelledError("the client left") if record.disconnected else error
                info = to_error_info(self._context.node.attribute_to_shutdown(cause))
                record.status, record.error = record.status or info.status, info.code
                raise
            finally:
                finish_request(self._context, record, "GET", time.monotonic())

    def _speak(self, text: str, record: RequestRecord) -> None:
        engine = self._engine = self._engine or self._admission.enter_context(self._context.node.admit())
        with ExitStack() as resources:
            params = self._piece(text)
            job = make_job(self._context, engine, params, stream=True)
            record.format = params.format
            mark = mark_before(job, enabled=self._context.settings.audible_mark)
            running = resources.enter_context(RunningJob(engine, job, record, mark=mark))
            resources.enter_context(self._cancellable(running))
            running.wait_for_audio()
            record.status = 200
            encoder = self._encoder or self._begin(engine, params, job.sample_rate)
            record.sample_rate = encoder.sample_rate
            start, sent = self._seconds, 0
            for wave in running.chunks():
                self._seconds += len(wave) / job.sample_rate
                self._send_audio(encoder.encode(wave))
                sent = self._send_sentences(record, start, sent)
            self._send_sentences(record, start, sent)
        self._params = params.model_copy(update={"continuation": record.continuation, "seed": record.seed})

    def _piece(self, text: str) -> SpeechRequest:
        """The request for a piece: the configured one, which continues the piece before."""
        if self._params is not None:
            return self._params.model_copy(update={"text": text})
        return make_plan(self._context, parse_body(self._context, {**self._config, "input": text})).params

    def _begin(self, engine: Engine, params: SpeechRequest, source_rate: int) -> Encoder:
        provenance = Provenance(engine.info.model, engine.info.model_version)
        sample_rate = params.sample_rate or source_rate
        encoder = make_encoder(params.format, source_rate, sample_rate, provenance, streamed=True)
        self._encoder = self._resources.enter_context(encoder)
        self._send({"type": "audio.start", "sample_rate": encoder.sample_rate, "format": params.format})
        return encoder

    def _send_audio(self, data: bytes) -> None:
        if data:
            self._send(data)

    def _send_sentences(self, record: RequestRecord, start: float, sent: int) -> int:
        """Says where the sentences are whose audio is complete; returns how many of this piece are."""
        timings = record.segment_timings()
        for timing in timings[sent:]:
            times = {"start_s": start + timing.start_seconds, "end_s": start + timing.end_seconds}
            rounded = {name: round(seconds, 3) for name, seconds in times.items()}
            self._send({"type": "sentence", "index": self._sentences, "text": timing.text, **rounded})
            self._sentences += 1
        return len(timings)

    def pause(self) -> None:
        """Gives the node's place back until the next piece. Until then a drain waits, as for any request."""
        self._engine = None
        self._admission.close()

    def finish(self) -> None:
        """Sends the rest of the file. TextError, LanguageError: there was nothing that can be spoken."""
        if self._encoder is not None:
            with self._working:
                self._send_audio(self._encoder.flush())
                self._send({"type": "audio.done", "audio_seconds": round(self._seconds, 3)})
        elif self._unspeakable is not None:
            raise self._unspeakable

    def close(self) -> None:
        """Releases everything, once nothing is being spoken any more."""
        with self._working:
            self.pause()
            self._resources.close()

    def cancel(self) -> None:
        """Ends what is being spoken, at once; the client has left. Thread-safe."""
        with self._lock:
            self._is_cancelled = True
            if self._running is not None:
                self._running.on_disconnect(False)

    @contextmanager
    def _cancellable(self, running: RunningJob) -> Iterator[None]:
        with self._lock:
            if self._is_cancelled:
                raise CancelledError("the client left")
            self._running = running
        try:
            yield
        finally:
            with self._lock:
                self._running = None
