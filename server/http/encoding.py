"""Waveforms to audio files, chunk by chunk: resampling, and the choice of a container.

`Encoder.encode` takes a file's waveforms in order and `Encoder.flush` ends it; the bytes that they return, joined, are
the file. A streamed file's bytes are returned as early as possible, so its header cannot hold its length.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Literal

import numpy as np
import soxr

from glmtts.dsp.audio import EMPTY_WAVE, Wave, to_int16
from glmtts.dsp.ffmpeg import find_ffmpeg
from server.http.aac import AacContainer
from server.http.containers import (
    Container,
    FlacContainer,
    Mp3Container,
    OpusContainer,
    PcmContainer,
    WavContainer,
)
from server.http.provenance import Provenance

Format = Literal["wav", "pcm", "flac", "mp3", "opus", "aac"]
FORMATS: tuple[Format, ...] = ("wav", "pcm", "flac", "mp3", "opus", "aac")
SAMPLE_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS_RATES = (8000, 16000, 24000, 48000)
"""Those of SAMPLE_RATES that Opus has; for another one the next higher is used."""


def available_formats() -> tuple[Format, ...]:
    """The formats that this machine can write: aac needs the program ffmpeg."""
    return tuple(name for name in FORMATS if name != "aac" or find_ffmpeg() is not None)


class Resampler:
    """Converts to another sample rate. It keeps its filter's state, so that chunks join without a seam."""

    def __init__(self, source_rate: int, sample_rate: int) -> None:
        self._stream = (
            None if source_rate == sample_rate else soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32")
        )

    def feed(self, wave: Wave, *, last: bool = False) -> Wave:
        """The resampled samples that `wave` (float32, mono) completes; `last` returns all that remain."""
        if self._stream is None:
            return wave
        return np.asarray(self._stream.resample_chunk(wave, last=last), dtype=np.float32)


class Encoder:
    """One file in the making. As a context it releases what its container holds, a process for aac."""

    def __init__(self, container: Container, source_rate: int, sample_rate: int) -> None:
        self.content_type = container.content_type
        self.sample_rate = sample_rate
        self._container = container
        self._resampler = Resampler(source_rate, sample_rate)
        self._num_samples = 0

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def seconds(self) -> float:
        """Length of the audio written so far."""
        return self._num_samples / self.sample_rate

    def encode(self, wave: Wave) -> bytes:
        """The bytes that `wave` (float32, mono) completes; may be none."""
        return self._write(self._resampler.feed(wave))

    def flush(self) -> bytes:
        """The rest of the file."""
        return self._write(self._resampler.feed(EMPTY_WAVE, last=True)) + self._container.finish()

    def _write(self, wave: Wave) -> bytes:
        self._num_samples += len(wave)
        return self._container.write(to_int16(wave))


def make_encoder(
    format: Format, source_rate: int, sample_rate: int, provenance: Provenance, *, streamed: bool
) -> Encoder:
    """An encoder from waveforms at `source_rate` to a file at `sample_rate`, both in Hz.

    Opus may use a higher rate, which the encoder's `sample_rate` says. UnsupportedError: this machine lacks the format.
    """
    if format == "opus":
        sample_rate = next(rate for rate in OPUS_RATES if rate >= sample_rate)
    return Encoder(_make_container(format, sample_rate, provenance, streamed=streamed), source_rate, sample_rate)


def _make_container(format: Format, sample_rate: int, provenance: Provenance, *, streamed: bool) -> Container:
    if format == "pcm":
        return PcmContainer()
    if format == "wav":
        return WavContainer(sample_rate, provenance, streamed=streamed)
    if format == "flac":
        return FlacContainer(sample_rate, provenance, streamed=streamed)
    if format == "opus":
        return OpusContainer(sample_rate, provenance, streamed=streamed)
    if format == "mp3":
        return Mp3Container(sample_rate, provenance)
    return AacContainer(sample_rate, provenance)


def native_rate(sample_rate: int, native_rates: Iterable[int]) -> int:
    """The engine's rate to make `sample_rate` Hz from: the lowest that is not below it, else the highest."""
    rates = sorted(native_rates)
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])
