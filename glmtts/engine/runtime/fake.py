"""A small real engine for tests: it speaks tones of known length, one job at a time, and fails when asked to.

Everything around the model is as in the true one: a bounded line, a thread, chunks, deadlines, cancelling, a report.
`python app.py --checkpoint fake:` serves it. Knows nothing about models; it needs no checkpoint.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from glmtts.config import GenerationConfig
from glmtts.dsp.audio import TOKEN_RATE, Wave
from glmtts.engine.api import EngineInfo, Job
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.job_queue import Line
from glmtts.engine.stats import ROWS_BOUNDS, SECONDS_BOUNDS, EngineStats, Histogram, ProgressClock
from glmtts.errors import CheckpointError, DeviceMemoryError, EngineError, TextError
from glmtts.models.llm.history import History, Prompt, check_history
from glmtts.text.frontend import Segment
from glmtts.voice.reference_audio import load_reference_audio

if TYPE_CHECKING:  # it imports torch, which a fake starts faster without
    from glmtts.voice.voice import Voice

SECONDS_PER_CHARACTER = 0.1
CHUNK_SECONDS = 0.2
RATES = (24000, 32000)
LOUDNESS = 0.3
SPEECH_TOKENS, VOCABULARY = 32768, 0x110000
NO_SLOT = 2**31
_PHONEMES = re.compile(r"(<\|[A-Z]+[0-9]?\|>)+")
FAULTS: dict[str, Callable[[], Exception]] = {
    "FAULT-MEMORY": lambda: DeviceMemoryError("the device's memory did not suffice"),
    "FAULT-ENGINE": lambda: EngineError("a secret of the engine's inside"),
}
"""A segment with such a word fails: at once, or after its first chunk if the text also has LATE. HANG never ends."""


@dataclass(frozen=True)
class FakeOptions:
    """load: seconds until it is loaded; delay: seconds before each chunk; max_queued: jobs that may wait; fail: no
    load.
    version: of the model; drift: another device, which draws other tokens, and by this fraction more of them.
    """

    load: float = 0.0
    delay: float = 0.0
    max_queued: int = 8
    fail: bool = False
    version: str = "fake-1"
    drift: float = 0.0

    @staticmethod
    def parse(text: str) -> FakeOptions:
        """From `name=value,...`; a bare name means 1. ValueError for what is no option."""
        given = dict(item.partition("=")[::2] for item in text.split(",") if item)
        kinds: dict[str, Callable[[str], object]] = {
            "load": float, "delay": float, "max_queued": int, "fail": lambda value: value != "0",
            "version": str, "drift": float,
        }  # fmt: skip
        if unknown := given.keys() - {option.name for option in fields(FakeOptions)}:
            raise ValueError(f"fake engine: came {', '.join(sorted(unknown))}; want {', '.join(kinds)}")
        return FakeOptions(**{name: kinds[name](value or "1") for name, value in given.items()})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class FakeVoice:
    """A recording (samples,) and what is said in it. Only an engine looks into a Voice, and this one does not."""

    wave: Wave
    transcript: str

    @property
    def prompted(self) -> bool:
        """As a Voice's."""
        return bool(self.transcript)


