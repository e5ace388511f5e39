"""A small real engine for tests: it speaks tones of known length, one job at a time, and fails when asked to.

Everything around the model is as in the true one: a bounded line, a thread, chunks, deadlines, cancelling, a report.
`python app.py --checkpoint fake:` serves it. Knows nothing about models; it needs no checkpoint.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, cast

import numpy as np

from glmtts.audio import TOKEN_RATE, Wave
from glmtts.config import GenerationConfig
from glmtts.engine.job import EngineInfo, Job, Report
from glmtts.errors import (
    BusyError,
    CancelledError,
    CheckpointError,
    DeadlineError,
    DeviceMemoryError,
    EngineError,
    TextError,
)
from glmtts.history import History, Prompt, check_spoken
from glmtts.text.frontend import Segment
from glmtts.voice.recording import load_recording

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
    """load: seconds until it is loaded; delay: seconds before each chunk; waiting: places in line; fail: no load.

    version: of the model; drift: another device, which draws other tokens, and by this fraction more of them.
    """

    load: float = 0.0
    delay: float = 0.0
    waiting: int = 8
    fail: bool = False
    version: str = "fake-1"
    drift: float = 0.0

    @staticmethod
    def parse(text: str) -> FakeOptions:
        """From `name=value,...`; a bare name means 1. ValueError for what is no option."""
        given = dict(item.partition("=")[::2] for item in text.split(",") if item)
        kinds: dict[str, Callable[[str], object]] = {
            "load": float, "delay": float, "waiting": int, "fail": lambda value: value != "0",
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


@dataclass
class FakeHandle:
    """The caller's end; the engine's thread puts chunks in and ends it."""

    job: Job
    report: Report = field(default_factory=Report)
    submitted: float = field(default_factory=time.monotonic)
    started: bool = False
    cancelled: bool = False
    ended: bool = False
    length: bool = False
    """Whether a segment reached its maximum without coming to its end."""
    error: Exception | None = None
    _ready: deque[Wave] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def chunks(self) -> Iterator[Wave]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self.ended or self.started, self._patience())
                if not self.started and not self.ended:
                    self._finish("error", DeadlineError("the request waited in line until its deadline"))
                self._changed.wait_for(lambda: self._ready or self.ended)
                if self.cancelled or not self._ready:
                    if self.error is not None:
                        raise self.error
                    return
                chunk = self._ready.popleft()
            yield chunk

    def _patience(self) -> float | None:
        return None if self.job.deadline is None else max(0.0, self.job.deadline - time.monotonic())

    def cancel(self) -> None:
        with self._changed:
            self.cancelled = True
            self._finish("cancelled", CancelledError("the caller went away"))

    def start(self) -> bool:
        """The engine takes it up; False when it has ended in line."""
        with self._changed:
            self.started = not self.ended
            self.report.spend("queue", self.submitted, time.monotonic())
            self._changed.notify_all()
            return self.started

    def put(self, chunk: Wave) -> None:
        with self._changed:
            self.report.audio_seconds += len(chunk) / self.job.sample_rate
            self._ready.append(chunk)
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        with self._changed:
            self._finish("error" if error else "length" if self.length else "stop", error)

    def wait(self, seconds: float | None) -> bool:
        """Sleeps, for the engine; True when the job has been ended meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, seconds)

    def _finish(self, reason: str, error: Exception | None) -> None:
        if not self.ended:
            self.ended = True
            self.report.finish_reason = reason  # type: ignore[assignment]
            self.error = error
            self._changed.notify_all()


class FakeEngine:
    """See the module. The public names are those of `glmtts.engine.job.Engine`."""

    def __init__(self, options: FakeOptions = FakeOptions()) -> None:
        self.info = EngineInfo("fake", options.version, ("zh", "en"), RATES, ("emotion", "streaming"), "cpu", 1)
        self._vocabulary, self._speech_tokens = VOCABULARY, SPEECH_TOKENS
        self._options = options
        self._replacements: dict[str, str] = {}
        self._changed = threading.Condition()
        self._line: deque[FakeHandle] = deque()
        self._running: FakeHandle | None = None
        self._closed = False
        self._progress = time.monotonic()
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

    def make_voice(self, recording: bytes, transcript: str) -> Voice:
        wave, _ = load_recording(recording)
        return cast("Voice", FakeVoice(wave, transcript))

    def submit(self, job: Job) -> FakeHandle:
        check_spoken(job.earlier, vocabulary=self._vocabulary, speech_tokens=self._speech_tokens)
        with self._changed:
            if self._closed:
                raise EngineError("the engine is closed")
            self._line = deque(handle for handle in self._line if not handle.ended)
            if len(self._line) >= self._options.waiting:
                raise BusyError(f"{len(self._line)} requests are waiting", retry_after=2.0)
            handle = FakeHandle(job)
            self._line.append(handle)
            self._changed.notify_all()
            return handle

    def progress_age(self) -> float:
        return 0.0 if self._running is None else time.monotonic() - self._progress

    def owed_seconds(self) -> float:
        with self._changed:
            handles = [*self._line, *([self._running] if self._running else [])]
        return sum(_seconds(handle.job) - handle.report.audio_seconds for handle in handles if not handle.ended)

    def waiting(self) -> int:
        with self._changed:
            return sum(not handle.ended for handle in self._line)

    def close(self, grace: float = 0.0) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._line and self._running is None, grace)
            left = [*self._line, *([self._running] if self._running else [])]
        for handle in left:
            handle.cancel()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._running = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._line or self._closed)
                if not self._line:
                    return
                handle = self._running = self._line.popleft()
                self._progress = time.monotonic()
            if handle.start():
                self._speak(handle)

    def _speak(self, handle: FakeHandle) -> None:
        chain = History((), (), GenerationConfig(), enabled=handle.job.history, slot=NO_SLOT)
        for text, speech in handle.job.earlier:
            chain.add(text, speech)
        for segment in handle.job.segments:
            fault = next((make for word, make in FAULTS.items() if word in segment.text), None)
            if fault is not None and "LATE" not in segment.text:
                return handle.end(fault())
            tokens, chunks = tone(handle.job, segment, chain.prompt(segment.ids), self._options.drift)
            chain.add(segment.ids, tokens)
            for chunk in chunks:
                begun = time.monotonic()
                if handle.wait(None if "HANG" in segment.text else self._options.delay):
                    return None
                self._progress = time.monotonic()
                handle.report.spend("decode", begun, self._progress)
                handle.put(chunk)
                if fault is not None:
                    return handle.end(fault())
            handle.report.segments_done += 1
            handle.report.text_ids += len(segment.ids)
            handle.report.speech_tokens += len(tokens)
            handle.report.spoken = chain.spoken
        return handle.end()


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
