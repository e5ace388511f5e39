"""Encoded reference audio to a mono waveform, or an error that says why it cannot serve as a reference.

Reads what libsndfile reads: WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF …
"""

from __future__ import annotations

import io

import numpy as np
import soundfile

from glmtts.dsp.audio import Wave
from glmtts.errors import AudioDecodeError, AudioError

MIN_SECONDS = 1.0
MAX_SECONDS = 30.0
MIN_RATE = 8000
MAX_RATE = 192000
MAX_CHANNELS = 8
SILENCE_RMS = 1e-3
"""−60 dBFS over the whole audio: anything quieter is noise."""

FIELD = "reference_audio"


def load_reference_audio(reference_audio: bytes) -> tuple[Wave, int]:
    """The mean of the channels, float32 in [-1, 1], shape (samples,), and its rate in Hz.

    Audio that exceeds full scale is scaled down to it. Audio that is too long is rejected by its header, undecoded.
    Raises AudioDecodeError if libsndfile cannot decode the bytes; AudioError if the audio is shorter than 1 s, longer
    than 30 s, silent, not finite, or has an unsupported rate or number of channels.
    """
    try:
        with soundfile.SoundFile(_SeekableBytes(reference_audio)) as file:
            rate: int = file.samplerate
            _check_header(rate, file.channels, file.frames)
            # One frame over the limit is enough to know: a streamed header may state any length.
            channels_sc = file.read(int(MAX_SECONDS * rate) + 1, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")  # str(error) has our buffer's address
        raise AudioDecodeError(
            f"{FIELD}: expected audio as WAV, FLAC, OGG or MP3, "
            f"got {len(reference_audio)} bytes that do not decode ({reason})",
            field=FIELD,
        ) from error
    _check_seconds(len(channels_sc) / rate)
    wave: Wave = channels_sc.mean(axis=1, dtype=np.float32)
    _check_sound(wave)
    return wave / max(1.0, float(np.abs(wave).max())), rate


class _SeekableBytes(io.BytesIO):
    """Ignores seeks to before the start, which damaged files cause: the decoder then reports the error itself."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def _check_header(rate: int, channels: int, frames: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise _error(f"a sample rate of {MIN_RATE} to {MAX_RATE} Hz", f"{rate} Hz")
    if channels > MAX_CHANNELS:
        raise _error(f"at most {MAX_CHANNELS} channels", f"{channels}")
    if frames < np.iinfo(np.int64).max:  # the maximum stands for a header without a length
        _check_seconds(frames / rate)


def _check_seconds(seconds: float) -> None:
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise _error(f"{MIN_SECONDS:g} to {MAX_SECONDS:g} s, best 3 to 10 s", f"{seconds:.7g} s")


def _check_sound(wave: Wave) -> None:
    if not np.isfinite(wave).all():
        raise _error("finite samples", "infinity or NaN")
    rms = float(wave.std())
    if rms < SILENCE_RMS:
        level = "digital silence" if rms == 0 else f"{20 * np.log10(rms):.0f} dBFS"
        raise _error("speech louder than -60 dBFS", f"silence ({level})")


def _error(expected: str, actual: str) -> AudioError:
    return AudioError(f"{FIELD}: expected {expected}, got {actual}", field=FIELD)