class FakeEngine:
    """See the module. The public names are those of `glmtts.engine.api.Engine`."""

    def __init__(self, options: FakeOptions = FakeOptions()) -> None:
        self.info = EngineInfo("fake", options.version, ("zh", "en"), RATES, ("emotion", "streaming"), "cpu", 1)
        self._options = options
        self._replacements: dict[str, str] = {}
        self._line = Line(options.max_queued)
        self._clock = ProgressClock()
        self._steps = Histogram(SECONDS_BOUNDS)
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="fake-engine", daemon=True)
        self._thread.start()

    @staticmethod
    def load(options: FakeOptions) -> FakeEngine:
        """Takes as long as the options say, or fails with CheckpointError."""
        time.sleep(options.load)
        if options.fail:
            raise CheckpointError("the fake engine was told to fail")
        return FakeEngine(options)

    def set_replacements(self, words: Mapping[str, str]) -> None:
        if unspeakable := [spoken for spoken in words.values() if not _PHONEMES.fullmatch(spoken)]:
            raise TextError(f"came {unspeakable[0]!r}; want phonemes <|…|>", field="g2p_replace")
        self._replacements = dict(words)

    def segments(self, text: str, *, phoneme: bool | None = None, segmented: bool = False) -> list[Segment]:
        for word, phonemes in self._replacements.items():
            text = text.replace(word, phonemes)
        pieces = [text] if segmented else [piece.strip() for piece in re.split(r"(?<=[。!?.!?\n])", text)]
        spoken = [piece for piece in pieces if any(letter.isalnum() for letter in piece)]
        if not spoken:
            raise TextError("the text has nothing to speak", field="text")
        return [Segment(index, piece, tuple(map(ord, piece))) for index, piece in enumerate(spoken)]

    def make_voice(self, reference_audio: bytes, reference_text: str) -> Voice:
        wave, _ = load_reference_audio(reference_audio)
        return cast("Voice", FakeVoice(wave, reference_text))

    def submit(self, job: Job) -> JobHandle:
        check_history(job.history, vocabulary=VOCABULARY, speech_tokens=SPEECH_TOKENS)
        return self._line.submit(job, _seconds(job))

    def stalled_seconds(self) -> float:
        return self._clock.stalled_seconds()

    def backlog_seconds(self) -> float:
        return self._line.owed()

    def num_waiting(self) -> int:
        return self._line.waiting()

    def num_running(self) -> int:
        return self._line.running()

    def stats(self) -> EngineStats:
        seconds = self._steps.snapshot()
        rows = Histogram(ROWS_BOUNDS).snapshot()
        one = replace(rows, counts=(sum(seconds.counts), *rows.counts[1:]), total=float(sum(seconds.counts)))
        return EngineStats(
            step_seconds=seconds,
            step_rows=one,
            flow_rows=one,
            slots_used=self._line.running(),
            slots_total=1,
            reserved_bytes=0,
            voice_cache_bytes=0,
            voice_cache_hits=0,
            voice_cache_misses=0,
            buffered_seconds=self._line.unsent(),
            backpressured_jobs=0,
            realtime_ratio=None,
            retries=0,
            failures=self._failures,
        )

    def close(self, grace: float = 0.0) -> None:
        self._line.close(grace)
        self._thread.join()

    def _run(self) -> None:
        while not (self._line.closed and self._line.empty()):
            seen = self._line.version
            handle = self._line.take()
            if handle is None:
                self._line.sleep(seen)
                continue
            self._clock.tick()
            if handle.start():
                handle.report.add_time("queue", handle.submitted, time.monotonic())
                self._speak(handle)
            self._clock.idle()
            self._line.leave(handle)

    def _speak(self, handle: JobHandle) -> None:
        chain = History((), (), GenerationConfig(), enabled=handle.job.use_history, max_positions=NO_SLOT)
        for text, speech in handle.job.history:
            chain.add(text, speech)
        for segment in handle.job.segments:
            fault = next((make for word, make in FAULTS.items() if word in segment.text), None)
            if fault is not None and "LATE" not in segment.text:
                return self._fail(handle, fault())
            tokens, chunks = tone(handle.job, segment, chain.prompt(segment.ids), self._options.drift)
            chain.add(segment.ids, tokens)
            for chunk in chunks:
                began = time.monotonic()
                if handle.wait(None if "HANG" in segment.text else self._options.delay):
                    return None
                self._clock.tick()
                handle.report.add_time("decode", began, time.monotonic())
                self._steps.observe(time.monotonic() - began)
                handle.put(chunk)
                if fault is not None:
                    return self._fail(handle, fault())
            handle.report.segments_done += 1
            handle.report.text_ids += len(segment.ids)
            handle.report.speech_tokens += len(tokens)
            handle.report.history = chain.segments
        return handle.end()

    def _fail(self, handle: JobHandle, error: Exception) -> None:
        self._failures += 1
        handle.end(error)


def tone(job: Job, segment: Segment, prompt: Prompt, drift: float) -> tuple[tuple[int, ...], Iterator[Wave]]:
    """A segment's speech tokens and its chunks: a pitch for each character, silence for what is no letter or digit.

    All is a function of seed, index, text and what was spoken before; the length in samples is exact.
    """
    numbers = np.random.default_rng(
        [job.seed, segment.index, len(prompt.text), *segment.ids, *prompt.speech, round(1e6 * drift)]
    )
    seconds = SECONDS_PER_CHARACTER * len(segment.text) * (1 + drift)
    tokens = tuple(map(int, numbers.integers(SPEECH_TOKENS, size=max(1, round(seconds * TOKEN_RATE)))))
    samples = round(seconds / job.speed * job.sample_rate)
    character = np.arange(samples) * len(segment.text) // max(samples, 1)
    pitch = numbers.uniform(150.0, 550.0, len(segment.text))[character]
    loudness = np.array([LOUDNESS * letter.isalnum() for letter in segment.text])[character]
    wave = (loudness * np.sin(2 * np.pi * np.cumsum(pitch) / job.sample_rate)).astype(np.float32)
    size = round(CHUNK_SECONDS * job.sample_rate)
    return tokens, (wave[start : start + size] for start in range(0, samples, size))


def _seconds(job: Job) -> float:
    return sum(SECONDS_PER_CHARACTER * len(segment.text) / job.speed for segment in job.segments)
