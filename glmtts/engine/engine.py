"""The engine: many jobs at once on one device, drawn together and sounding while they are being drawn.

Two kinds of step, each of which takes along whoever needs it: `_draw` gives every row its next token, `_sound` takes
blocks one solver step or one vocoder window further. Where the device can do both at once, each has a thread (and a
CUDA stream) of its own; else one thread does what is most urgent. What a step is for decides the scheduler, what it
computes the runners `drawing` and `sound`. Knows nothing about HTTP.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from glmtts.audio import FRAME_RATE, TOKEN_RATE
from glmtts.checkpoint import Model
from glmtts.engine.deadlines import Expectation, work
from glmtts.engine.drawing import Drawing, weight_bytes
from glmtts.engine.faults import as_ours
from glmtts.engine.handle import JobHandle
from glmtts.engine.job import EngineInfo, Job
from glmtts.engine.line import Line
from glmtts.engine.memory import refuse_unless_fits
from glmtts.engine.options import DEFAULTS, Options, SoundLimits
from glmtts.engine.scheduler import Scheduler
from glmtts.engine.sound import Sound
from glmtts.engine.speech import Item
from glmtts.engine.stats import ROWS, SECONDS, Counter, EngineStats, Pace, Pulse
from glmtts.engine.streams import Stream, Utterance
from glmtts.history import History
from glmtts.models.decode import Row
from glmtts.models.kv_cache import KVCache
from glmtts.models.prompt import prompt_layout
from glmtts.offline import check
from glmtts.text.frontend import Segment
from glmtts.voice.voice import Voice

log = logging.getLogger(__name__)

FEATURES = ("emotion", "phoneme_control", "kv_cache", "streaming")
POLL = 0.05
"""Seconds between looks when a job waits for nothing but time: for a reader, or for its turn to speak."""
CPU_SOUND = SoundLimits()
GPU_SOUND = SoundLimits(frames=16384, piece=1024, prompt=250)

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
        cache = KVCache.bytes_for(model.llm.config, options.slots, model.slot, model.dtype)
        refuse_unless_fits(f"a KV cache of {options.slots} slots × {model.slot} positions", cache, model.device)
        self._drawing: Drawing[Drawn] = Drawing(model, options.slots, fixed_shape=options.deterministic)
        self._runner = Sound(model, options.sound or (GPU_SOUND if gpu else CPU_SOUND))
        self._reserved = cache + weight_bytes(model)
        log.info(
            "Engine of %d slots: %.0f MiB of KV cache, %.0f MiB of weights on %s",
            options.slots, cache / 2**20, (self._reserved - cache) / 2**20, model.device,
        )  # fmt: skip
        self._line = Line(options.waiting)
        self._expectation = Expectation(_first_guess(model))
        self._scheduler = Scheduler(
            self._line,
            options.slots,
            self._history,
            self._expectation,
            ladder=options.ladder,
            limits=options.limits,
            behind=max(vocoder.context_frames for vocoder in model.vocoders.values()) / FRAME_RATE,
        )
        self._step_seconds, self._step_rows, self._flow_rows = Counter(SECONDS), Counter(ROWS), Counter(ROWS)
        self._failures = 0
        loops = self._loops(options.threads)
        self._pace = Pace(len(loops))
        self._pulses = {name: Pulse() for name in loops}
        self._threads = [threading.Thread(target=loop, name=name, daemon=True) for name, loop in loops.items()]
        for thread in self._threads:
            thread.start()

    # What a caller asks for: see `glmtts.engine.job.Engine`.

    def set_replacements(self, words: Mapping[str, str]) -> None:
        self._frontend = self._model.frontend.replacing(words)

    def segments(self, text: str, *, phoneme: bool | None = None) -> list[Segment]:
        return self._frontend.segments(text, phoneme=phoneme)

    def make_voice(self, recording: bytes, transcript: str) -> Voice:
        return self._model.voice_maker.make_voice(recording, transcript)

    def submit(self, job: Job) -> JobHandle:
        check(self._model, job.voice, job.sample_rate, job.seed, job.speed)
        alone = self._history(job)
        for segment in job.segments:  # what fits after the voice alone fits with the history that is left to it
            alone.prompt(segment.ids)
        tokens = sum(self._expectation.tokens(len(segment.ids)) for segment in job.segments)
        retry_after = min(60.0, max(1.0, self.owed_seconds() / (self._pace.sound or 1.0)))
        return self._line.submit(job, tokens / TOKEN_RATE / job.speed, retry_after)

    def progress_age(self) -> float:
        return max(pulse.age() for pulse in self._pulses.values())

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
                unsent_seconds=self._line.unsent(),
                held=sum(map(self._scheduler.held, streams)),
                pace=self._pace.sound,
                retries=self._drawing.retries.count + self._runner.retries.count,
                failures=self._failures,
            )

    def close(self, grace: float = 0.0) -> None:
        self._line.close(grace)
        for thread in self._threads:
            thread.join()

    def _history(self, job: Job) -> History:
        prompt = job.voice.prompt_tokens.tolist()
        model = self._model
        return History(job.voice.prompt_text, prompt, model.generation, enabled=job.history, slot=model.slot)

    # Threads

    def _loops(self, threads: int) -> dict[str, Callable[[], None]]:
        cores = torch.get_num_threads()
        if threads == 1:
            return {"engine": lambda: self._loop("engine", self._in_turn, cores)}
        return {
            "draw": lambda: self._loop("draw", self._draw, cores=1),
            "sound": lambda: self._loop("sound", lambda: self._sound(self._due()), cores=max(1, cores - 1)),
        }

    def _loop(self, name: str, tick: Callable[[], bool], cores: int) -> None:
        """Until the engine is closed and its jobs have left: ticks while there is work, else sleeps."""
        pulse = self._pulses[name]
        torch.set_num_threads(cores)  # of this thread; a step of the AR model is too small to be shared out
        with _stream(self._model.device, own=name == "sound"):
            while not (self._line.closed and self._line.empty()):
                seen = self._line.version
                pulse.beat()
                try:
                    busy = tick()
                except Exception as error:  # a fault of ours that no row is to blame for
                    log.exception("A step of the engine failed")
                    busy = self._fail(self._scheduler.streams, error)
                if not busy:
                    pulse.rest()
                    self._line.sleep(seen, POLL if self._scheduler.streams else None)
        pulse.rest()

    def _in_turn(self) -> bool:
        items = self._due()
        with self._line.changed:
            self._keep_house()
            turn = self._scheduler.turn(time.monotonic(), self._pace.work, items)
        return self._sound(items) if turn == "sound" else self._draw()

    def _keep_house(self) -> None:
        """Lets jobs go and come. Only the thread that draws does so: it alone knows that no step is under way."""
        now = time.monotonic()
        self._scheduler.sweep(now)
        self._scheduler.admit(now)
        for slot in self._scheduler.freed:
            self._drawing.release(slot)
        self._scheduler.freed.clear()

    def _fail(self, streams: list[Stream], error: Exception) -> bool:
        with self._line.changed:
            for stream in streams:
                self._failures += 1
                self._scheduler.fail(stream, as_ours(error))
        return bool(streams)

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
            self._fail([stream], error)
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
                    self._fail([stream], token)
                else:
                    self._scheduler.drew(stream, utterance, token)
            self._line.notify()
        if rows:
            self._step_seconds.note(time.monotonic() - began)
            self._step_rows.note(len(rows))
            self._book("decode", [stream for stream, _ in rows.values()], began, stage=0)

    # Sounding

    def _due(self) -> list[Item]:
        with self._line.changed:
            return self._scheduler.sounding(time.monotonic(), self._pace.work)

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
                    self._fail([stream], error)
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


def _stream(device: torch.device, own: bool) -> AbstractContextManager[object]:
    if not own or device.type != "cuda":
        return nullcontext()
    stream: AbstractContextManager[object] = torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    return stream


def _first_guess(model: Model) -> float:
    """Speech tokens a text id, before anything has been learnt: between the least and the most that it may be."""
    least, most = (max(ratio, 0.1) for ratio in (model.generation.min_ratio, model.generation.max_ratio))
    return math.sqrt(least * most)
