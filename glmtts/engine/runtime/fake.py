"""A small engine for tests: it synthesises tones of known length, one job at a time, and fails on request.

Everything around the model is as in the real engine: a bounded queue, a thread, chunks, deadlines, cancelling, reports.
`python app.py --checkpoint fake:` serves it. It needs no checkpoint and does not load torch.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from glmtts.config import GenerationConfig
from glmtts.dsp.audio import EMPTY_WAVE, TOKEN_RATE, Wave, with_silence
from glmtts.engine.api import EngineInfo, Job, SegmentTiming
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.engine.scheduling.job_queue import JobQueue
from glmtts.engine.scheduling.word_timing import word_timings
from glmtts.engine.stats import ROWS_BOUNDS, SECONDS_BOUNDS, EngineStats, Histogram, ProgressClock, pace_seconds
from glmtts.errors import CheckpointError, DeviceMemoryError, EngineError, LanguageError, TextError
from glmtts.models.llm.history import History, Prompt, check_history
from glmtts.text.foreign import leave_out
from glmtts.text.frontend import ssml
from glmtts.text.frontend.frontend import Reading, Segment
from glmtts.text.frontend.words import WordSpan
from glmtts.text.language import Language
from glmtts.text.pause import split_pause
from glmtts.voice.reference_audio import load_reference_audio

if TYPE_CHECKING:  # loads torch, without which a fake starts faster
    from glmtts.voice.voice import Voice

SECONDS_PER_CHARACTER = 0.1
CHUNK_SECONDS = 0.2
RATES = (24000, 32000)
LOUDNESS = 0.3
SPEECH_TOKENS, VOCABULARY = 32768, 0x110000
UNLIMITED_POSITIONS = 2**31
_WORD = re.compile(r"\w+")
_PHONEMES = re.compile(r"(<\|[A-Z]+[0-9]?\|>)+")
FAULTS: dict[str, Callable[[], Exception]] = {
    "FAULT-MEMORY": lambda: DeviceMemoryError("the device's memory did not suffice"),
    "FAULT-ENGINE": lambda: EngineError("a secret of the engine's inside"),
}
"""A segment with one of these words fails at once, or after its first chunk if its text also has LATE. A segment with
HANG never ends."""


@dataclass(frozen=True)
class FakeOptions:
    """Options of a fake engine, as in `fake:load=2,fail`."""

    load: float = 0.0
    """Seconds that loading takes."""
    delay: float = 0.0
    """Seconds before each chunk."""
    max_queued: int = 64
    """Jobs that may wait."""
    fail: bool = False
    """Whether loading fails."""
    version: str = "fake-1"
    """Version of the model."""
    drift: float = 0.0
    """Above 0, samples other tokens, and by this fraction more of them, as another device might."""

    @staticmethod
    def parse(text: str) -> FakeOptions:
        """Parses `name=value,...`; a bare name means 1. Raises ValueError for an unknown name."""
        values = dict(item.partition("=")[::2] for item in text.split(",") if item)
        kinds: dict[str, Callable[[str], object]] = {
            "load": float, "delay": float, "max_queued": int, "fail": lambda value: value != "0",
            "version": str, "drift": float,
        }  # fmt: skip
        if unknown := values.keys() - kinds.keys():
            raise ValueError(f"fake engine: expected {', '.join(kinds)}, got {', '.join(sorted(unknown))}")
        return FakeOptions(**{name: kinds[name](value or "1") for name, value in values.items()})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class FakeVoice:
    """A reference recording (samples,) and its text. The fake engine does not look into it."""

    wave: Wave
    reference_text: str

    @property
    def prompted(self) -> bool:
        """As a Voice's."""
        return bool(self.reference_text)


