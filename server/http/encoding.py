"""Waveforms to bytes: resampling and the file formats, all as they come, piece by piece.

An encoder is `encode(wave)` any number of times and `flush()` once; joined, the bytes are the file.
Knows nothing about HTTP or about where the waveforms come from.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
import soundfile
import soxr

from glmtts.dsp.audio import Wave, to_int16

Format = Literal["wav", "pcm", "flac"]
FORMATS: tuple[Format, ...] = ("wav", "pcm", "flac")
SAMPLE_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
BYTES_PER_SAMPLE = 2
WAV_HEADER = 44
ENDLESS = (0xFFFFFFFF - (WAV_HEADER - 8)) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
"""Data bytes in a streamed WAV's header: the most for which the RIFF size, too, fits into 32 bits, in whole samples."""


class Encoder(Protocol):
    """One file in the making."""

    content_type: str

    def encode(self, wave: Wave) -> bytes:
        """The bytes that `wave` (float32, mono) makes certain; may be none yet."""
        ...

    def flush(self) -> bytes:
        """The file's last bytes."""
        ...


class PcmEncoder:
    """Bare little-endian signed 16-bit samples: the identity among the formats."""

    content_type = "audio/pcm"

    def encode(self, wave: Wave) -> bytes:
        return to_int16(wave).astype("<i2").tobytes()

    def flush(self) -> bytes:
        return b""


class WavEncoder:
    """RIFF WAVE, 16-bit mono. `samples` None: length unknown, the header holds the largest there is."""

    content_type = "audio/wav"

    def __init__(self, sample_rate: int, samples: int | None) -> None:
        data = ENDLESS if samples is None else samples * BYTES_PER_SAMPLE
        self._header = wav_header(sample_rate, data)

    def encode(self, wave: Wave) -> bytes:
        header, self._header = self._header, b""
        return header + to_int16(wave).astype("<i2").tobytes()

    def flush(self) -> bytes:
        header, self._header = self._header, b""
        return header


def wav_header(sample_rate: int, data_bytes: int) -> bytes:
    """The 44 bytes in front of `data_bytes` of 16-bit mono samples."""
    riff = struct.pack("<4sI4s", b"RIFF", data_bytes + WAV_HEADER - 8, b"WAVE")
    byte_rate = sample_rate * BYTES_PER_SAMPLE
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, byte_rate, BYTES_PER_SAMPLE, 16)
    return riff + fmt + struct.pack("<4sI", b"data", data_bytes)


class FlacEncoder:
    """FLAC, 16-bit mono. A streamed one leaves length and checksum unset, as the format allows."""

    content_type = "audio/flac"

    def __init__(self, sample_rate: int, *, streamed: bool) -> None:
        self._buffer = io.BytesIO()
        self._streamed = streamed
        self._sent = 0
        self._file = soundfile.SoundFile(
            self._buffer, "w", samplerate=sample_rate, channels=1, format="FLAC", subtype="PCM_16"
        )

    def encode(self, wave: Wave) -> bytes:
        self._file.write(to_int16(wave))
        return self._fresh() if self._streamed else b""

    def flush(self) -> bytes:
        # Closing goes back to write length and checksum into the header: of use only while that has not left.
        self._file.close()
        return self._fresh()

    def _fresh(self) -> bytes:
        with self._buffer.getbuffer() as written:
            fresh = bytes(written[self._sent :])
        self._sent += len(fresh)
        return fresh


def make_encoder(fmt: Format, sample_rate: int, samples: int | None) -> Encoder:
    """An encoder for `fmt`; `samples` is the whole length, or None when the file leaves while it is made."""
    if fmt == "pcm":
        return PcmEncoder()
    if fmt == "wav":
        return WavEncoder(sample_rate, samples)
    return FlacEncoder(sample_rate, streamed=samples is None)


class Resampler:
    """From the engine's rate to the wanted one; carries its filter's state, so that pieces join as the whole."""

    def __init__(self, source: int, target: int) -> None:
        self._stream = None if source == target else soxr.ResampleStream(source, target, 1, dtype="float32")

    def feed(self, wave: Wave, *, last: bool = False) -> Wave:
        """What `wave` (float32, mono) makes certain at the new rate; `last` gives the rest."""
        if self._stream is None:
            return wave
        return np.asarray(self._stream.resample_chunk(wave, last=last), dtype=np.float32)


def native_rate(wanted: int, native: Iterable[int]) -> int:
    """The engine's rate to make `wanted` Hz from: the least that is no lower, else the highest there is."""
    rates = sorted(native)
    return next((rate for rate in rates if rate >= wanted), rates[-1])


def encode_whole(fmt: Format, wave: Wave, sample_rate: int) -> tuple[bytes, str]:
    """A finished file and its content type."""
    encoder = make_encoder(fmt, sample_rate, len(wave))
    return encoder.encode(wave) + encoder.flush(), encoder.content_type
