"""Listeners who each hear one utterance after another, on an engine whose steps cost what `Costs` says.

The rules are the engine's: a decode thread, one chunk of a prompt between two steps; an audio thread, which takes all
chunks that are in the same stage as the oldest one; chunks of `ChunkSchedule`. Who may start, and who is in a hurry, is
left out.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

from glmtts.engine.config import ChunkSchedule
from glmtts.engine.scheduling.pace import Pace, paced_schedule
from scripts.prediction.costs import Costs, Work
from scripts.prediction.sharing import Clock, Thread, Use
from scripts.prediction.stages import PROMPT_CHUNKS

REQUEST_HOST, REQUEST_WAIT = 0.025, 0.040
"""Of a request, apart from launches: host seconds (HTTP, text, encoding, bookkeeping), and seconds before its first
audio in which it waits for no one. Fitted to two figures of the H100 over HTTP: 0.11 s for 1 listener, 0.68 for 16."""
TOKENS = (110, 140)
"""Of the utterances, about five seconds at 25 a second."""
TOKENS_PER_SECOND, HELD_BACK_SECONDS = 25, 0.42
"""The vocoder holds back its 21 frames of context until a segment's last chunk."""
SCHEDULE = ChunkSchedule()
WARM_UP_CHUNK = 25
"""Tokens of the chunks by which an engine measures its pace."""


class Prediction(NamedTuple):
    """Seconds to the first audio (median), audio seconds per second, and the longest silence within a stream."""

    first_audio: float
    audio_per_second: float
    worst_silence: float


@dataclass(eq=False)
class Job:
    """An utterance: how far it is."""

    tokens: int
    start: float
    sizes: list[int]
    lookahead: int = SCHEDULE.lookahead
    prompt_chunks: int = PROMPT_CHUNKS
    decoded: int = 0
    done_chunks: int = 0
    has_mel: bool = False
    ready_since: float = 0.0
    audio: float = 0.0
    first_audio: float | None = None
    silence: float = 0.0

    @property
    def chunk_is_ready(self) -> bool:
        """Whether the tokens of the next chunk and those after it exist."""
        if self.done_chunks == len(self.sizes):
            return False
        needed = sum(self.sizes[: self.done_chunks + 1]) + self.lookahead
        return self.decoded >= min(needed, self.tokens)

    @property
    def done(self) -> bool:
        return self.done_chunks == len(self.sizes)


@dataclass
class Engine:
    """The jobs, and what is done for them."""

    costs: Costs
    clock: Clock
    jobs: list[Job] = field(default_factory=list)
    finished: list[Job] = field(default_factory=list)

    def decode_thread(self) -> Thread:
        while True:
            waiting = next((job for job in self.jobs if job.prompt_chunks), None)
            if waiting is not None:
                yield from _uses(self.costs.prefill())
                waiting.prompt_chunks -= 1
            rows = [job for job in self.jobs if not job.prompt_chunks and job.decoded < job.tokens]
            if not rows:
                if waiting is None:
                    yield None
                continue
            yield from _uses(self.costs.decode(len(rows)))
            for job in rows:
                job.decoded += 1
                if job.chunk_is_ready:
                    job.ready_since = job.ready_since or self.clock.now

    def audio_thread(self) -> Thread:
        while True:
            ready = sorted((job for job in self.jobs if job.chunk_is_ready), key=lambda job: job.ready_since)
            if not ready:
                yield None
                continue
            batch = [job for job in ready if job.has_mel == ready[0].has_mel]
            largest = max(job.sizes[job.done_chunks] for job in batch)
            rendered = ready[0].has_mel
            batch = batch[: self.costs.most_window_rows if rendered else self.costs.most_flow_rows(largest)]
            step = self.costs.vocoder if rendered else self.costs.flow
            yield from _uses(step(largest, len(batch)))
            for job in batch:
                self._advance(job)

    def _advance(self, job: Job) -> None:
        """After a step of the flow or of the vocoder."""
        if not job.has_mel:
            job.has_mel = True
            return
        now = self.clock.now
        if job.first_audio is None:
            job.first_audio = now
        job.silence = max(job.silence, now - (job.first_audio + job.audio))
        job.audio = sum(job.sizes[: job.done_chunks + 1]) / TOKENS_PER_SECOND - HELD_BACK_SECONDS
        job.done_chunks, job.has_mel, job.ready_since = job.done_chunks + 1, False, 0.0
        if job.chunk_is_ready:
            job.ready_since = now
        if job.done:
            job.audio += HELD_BACK_SECONDS
            self.jobs.remove(job)
            self.finished.append(job)


def listener_thread(engine: Engine, number: int, utterances: int, schedule: ChunkSchedule) -> Thread:
    for index in range(utterances):
        shortest, longest = TOKENS
        tokens = shortest + 7 * (number + 3 * index) % (longest - shortest + 1)
        job = Job(tokens, engine.clock.now, chunk_sizes(tokens, schedule), schedule.lookahead)
        yield Use("host", REQUEST_HOST)
        yield Use("clock", REQUEST_WAIT)
        engine.jobs.append(job)
        while not job.done:
            yield None


def chunk_sizes(tokens: int, schedule: ChunkSchedule = SCHEDULE) -> list[int]:
    """Of an utterance's chunks; a rest that is too short for a lookahead joins the last one."""
    sizes = list[int]()
    while tokens > 0:
        size = schedule.sizes[min(len(sizes), len(schedule.sizes) - 1)]
        sizes.append(size if tokens >= size + schedule.lookahead else tokens)
        tokens -= sizes[-1]
    return sizes


def paced(costs: Costs) -> ChunkSchedule:
    """The chunks of an engine that fits them to its measured pace."""
    chunk = (costs.flow(WARM_UP_CHUNK, 1), costs.vocoder(WARM_UP_CHUNK, 1))
    pace = Pace(sum(costs.decode(1)), sum(map(sum, chunk)))
    return paced_schedule(SCHEDULE, pace, HELD_BACK_SECONDS)


def predict(costs: Costs, listeners: int, utterances: int = 4, *, schedule: ChunkSchedule = SCHEDULE) -> Prediction:
    """Of so many listeners with so many utterances each, all begun at once."""
    clock = Clock()
    engine = Engine(costs, clock)
    threads = [engine.decode_thread(), engine.audio_thread()]
    clock.run(threads + [listener_thread(engine, number, utterances, schedule) for number in range(listeners)])
    jobs = engine.finished
    return Prediction(
        statistics.median((job.first_audio or 0.0) - job.start for job in jobs),
        sum(job.audio for job in jobs) / clock.now,
        max(job.silence for job in jobs),
    )


def _uses(work: Work) -> Thread:
    yield Use("host", work.host)
    if work.device:
        yield Use("device", work.device)