class FakeEngine:
    """See `glmtts.engine.api.Engine`."""

    def __init__(self, options: FakeOptions = FakeOptions()) -> None:
        self.info = EngineInfo(
            "fake", options.version, ("zh", "en"), RATES, ("emotion", "streaming"), "cpu", 1, fingerprint="fa4e"
        )
        self._options = options
        self._replacements: dict[str, str] = {}
        self._queue = JobQueue(options.max_queued)
        self._progress = ProgressClock()
        self._step_seconds = Histogram(SECONDS_BOUNDS)
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="fake-engine", daemon=True)
        self._thread.start()

    @staticmethod
    def load(options: FakeOptions) -> FakeEngine:
        """Takes as long as the options say; raises CheckpointError if they say so."""
        time.sleep(options.load)
        if options.fail:
            raise CheckpointError("the fake engine was told to fail")
        return FakeEngine(options)

    def set_replacements(self, words: Mapping[str, str]) -> None:
        if invalid := [value for value in words.values() if not _PHONEMES.fullmatch(value)]:
            raise TextError(f"g2p_replace: expected phonemes <|…|>, got {invalid[0]!r}", field="g2p_replace")
        self._replacements = dict(words)

    def segments(
        self, text: str, *, phoneme: bool | None = None, segmented: bool = False, language: Language | None = None
    ) -> list[Segment]:
        return self.read(text, phoneme=phoneme, segmented=segmented, language=language).segments

    def read(
        self, text: str, *, phoneme: bool | None = None, segmented: bool = False, language: Language | None = None
    ) -> Reading:
        blocks = ssml.parse(text, language) if ssml.is_ssml(text) and not segmented else [ssml.TextBlock(text)]
        result: list[Segment] = []
        foreign = ""
        for block in blocks:
            part, left_out = leave_out(block.text, language)
            foreign += left_out
            result += self._split(part, len(result), segmented=segmented)
            if block.pause_seconds and result:
                result[-1] = replace(result[-1], pause_seconds=block.pause_seconds)
        if not result:
            error = LanguageError if foreign else TextError
            raise error("text: expected something to speak, got none", field="text")
        return Reading(result, foreign)

    def _split(self, text: str, first: int, *, segmented: bool) -> list[Segment]:
        text, pause = split_pause(text) if segmented else (text, 0.0)
        for word, phonemes in self._replacements.items():
            text = text.replace(word, phonemes)
        parts = [text] if segmented else [part.strip() for part in re.split(r"(?<=[。!?.!?\n])", text)]
        speakable = [part for part in parts if any(letter.isalnum() for letter in part)]
        return [Segment(index, part, tuple(map(ord, part)), pause) for index, part in enumerate(speakable, first)]

    def pronunciation(self, text: str) -> list[tuple[str, str]]:
        """Each letter and digit with itself as its sound."""
        return [(letter, letter) for letter in text if letter.isalnum()]

    def words(self, segment: Segment) -> tuple[WordSpan, ...]:
        """The runs of letters and digits; each of their characters takes equally long."""
        return tuple(WordSpan(word[0], *word.span(), exact=True) for word in _WORD.finditer(segment.text))

    def make_voice(self, reference_audio: bytes, reference_text: str, language: Language | None = None) -> Voice:
        wave, _ = load_reference_audio(reference_audio)
        return cast("Voice", FakeVoice(wave, reference_text))

    def save_voice(self, voice: Voice) -> bytes:
        """The samples."""
        return cast("FakeVoice", voice).wave.tobytes()

    def load_voice(
        self, features: bytes, digest: str, reference_text: str, language: Language | None = None
    ) -> Voice | None:
        return cast("Voice", FakeVoice(np.frombuffer(features, np.float32), reference_text))

    def submit(self, job: Job) -> JobHandle:
        check_history(job.history, vocabulary=VOCABULARY, speech_tokens=SPEECH_TOKENS)
        return self._queue.submit(job, _expected_seconds(job))

    def stalled_seconds(self) -> float:
        return self._progress.stalled_seconds()

    def pace_seconds(self) -> float | None:
        return pace_seconds([self._progress])

    def backlog_seconds(self) -> float:
        return self._queue.backlog_seconds()

    def num_waiting(self) -> int:
        return self._queue.num_waiting()

    def num_running(self) -> int:
        return self._queue.num_running()

    def stats(self) -> EngineStats:
        seconds = self._step_seconds.snapshot()
        steps, rows = sum(seconds.counts), Histogram(ROWS_BOUNDS).snapshot()
        one_row_each = replace(rows, counts=(steps, *rows.counts[1:]), total=float(steps))
        return EngineStats(
            step_seconds=seconds,
            step_rows=one_row_each,
            flow_rows=one_row_each,
            slots_used=self._queue.num_running(),
            slots_total=1,
            reserved_bytes=0,
            voice_cache_bytes=0,
            voice_cache_hits=0,
            voice_cache_misses=0,
            buffered_seconds=self._queue.buffered_seconds(),
            backpressured_jobs=0,
            realtime_ratio=None,
            retries=0,
            failures=self._failures,
            redraws={},
        )

    def close(self, grace: float = 0.0) -> None:
        self._queue.close(grace)
        self._thread.join()

    def _run(self) -> None:
        while not (self._queue.closed and self._queue.is_empty()):
            version = self._queue.version
            handle = self._queue.pop()
            if handle is None:
                self._queue.sleep(version)
                continue
            self._progress.tick()
            if handle.start():
                handle.report.add_time("queue", handle.submitted, time.monotonic())
                self._synthesize(handle)
            self._progress.idle()
            self._queue.finish(handle)

    def _synthesize(self, handle: JobHandle) -> None:
        job, report = handle.job, handle.report
        history = History((), (), GenerationConfig(), enabled=job.use_history, max_positions=UNLIMITED_POSITIONS)
        for text_ids, speech_tokens in job.history:
            history.add(text_ids, speech_tokens)
        for segment in job.segments:
            fault = next((make for word, make in FAULTS.items() if word in segment.text), None)
            if fault is not None and "LATE" not in segment.text:
                return self._fail(handle, fault())
            tokens, chunks = tone(job, segment, history.prompt(segment.ids), self._options.drift)
            history.add(segment.ids, tokens)
            start = report.audio_seconds
            for chunk in chunks:
                if not self._push(handle, chunk, hang="HANG" in segment.text):
                    return None
                if fault is not None:
                    return self._fail(handle, fault())
            end, every_character = report.audio_seconds, range(len(segment.ids))
            words = word_timings(segment, every_character, start, end)
            report.timings.append(SegmentTiming(segment.index, segment.text, start, end, words))
            if segment.pause_seconds:
                handle.push(with_silence(EMPTY_WAVE, segment.pause_seconds, job.sample_rate))
            report.segments_done += 1
            report.text_ids += len(segment.ids)
            report.speech_tokens += len(tokens)
            report.history = history.segments
        return handle.finish()

    def _push(self, handle: JobHandle, chunk: Wave, *, hang: bool) -> bool:
        """Pushes a chunk after the delay; False when the job has ended."""
        start = time.monotonic()
        if handle.wait(None if hang else self._options.delay):
            return False
        self._progress.tick()
        end = time.monotonic()
        handle.report.add_time("decode", start, end)
        self._step_seconds.observe(end - start)
        handle.push(chunk)
        return True

    def _fail(self, handle: JobHandle, error: Exception) -> None:
        self._failures += 1
        handle.finish(error)


