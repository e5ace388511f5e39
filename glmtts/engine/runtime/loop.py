"""What the threads of an engine do: steps of drawing and of making sound, each of which takes along whoever needs it.

`_draw` gives every row its next token, `_make` takes blocks one solver step or one vocoder window further. They run at
the same time: one thread draws, and one (with a CUDA stream of its own) or more make sound; or else one thread does
what is most urgent. What a step is for decides the scheduler, what it computes the runners `drawing` and `sound`.
Knows nothing about callers, texts or memory.
"""

from __future__ import annotations

import time

import torch

from glmtts.checkpoint.loader import Model
from glmtts.engine.config import AudioLimits, EngineOptions
from glmtts.engine.runtime.threads import Loop
from glmtts.engine.scheduling.active_job import Stream, Utterance
from glmtts.engine.scheduling.job_queue import Line
from glmtts.engine.scheduling.priority import work
from glmtts.engine.scheduling.scheduler import Scheduler
from glmtts.engine.stats import ROWS_BOUNDS, SECONDS_BOUNDS, Histogram, Throughput
from glmtts.engine.synthesis.audio_runner import Sound
from glmtts.engine.synthesis.decode_runner import Drawing
from glmtts.engine.synthesis.retries import as_ours
from glmtts.engine.synthesis.segment_audio import Item
from glmtts.models.llm.decoder import DecodeRequest
from glmtts.models.llm.prompt import prompt_layout

Drawn = tuple[Stream, Utterance]


class Steps:
    """The steps of one engine, and what is counted of them. `threads`: one alone does all in turn, of more one draws.

    Whatever is shared with other threads is touched under the line's lock only.
    """

    def __init__(
        self, model: Model, options: EngineOptions, sound: AudioLimits, line: Line, scheduler: Scheduler, threads: int
    ) -> None:
        self._model, self._line, self._scheduler, self._threads = model, line, scheduler, threads
        self._makers = max(1, threads - 1)
        self._prefill_ids = options.limits.prefill_chunk
        self._taken: set[Stream] = set()
        self.drawing: Drawing[Drawn] = Drawing(model, options.max_num_seqs, fixed_shape=options.deterministic)
        self.sound = Sound(model, sound)
        self.pace = Throughput({"all": 1} if threads == 1 else {"decode": 1, "audio": self._makers})
        self.seconds, self.rows = Histogram(SECONDS_BOUNDS), Histogram(ROWS_BOUNDS)
        self.flow_rows = Histogram(ROWS_BOUNDS)
        decode, audio = ("all", "all") if threads == 1 else ("decode", "audio")
        self._groups = {"prefill": decode, "decode": decode, "flow": audio, "vocoder": audio}
        """By stage, the threads that do it."""
        self.failures = 0

    def loops(self) -> list[Loop]:
        """A loop for each thread."""
        cores = torch.get_num_threads()
        if self._threads == 1:
            return [Loop("engine", self._in_turn, cores)]
        # A step of the AR model is too small to be shared out. More threads than cores is well for those of the engine,
        # which wait for each other at no barrier; within a step it is not.
        share = max(1, (cores - 1) // self._makers)
        makers = [Loop(f"sound {i}", self._make, share, own_stream=True) for i in range(self._makers)]
        return [Loop("draw", self._draw, 1), *makers]

    def fail_all(self, error: Exception) -> None:
        """Ends every job that has a slot."""
        with self._line.changed:
            for stream in self._scheduler.streams:
                self._fail(stream, error)

    def _fail(self, stream: Stream, error: Exception) -> None:
        with self._line.changed:
            self.failures += 1
            self._scheduler.fail(stream, as_ours(error))

    def _in_turn(self) -> bool:
        with self._line.changed:
            self._keep_house()
            turn = self._scheduler.turn(time.monotonic(), self._rate(), self._due())
        return self._make() if turn == "sound" else self._draw()

    def _keep_house(self) -> None:
        """Lets jobs go and come. Only the thread that draws does so: it alone knows that no step is under way."""
        now = time.monotonic()
        self._scheduler.sweep(now)
        self._scheduler.admit(now)
        for slot in self._scheduler.freed:
            self.drawing.release(slot)
        self._scheduler.freed.clear()

    def _book(self, name: str, streams: list[Stream], began: float) -> None:
        ended = time.monotonic()
        self.pace.add_busy(self._groups[name], ended - began)
        for stream in streams:
            stream.handle.report.add_time(name, began, ended, 1 / len(streams))

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
        if rows or self.drawing.unread:
            self._step(rows)
        return piece is not None or bool(rows)

    def _prefill(self, stream: Stream, utterance: Utterance) -> None:
        began = time.monotonic()
        prompt, job = utterance.prompt, stream.job
        ids = prompt_layout(prompt.text, utterance.segment.ids, prompt.speech, self._model.special)
        row = DecodeRequest(ids, prompt.bounds, job.seed, utterance.segment.index)
        try:
            self.drawing.prefill(stream.slot, row, utterance.fed, self._prefill_ids)
        except Exception as error:
            self._fail(stream, error)
            return
        with self._line.changed:
            self._scheduler.prefilled(stream, utterance)
        self._book("prefill", [stream], began)

    def _step(self, rows: dict[int, Drawn]) -> None:
        began = time.monotonic()
        drawn = self.drawing.step(rows)
        with self._line.changed:
            for (stream, utterance), token in drawn:
                if isinstance(token, Exception):
                    self._fail(stream, token)
                else:
                    self._scheduler.drew(stream, utterance, token)
            self._line.notify()
        if rows:
            self.seconds.observe(time.monotonic() - began)
            self.rows.observe(len(rows))
            self._book("decode", [stream for stream, _ in rows.values()], began)

    # Sounding

    def _rate(self) -> float | None:
        """The work that one maker does in a second."""
        return self.pace.work_rate and self.pace.work_rate / self._makers

    def _due(self) -> list[Item]:
        return self._scheduler.sounding(time.monotonic(), self._rate())

    def _make(self) -> bool:
        """A step for jobs that no other maker is at: of several makers each takes one, a single one all that it can."""
        with self._line.changed:
            free = [item for item in self._due() if item[0] not in self._taken]
            mine = free if self._makers == 1 else free[:1]
            self._taken.update(stream for stream, *_ in mine)
            if mine:
                self._scheduler.turned_to(mine[0][0], time.monotonic())
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
        name, batch, made = self.sound.step(items)
        if name == "flow" and batch:
            self.flow_rows.observe(len(batch))
        self._book(name, [stream for stream, *_ in batch], began)
        with self._line.changed:
            for (stream, utterance, block), wave, whole, error in made:
                if error is not None:
                    self._fail(stream, error)
                else:
                    self._scheduler.made(stream, utterance, wave, time.monotonic(), whole=whole)
                    done = work(block.lookahead_end - block.start) if whole else 0.0
                    self.pace.add_output(len(wave) / stream.job.sample_rate, done)
            if made:
                self._line.notify()
        return True

    def _rehearse(self, began: float) -> bool:
        """While there is nothing to make sound of: gets to know the voice of a job that is being drawn."""
        with self._line.changed:
            streams = self._scheduler.streams
        stream = self.sound.rehearse(streams)
        if stream is not None:
            self._book("flow", [stream], began)
        return stream is not None
