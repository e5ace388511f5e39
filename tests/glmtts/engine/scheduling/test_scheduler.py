"""The scheduler as a state machine: whatever happens to them, every job ends once and every slot comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count, pairwise
from typing import cast

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from glmtts.config import GenerationConfig
from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.config import ChunkSchedule, SchedulerLimits
from glmtts.engine.scheduling.active_job import ActiveJob, ChunkTask, DecodeTask, SegmentState
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.job_queue import JobQueue
from glmtts.engine.scheduling.length_estimator import LengthEstimator
from glmtts.engine.scheduling.scheduler import Scheduler
from glmtts.errors import CancelledError, EngineError, QueueFullError, QueueTimeoutError
from glmtts.models.llm.history import History
from glmtts.text.frontend.frontend import Segment
from glmtts.voice.voice import Voice

SLOTS, PLACES = 3, 4
RATE = 50
GENERATION = GenerationConfig(min_ratio=0.0, max_ratio=3.0)
FAILURES = (CancelledError, QueueTimeoutError, EngineError)
JOBS = st.builds(
    lambda sizes, stream, speed: (sizes, stream, speed),
    st.lists(st.integers(1, 8), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([0.5, 1.0, 2.0]),
)


def audio_of(segment: SegmentState, start: int, end: int) -> Wave:
    """A sample a token, which tells the segment and the place."""
    return np.arange(start, end, dtype=np.float32) + 1000 * segment.segment.index


class SchedulerMachine(RuleBasedStateMachine):
    """Clients submit, read and cancel; the device decodes, renders and fails; in any order."""

    generation = GENERATION

    def __init__(self) -> None:
        super().__init__()
        self.tokens = count()
        self.chunk_tokens: dict[SegmentState, list[int]] = {}
        self.now = 0.0
        self.queue = JobQueue(PLACES)
        self.scheduler = Scheduler(
            self.queue,
            SLOTS,
            lambda job: History((1, 2), (3,), self.generation),
            LengthEstimator(0.1),
            generation=self.generation,
            chunk_schedule=ChunkSchedule(sizes=(2, 3), lookahead=1, left_context=2),
            limits=SchedulerLimits(prefill_chunk=5, max_buffered_seconds=0.3, reader_timeout=1e9),
        )
        self.handles: list[JobHandle] = []
        self.reasons: dict[JobHandle, str] = {}
        self.said: dict[JobHandle, list[float]] = {}
        self.cancelled: set[JobHandle] = set()

    # Clients

    @rule(job=JOBS)
    def submit(self, job: tuple[list[int], bool, float]) -> None:
        sizes, stream, speed = job
        segments = tuple(Segment(i, "", (5,) * size) for i, size in enumerate(sizes))
        asked = Job(segments, cast("Voice", None), RATE, seed=0, speed=speed, stream=stream)
        try:
            handle = self.queue.submit(asked, 1.0)
        except QueueFullError:
            assert self.queue.num_waiting() == PLACES
            return
        self.handles.append(handle)
        self.said[handle] = []

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(self.handles))
        handle.cancel()
        self.cancelled.add(handle)

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        self.take(data.draw(st.sampled_from(self.handles)))

    def take(self, handle: JobHandle) -> None:
        if handle.buffered_seconds > 0 or handle.ended:
            try:
                self.said[handle] += next(handle.chunks(), np.zeros(0, np.float32)).tolist()
            except FAILURES:
                assert handle.report.finish_reason in ("cancelled", "error") or handle in self.cancelled

    # The device

    @rule(data=st.data())
    def decode_step(self, data: st.DataObject) -> None:
        self.step(lambda: data.draw(st.sampled_from(["token", "token", "token", "end", "fault", "nothing"])))

    @rule(count=st.integers(2, 12), end=st.booleans())
    def decode_steps(self, count: int, end: bool) -> None:
        """Enough of them for prompts to be fed and for chunks, which single steps among all rules seldom are."""
        for _ in range(count):
            self.step(lambda: "token")
            self.schedule(None)
        if end:
            self.step(lambda: "end")

    def step(self, outcome: Callable[[], str]) -> None:
        self.now += 0.01
        scheduler = self.scheduler
        scheduler.sweep(self.now)
        scheduler.admit(self.now)
        assert not any(job.handle.ended for job in scheduler.jobs), "within one step its slot is free"
        scheduler.pop_released_slots()
        if (prefill := scheduler.next_prefill()) is not None:
            scheduler.on_prefill(prefill)
        for slot, task in scheduler.decode_tasks().items():
            assert task.job.slot == slot
            self.decode(task, outcome())

    def decode(self, task: DecodeTask, outcome: str) -> None:
        if outcome == "fault":
            self.scheduler.fail(task.job, EngineError("a fault"))
        elif outcome != "nothing":
            self.scheduler.on_token(task, next(self.tokens) if outcome == "token" else None)

    @rule(rate=st.sampled_from([None, 0.5, 4.0]), data=st.data())
    def render(self, rate: float | None, data: st.DataObject) -> None:
        tasks = self.schedule(rate)
        if tasks:
            self.scheduler.on_audio_step(tasks[0], self.now)
        for task in tasks[: data.draw(st.integers(1, SLOTS))]:
            outcome = data.draw(st.sampled_from(["whole", "whole", "part", "fault"]))
            if outcome == "fault":
                self.scheduler.fail(task.job, EngineError("a fault"))
                continue
            done = len(self.said_of(task.job, task.segment))
            end = task.chunk.end if outcome == "whole" else data.draw(st.integers(done, task.chunk.end))
            wave = audio_of(task.segment, done, end)
            self.scheduler.on_audio(task, wave, self.now, chunk_done=outcome == "whole")

    def schedule(self, rate: float | None) -> list[ChunkTask]:
        """The chunks to make now, whose tokens are noted: from here on a worker may have read them."""
        tasks = self.scheduler.schedule_audio(self.now, rate)
        assert not any(task.job.handle in self.cancelled for task in tasks), "no chunk is made for a cancelled job"
        self.chunk_tokens |= {task.segment: task.segment.tokens[: task.chunk.lookahead_end] for task in tasks}
        return tasks

    def make(self, task: ChunkTask) -> None:
        """All the audio of a chunk."""
        wave = audio_of(task.segment, len(self.said_of(task.job, task.segment)), task.chunk.end)
        self.scheduler.on_audio(task, wave, self.now, chunk_done=True)

    def said_of(self, job: ActiveJob, segment: SegmentState) -> list[float]:
        """Samples of the segment so far, read or not."""
        waiting = [sample for wave in job.handle._ready for sample in wave.tolist()]
        return [x for x in self.said[job.handle] + waiting if x // 1000 == segment.segment.index]

    # What holds always

    @invariant()
    def slots_are_conserved(self) -> None:
        """A slot is free or belongs to one job."""
        used = [job.slot for job in self.scheduler.jobs]
        assert sorted(used + self.scheduler._slots._free) == list(range(SLOTS))
        assert self.queue.num_running() == len(used)

    @invariant()
    def a_job_ends_once(self) -> None:
        """Its finish reason never changes, and a job that has not ended is queued or has a slot."""
        running = {job.handle for job in self.scheduler.jobs}
        waiting = set(self.queue._waiting)
        for handle in self.handles:
            reason = handle.report.finish_reason
            assert (reason is not None) == handle.ended
            if reason is None:
                assert (handle in running) != (handle in waiting)
            else:
                assert self.reasons.setdefault(handle, reason) == reason

    @invariant()
    def audio_is_in_order(self) -> None:
        """What a reader gets begins with the first segment's first token and has no gap and no overlap."""
        for said in self.said.values():
            assert not said or said[0] % 1000 == 0
            for before, after in pairwise(said):
                assert after == before + 1 or (after % 1000 == 0 and after > before)

    @invariant()
    def tokens_of_chunks_stay(self) -> None:
        """A segment is not drawn again once a chunk of it is made."""
        for segment, tokens in self.chunk_tokens.items():
            assert segment.tokens[: len(tokens)] == tokens

    @invariant()
    def a_row_decodes_or_waits_for_its_prompt(self) -> None:
        """Never both: the device must begin a new draw before it is asked for a token of it."""
        decoding = {task.job for task in self.scheduler.decode_tasks().values()}
        prefills = set(self.scheduler._prefills)
        assert not decoding & prefills
        assert decoding | prefills == {job for job in self.scheduler.jobs if job.decoding is not None}

    def teardown(self) -> None:
        """When rows end and readers read, every job ends, and a job without a failure has spoken every token."""
        for _ in range(4000):
            if all(handle.ended for handle in self.handles) and not self.scheduler.jobs:
                break
            for handle in self.handles:
                self.take(handle)
            self.step(lambda: "end")
            for task in self.scheduler.schedule_audio(self.now, None):
                self.make(task)
        assert self.scheduler._slots._free == list(range(SLOTS))[::-1]
        assert self.queue.is_empty()
        for handle in self.handles:
            assert handle.ended
            while handle.buffered_seconds > 0:
                self.take(handle)
            if handle.report.finish_reason in ("stop", "length") and handle not in self.cancelled:
                assert handle.report.segments_done == len(handle.job.segments)
                assert len(self.said[handle]) == handle.report.speech_tokens


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=60)


