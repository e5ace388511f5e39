"""A request's job in the engine, from its submission until its last chunk has been read."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from glmtts.dsp.audio import EMPTY_WAVE, Wave
from glmtts.engine.api import Engine, Job, Report
from glmtts.errors import EngineError
from server.http import continuation
from server.http.continuation import Continuation
from server.observability.playout import UnderrunMeter, measure_underruns
from server.observability.request_log import RequestRecord


class RunningJob:
    """Submits the job and records how it goes. As a context it cancels the job at its end, if it still runs.

    `mark`: what is heard before the speech, at the job's rate.
    """

    def __init__(self, engine: Engine, job: Job, record: RequestRecord, *, mark: Wave = EMPTY_WAVE) -> None:
        self.record = record
        self._mark = mark
        record.mark_seconds = len(mark) / job.sample_rate
        self._handle = engine.submit(job)
        self._info = engine.info
        self._last_index = job.segments[-1].index
        self._chunks = self._handle.chunks()
        self._first: Wave | None = None
        record.report = self._handle.report
        if job.stream:
            record.underrun_meter = UnderrunMeter()
            self._chunks = measure_underruns(self._chunks, job.sample_rate, record.underrun_meter)

    def __enter__(self) -> RunningJob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        # The record is kept, and the ids as integers take twenty times the memory of the token.
        self._handle.report.history = ()

    @property
    def report(self) -> Report:
        """Facts about the job; complete once its last chunk is read."""
        return self._handle.report

    @property
    def finish_reason(self) -> str:
        """Why the job ended: stop, or an anomaly."""
        return self.report.finish_reason or "stop"

    def on_disconnect(self, was_too_slow: bool) -> None:
        """Cancels the job: nobody is left to read it."""
        self.record.disconnected = not was_too_slow
        self._handle.cancel()

    def wait_for_audio(self) -> None:
        """Waits for the first chunk, so that a failure before it still has its own status. Raises the job's error."""
        self._first = next(self._chunks, None)
        if self._first is None:
            raise EngineError("the job ended without audio")
        self.record.first_audio_seconds = self.record.elapsed()

    def chunks(self) -> Iterator[Wave]:
        """The mark, if there is one, and all chunks.

        After the last one, but before its reader gets to the end, the record has the continuation.
        """
        if len(self._mark):
            yield self._mark
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._chunks
        done = Continuation(self._last_index + 1, self._handle.report.history)
        self.record.continuation = continuation.encode(done, self._info)
