"""The engine: many jobs at once on one device, drawn together and sounding while they are being drawn.

Two kinds of step, each of which takes along whoever needs it: `_draw` gives every row its next token, `_sound` takes
blocks one solver step or one vocoder window further. They run at the same time: one thread draws, and one (with a CUDA
stream of its own) or more make sound; or else one thread does what is most urgent. What a step is for decides the
scheduler, what it computes the runners `drawing` and `sound`. Knows nothing about HTTP.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch

from glmtts.audio import FRAME_RATE, TOKEN_RATE
from glmtts.checkpoint import Model
from glmtts.engine.deadlines import Expectation, work
from glmtts.engine.drawing import Drawing
from glmtts.engine.faults import as_ours
from glmtts.engine.handle import JobHandle
from glmtts.engine.job import EngineInfo, Job
from glmtts.engine.line import Line
from glmtts.engine.loops import Loop, Loops
from glmtts.engine.memory import reserve
from glmtts.engine.options import DEFAULTS, Options, SoundLimits
from glmtts.engine.scheduler import Scheduler
from glmtts.engine.sound import Sound
from glmtts.engine.speech import Item
from glmtts.engine.stats import ROWS, SECONDS, Counter, EngineStats, Pace
from glmtts.engine.streams import Stream, Utterance
from glmtts.history import History, check_spoken
from glmtts.models.decode import Row
from glmtts.models.prompt import prompt_layout
from glmtts.offline import check
from glmtts.text.frontend import Segment
from glmtts.voice.voice import Voice

FEATURES = ("emotion", "phoneme_control", "kv_cache", "streaming")
CPU_SOUND = SoundLimits()
GPU_SOUND = SoundLimits(frames=16384, piece=1024, prompt=250)
CPU_THREADS, GPU_THREADS = 3, 2
"""A GPU makes a batch of blocks about as fast as one, a core does not: there, two makers of sound share them out."""

Drawn = tuple[Stream, Utterance]


class BatchEngine:
    """See the module. `model` is what `glmtts.checkpoint.load` gives; DeviceMemoryError when the slots do not fit."""

    def __init__(self, model: Model, options: Options = DEFAULTS) -> None:
        self._model, self._options = model, options
        self._frontend = model.frontend
        info, gpu = model.info, model.device.type == "cuda"
        self.info = EngineInfo(
            info.name, info.version, info.languages, model.sample_rates, FEATURES, str(model.device), options.slots
        )
        sound = options.sound or (GPU_SOUND if gpu else CPU_SOUND)
        threads = options.threads or (GPU_THREADS if gpu else CPU_THREADS)
        self._makers = max(1, threads - 1)
        self._taken: set[Stream] = set()
        self._reserved = reserve(model, options, sound)
        self._drawing: Drawing[Drawn] = Drawing(model, options.slots, fixed_shape=options.deterministic)
        self._runner = Sound(model, sound)
        self._line = Line(options.waiting)
        self._expectation = Expectation(_first_guess(model))
        self._scheduler = Scheduler(
            self._line,
            options.slots,
            self._chain,
            self._expectation,
            ladder=options.ladder,
            limits=options.limits,
            behind=max(vocoder.context_frames for vocoder in model.vocoders.values()) / FRAME_RATE,
            makers=self._makers,
        )
        self._step_seconds, self._step_rows, self._flow_rows = Counter(SECONDS), Counter(ROWS), Counter(ROWS)
        self._failures = 0
        self._pace = Pace((1,) if threads == 1 else (1, self._makers))
        self._loop = Loops(self._line, model.device, self._fail_all, *self._loops(threads))

    # What a caller asks for: see `glmtts.engine.job.Engine`.

    def set_replacements(self, words: Mapping[str, str]) -> None:
        self._frontend = self._model.frontend.replacing(words)

    def segments(self, text: str, *, phoneme: bool | None = None, segmented: bool = False) -> list[Segment]:
        return self._frontend.segments(text, phoneme=phoneme, segmented=segmented)

    def make_voice(self, recording: bytes, transcript: str) -> Voice:
        return self._model.voice_maker.make_voice(recording, transcript)

    def submit(self, job: Job) -> JobHandle:
        model = self._model
        check(model, job.voice, job.sample_rate, job.seed, job.speed)
        check_spoken(job.earlier, vocabulary=model.llm.config.vocab_size, speech_tokens=model.special.speech_tokens)
        alone = self._history(job)
        for segment in job.segments:  # what fits after the voice alone fits with the history that is left to it
            alone.prompt(segment.ids)
        tokens = sum(self._expectation.tokens(len(segment.ids)) for segment in job.segments)
        retry_after = min(60.0, max(1.0, self.owed_seconds() / (self._pace.sound or 1.0)))
        return self._line.submit(job, tokens / TOKEN_RATE / job.speed, retry_after)

    def progress_age(self) -> float:
        return self._loop.age()

    def owed_seconds(self) -> float:
        with self._line.changed:
            left = {stream.handle: self._scheduler.left(stream) for stream in self._scheduler.streams}
            return self._line.owed(lambda handle: left.get(handle, 0.0))

    def waiting(self) -> int:
        return self._line.waiting()

    def running(self) -> int:
        return self._line.running()

    def stats(self) -> EngineStats:
        with self._line.changed:
            streams = self._scheduler.streams
            return EngineStats(
                step_seconds=self._step_seconds.tally(),
                step_rows=self._step_rows.tally(),
                flow_rows=self._flow_rows.tally(),
                slots_used=len(streams),
                slots_total=self._options.slots,
                reserved_bytes=self._reserved,
                voice_bytes=self._runner.memories.bytes,
                voice_hits=self._runner.memories.hits,
                voice_misses=self._runner.memories.misses,
                unsent_seconds=self._line.unsent() + sum(stream.lead for stream in streams),
                held=sum(map(self._scheduler.held, streams)),
                pace=self._pace.sound,
                retries=self._drawing.retries.count + self._runner.retries.count,
                failures=self._failures,
            )

    def close(self, grace: float = 0.0) -> None:
        self._line.close(grace)
        self._loop.join()

    def _history(self, job: Job) -> History:
        prompt = job.voice.prompt_tokens.tolist()
        model = self._model
        return History(job.voice.prompt_text, prompt, model.generation, enabled=job.history, slot=model.slot)

    def _chain(self, job: Job) -> History:
        """Of the voice and of what an earlier job has said."""
        chain = self._history(job)
        for text, speech in job.earlier:
            chain.add(text, speech)
        return chain

    # Steps

    def _loops(self, threads: int) -> list[Loop]:
        cores = torch.get_num_threads()
        if threads == 1:
            return [Loop("engine", self._in_turn, cores)]
        # A step of the AR model is too small to be shared out. More threads than cores is well for those of the engine,
        # which wait for each other at no barrier; within a step it is not.
        share = max(1, (cores - 1) // self._makers)
        makers = [Loop(f"sound {i}", self._make, share, own_stream=True) for i in range(self._makers)]
        return [Loop("draw", self._draw, 1), *makers]

    def _in_turn(self) -> bool:
        with self._line.changed:
            items = self._due()
            self._keep_house()
            turn = self._scheduler.turn(time.monotonic(), self._rate(), items)
        return self._sound(items) if turn == "sound" else self._draw()

    def _keep_house(self) -> None:
        """Lets jobs go and come. Only the thread that draws does so: it alone knows that no step is under way."""
        now = time.monotonic()
        self._scheduler.sweep(now)
        self._scheduler.admit(now)
        for slot in self._scheduler.freed:
            self._drawing.release(slot)
        self._scheduler.freed.clear()

    def _fail(self, stream: Stream, error: Exception) -> None:
        with self._line.changed:
            self._failures += 1
            self._scheduler.fail(stream, as_ours(error))

    def _fail_all(self, error: Exception) -> None:
        with self._line.changed:
            for stream in self._scheduler.streams:
                self._fail(stream, error)

    # Drawing

    def _draw(self) -> bool:
        """Some ids of one prompt, and a token for every row. False when there is neither."""
        with self._line.changed:
            self._keep_house()
            piece = self._scheduler.next_prefill()
        if piece is not None:
            self._prefill(*piece)
        with self._line.changed:
            rows = self._scheduler.rows()  # after the prefill: a row that it has completed draws in this step
        if rows or self._drawing.unread:
            self._step(rows)
        return piece is not None or bool(rows)

    def _prefill(self, stream: Stream, utterance: Utterance) -> None:
        began, count = time.monotonic(), self._options.limits.prefill
        prompt, job = utterance.prompt, stream.job
        ids = prompt_layout(prompt.text, utterance.segment.ids, prompt.speech, self._model.special)
        row = Row(ids, prompt.bounds, job.seed, utterance.segment.index)
        try:
            self._drawing.prefill(stream.slot, row, utterance.fed, count)
        except Exception as error:
            self._fail(stream, error)
            return
        with self._line.changed:
            self._scheduler.prefilled(stream, utterance)
        self._book("prefill", [stream], began, stage=0)

    def _step(self, rows: dict[int, Drawn]) -> None:
        began = time.monotonic()
        drawn = self._drawing.step(rows)
        with self._line.changed:
            for (stream, utterance), token in drawn:
                if isinstance(token, Exception):
                    self._fail(stream, token)
                else:
                    self._scheduler.drew(stream, utterance, token)
            self._line.notify()
        if rows:
            self._step_seconds.note(time.monotonic() - began)
            self._step_rows.note(len(rows))
            self._book("decode", [stream for stream, _ in rows.values()], began, stage=0)

    # Sounding

    def _rate(self) -> float | None:
        """The work that one maker does in a second."""
        return self._pace.work and self._pace.work / self._makers

    def _due(self) -> list[Item]:
        return self._scheduler.sounding(time.monotonic(), self._rate())

    def _make(self) -> bool:
        """A step for jobs that no other maker is at: of several makers each takes one, a single one all that it can."""
        with self._line.changed:
            free = [item for item in self._due() if item[0] not in self._taken]
            mine = free if self._makers == 1 else free[:1]
            self._taken.update(stream for stream, *_ in mine)
        try:
            return self._sound(mine)
        finally:
            with self._line.changed:
                self._taken.difference_update(stream for stream, *_ in mine)
                if mine and self._makers > 1:
                    self._line.notify()

    def _sound(self, items: list[Item]) -> bool:
        """One step for the most urgent block and those that it can take along. False when there is none."""
        began = time.monotonic()
        if not items:
            return self._rehearse(began)
        name, batch, made = self._runner.step(items)
        if name == "flow" and batch:
            self._flow_rows.note(len(batch))
        self._book(name, [stream for stream, *_ in batch], began, stage=-1)
        with self._line.changed:
            for (stream, utterance, block), wave, whole, error in made:
                if error is not None:
                    self._fail(stream, error)
                else:
                    self._scheduler.made(stream, utterance, wave, time.monotonic(), whole=whole)
                    done = work(block.ahead - block.start) if whole else 0.0
                    self._pace.made(len(wave) / stream.job.sample_rate, done)
            if made:
                self._line.notify()
        return True

    def _rehearse(self, began: float) -> bool:
        """While there is nothing to make sound of: gets to know the voice of a job that is being drawn."""
        with self._line.changed:
            streams = self._scheduler.streams
        stream = self._runner.rehearse(streams)
        if stream is not None:
            self._book("flow", [stream], began, stage=-1)
        return stream is not None

    def _book(self, name: str, streams: list[Stream], began: float, stage: int) -> None:
        ended = time.monotonic()
        self._pace.spent(stage, ended - began)
        for stream in streams:
            stream.handle.report.spend(name, began, ended, 1 / len(streams))


def _first_guess(model: Model) -> float:
    """Speech tokens a text id, before anything has been learnt: between the least and the most that it may be."""
    least, most = (max(ratio, 0.1) for ratio in (model.generation.min_ratio, model.generation.max_ratio))
    return math.sqrt(least * most)