class RedrawMachine(SchedulerMachine):
    """The same for a checkpoint that draws implausible segments again; texts of up to 5 ids are short."""

    generation = GenerationConfig(
        min_ratio=0.0, max_ratio=3.0, tokens_per_id=1.0, max_length_ratio=1.4, max_redraws=2, max_redraw_tokens=7
    )

    @invariant()
    def draws_are_bounded_and_counted(self) -> None:
        counted = sum(handle.report.redraws for handle in self.handles)
        assert sum(self.scheduler.redraws.values()) == counted
        for handle in self.handles:
            assert handle.report.redraws <= 2 * len(handle.job.segments)


TestRedraws = RedrawMachine.TestCase
TestRedraws.settings = TestScheduler.settings


def test_silence_after_a_segment_without_tokens() -> None:
    """It follows the audio of the segment before, which has not been made when the one without tokens ends."""
    machine = SchedulerMachine()
    segments = tuple(Segment(index, "", (5,) * 2, pause) for index, pause in enumerate([0.1, 0.06, 0.02]))
    handle = machine.queue.submit(Job(segments, cast("Voice", None), RATE, seed=0, stream=False), 1.0)
    machine.handles, machine.said[handle] = [handle], []
    outcomes = ["token", "token", "end", "end", "token", "end"]
    while outcomes:
        machine.step(lambda: outcomes.pop(0))
    while not handle.ended:
        for task in machine.scheduler.schedule_audio(machine.now, None):
            machine.make(task)
    while handle.buffered_seconds > 0:
        machine.take(handle)
    assert machine.said[handle] == [0.0, 1.0, *[0.0] * (5 + 3), 2000.0, 0.0]


