"""Waveforms to audio files, chunk by chunk: resampling and the file formats.

`Encoder.encode` takes a file's waveforms in order and `Encoder.flush` ends it; the bytes that they return, joined, are
the file. A streamed file's bytes are returned as early as possible, so its header cannot hold its length.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from glmtts.dsp.audio import EMPTY_WAVE, Wave, to_int16

Format = Literal["wav", "pcm", "flac"]
FORMATS: tuple[Format, ...] = ("wav", "pcm", "flac")
SAMPLE_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
BYTES_PER_SAMPLE = 2
WAV_HEADER_BYTES = 44
UNKNOWN_SIZE = (0xFFFFFFFF - (WAV_HEADER_BYTES - 8)) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
"""Size of the data in a streamed WAV's header: the most whole samples for which the RIFF size also fits 32 bits."""

Samples = NDArray[np.int16]


class Container(Protocol):
    """Writes one file of 16-bit mono samples."""

    content_type: str

    def write(self, samples: Samples) -> bytes:
        """The bytes that can leave now; may be none."""
        ...

    def finish(self) -> bytes:
        """The rest of the file."""
        ...


class PcmContainer:
    """Little-endian signed 16-bit samples without a header."""

    content_type = "audio/pcm"

    def write(self, samples: Samples) -> bytes:
        return samples.astype("<i2").tobytes()

    def finish(self) -> bytes:
        return b""


class WavContainer:
    """RIFF WAVE. Streamed, its header has the largest possible size; else the file leaves at its end."""

    content_type = "audio/wav"

    def __init__(self, sample_rate: int, *, streamed: bool) -> None:
        self._sample_rate = sample_rate
        self._streamed = streamed
        self._pending = wav_header(sample_rate, UNKNOWN_SIZE) if streamed else b""
        self._chunks: list[bytes] = []

    def write(self, samples: Samples) -> bytes:
        data = samples.astype("<i2").tobytes()
        if not self._streamed:
            self._chunks.append(data)
            return b""
        header, self._pending = self._pending, b""
        return header + data

    def finish(self) -> bytes:
        if self._streamed:
            return self._pending
        data = b"".join(self._chunks)
        return wav_header(self._sample_rate, len(data)) + data


def wav_header(sample_rate: int, data_bytes: int) -> bytes:
    """The 44 bytes in front of `data_bytes` of 16-bit mono samples."""
    riff = struct.pack("<4sI4s", b"RIFF", data_bytes + WAV_HEADER_BYTES - 8, b"WAVE")
    byte_rate = sample_rate * BYTES_PER_SAMPLE
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, byte_rate, BYTES_PER_SAMPLE, 16)
    return riff + fmt + struct.pack("<4sI", b"data", data_bytes)


class FlacContainer:
    """FLAC. Streamed, its header leaves length and checksum unset, which the format allows."""

    content_type = "audio/flac"

    def __init__(self, sample_rate: int, *, streamed: bool) -> None:
        self._buffer = io.BytesIO()
        self._streamed = streamed
        self._num_sent = 0
        self._file = soundfile.SoundFile(
            self._buffer, "w", samplerate=sample_rate, channels=1, format="FLAC", subtype="PCM_16"
        )

    def write(self, samples: Samples) -> bytes:
        self._file.write(samples)
        return self._unsent() if self._streamed else b""

    def finish(self) -> bytes:
        # Closing seeks back to write length and checksum into the header: too late if the header has left.
        self._file.close()
        return self._unsent()

    def _unsent(self) -> bytes:
        with self._buffer.getbuffer() as written:
            unsent = bytes(written[self._num_sent :])
        self._num_sent += len(unsent)
        return unsent


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
    """One file in the making."""

    def __init__(self, container: Container, source_rate: int, sample_rate: int) -> None:
        self.content_type = container.content_type
        self._container = container
        self._resampler = Resampler(source_rate, sample_rate)
        self._sample_rate = sample_rate
        self._num_samples = 0

    @property
    def seconds(self) -> float:
        """Length of the audio written so far."""
        return self._num_samples / self._sample_rate

    def encode(self, wave: Wave) -> bytes:
        """The bytes that `wave` (float32, mono) completes; may be none."""
        return self._write(self._resampler.feed(wave))

    def flush(self) -> bytes:
        """The rest of the file."""
        return self._write(self._resampler.feed(EMPTY_WAVE, last=True)) + self._container.finish()

    def _write(self, wave: Wave) -> bytes:
        self._num_samples += len(wave)
        return self._container.write(to_int16(wave))


def make_encoder(format: Format, source_rate: int, sample_rate: int, *, streamed: bool) -> Encoder:
    """An encoder from waveforms at `source_rate` to a file at `sample_rate`, both in Hz."""
    return Encoder(_make_container(format, sample_rate, streamed=streamed), source_rate, sample_rate)


def _make_container(format: Format, sample_rate: int, *, streamed: bool) -> Container:
    if format == "pcm":
        return PcmContainer()
    if format == "wav":
        return WavContainer(sample_rate, streamed=streamed)
    return FlacContainer(sample_rate, streamed=streamed)


def native_rate(sample_rate: int, native_rates: Iterable[int]) -> int:
    """The engine's rate to make `sample_rate` Hz from: the lowest that is not below it, else the highest."""
    rates = sorted(native_rates)
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])
