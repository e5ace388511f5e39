"""An encoded recording to a mono waveform that can serve as a reference, or a message that says why it cannot.

Reads what libsndfile reads: WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF … Knows nothing about models or features.
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
"""−60 dBFS over the whole recording: below it there is nothing to hear but the recorder."""

FIELD = "reference_audio"


def load_recording(data: bytes) -> tuple[Wave, int]:
    """The mean of the channels, float32 in [-1, 1], shape (samples,), and its rate in Hz.

    What lies louder than full scale is scaled down to it. A recording that is too long is refused by its header.
    Raises AudioDecodeError when no decoder takes the bytes, AudioError when the recording is shorter than 1 s, longer
    than 30 s, silent, not finite, or of an odd rate or number of channels.
    """
    try:
        with soundfile.SoundFile(_Bytes(data)) as file:
            rate: int = file.samplerate
            _check_header(rate, file.channels, file.frames)
            # One frame over the limit is enough to know, whatever the header of a stream says.
            channels_sc = file.read(int(MAX_SECONDS * rate) + 1, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")  # without the address of our buffer
        raise AudioDecodeError(
            f"{FIELD}: {len(data)} bytes that do not decode as audio ({reason}); WAV, FLAC, OGG or MP3 is wanted",
            field=FIELD,
        ) from error
    _check_seconds(len(channels_sc) / rate)
    wave: Wave = channels_sc.mean(axis=1, dtype=np.float32)
    _check_sound(wave)
    return wave / max(1.0, float(np.abs(wave).max())), rate


class _Bytes(io.BytesIO):
    """Damaged files make the decoder seek to before the start: it is told that it stays, and finds out by itself."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def _check_header(rate: int, channels: int, frames: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise _unfit(f"has a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz is wanted")
    if channels > MAX_CHANNELS:
        raise _unfit(f"has {channels} channels; at most {MAX_CHANNELS} are wanted, one is enough")
    if frames < np.iinfo(np.int64).max:  # which stands for a length that the header does not tell
        _check_seconds(frames / rate)


def _check_seconds(seconds: float) -> None:
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise _unfit(f"lasts {seconds:.7g} s; {MIN_SECONDS:g} to {MAX_SECONDS:g} s is wanted, 3 to 10 s is best")


def _check_sound(wave: Wave) -> None:
    if not np.isfinite(wave).all():
        raise _unfit("has samples that are no finite numbers; 16-bit PCM is a safe choice")
    loudness = float(wave.std())
    if loudness < SILENCE_RMS:
        level = "digital silence" if loudness == 0 else f"{20 * np.log10(loudness):.0f} dBFS"
        raise _unfit(f"is silent ({level}); speech louder than -60 dBFS is wanted")


def _unfit(finding: str) -> AudioError:
    return AudioError(f"{FIELD} {finding}", field=FIELD)