def test_a_whole_job_ends_beside_listeners_that_are_always_urgent() -> None:
    """The engine is too slow for its listeners, and still makes a step for a whole job now and then."""
    machine = SchedulerMachine()
    machine.now = time.monotonic()  # the clock on which a listener runs dry
    machine.submit(([100], True, 1.0))
    machine.submit(([3], False, 1.0))
    listener, whole = machine.handles
    while len(machine.scheduler.decode_tasks()) < 2:
        machine.step(lambda: "token")
    for _ in range(80):
        for _ in range(4):  # a chunk's tokens, so that the listener always has one that is due
            machine.step(lambda: "token")
        tasks = machine.scheduler.schedule_audio(machine.now, 0.5)
        if tasks and not whole.ended:
            machine.scheduler.on_audio_step(tasks[0], machine.now)
            machine.now += 0.5  # a token of sound is heard in 0.02 s
            machine.make(tasks[0])
        machine.take(listener)
    assert whole.ended
    assert not listener.ended


def test_a_reader_that_does_not_read_keeps_nobody_from_starting() -> None:
    """A listener who reads nothing has run dry by the clock, and yet needs nothing: the next one may start."""
    machine = SchedulerMachine()
    machine.now = time.monotonic()
    machine.submit(([100], True, 1.0))
    while not any(map(machine.scheduler.is_backpressured, machine.scheduler.jobs)):
        machine.step(lambda: "token")
        for task in machine.scheduler.schedule_audio(machine.now, None):
            machine.make(task)
    machine.submit(([3], True, 1.0))
    machine.now += 60.0
    for _ in range(20):
        machine.step(lambda: "token")
    machine.scheduler.schedule_audio(machine.now, 0.5)
    assert [job.audible for job in machine.scheduler.jobs] == [True, True]