def tone(job: Job, segment: Segment, prompt: Prompt, drift: float) -> tuple[tuple[int, ...], Iterator[Wave]]:
    """A segment's speech tokens and chunks: a tone for each letter or digit, and silence for other characters.

    All is a function of seed, index, text and history; the length in samples is exact.
    """
    rng = np.random.default_rng(
        [job.seed, segment.index, len(prompt.text), *segment.ids, *prompt.speech, round(1e6 * drift)]
    )
    seconds = SECONDS_PER_CHARACTER * len(segment.text) * (1 + drift)
    tokens = tuple(map(int, rng.integers(SPEECH_TOKENS, size=max(1, round(seconds * TOKEN_RATE)))))
    samples = round(seconds / job.speed * job.sample_rate)
    character = np.arange(samples) * len(segment.text) // max(samples, 1)
    pitch = rng.uniform(150.0, 550.0, len(segment.text))[character]
    loudness = np.array([LOUDNESS * letter.isalnum() for letter in segment.text])[character]
    wave = (loudness * np.sin(2 * np.pi * np.cumsum(pitch) / job.sample_rate)).astype(np.float32)
    size = round(CHUNK_SECONDS * job.sample_rate)
    return tokens, (wave[start : start + size] for start in range(0, samples, size))


def _expected_seconds(job: Job) -> float:
    return sum(SECONDS_PER_CHARACTER * len(segment.text) / job.speed for segment in job.segments)
