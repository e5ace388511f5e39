"""Encoded reference audio to a mono waveform, or an error that says why it cannot serve as a reference.

libsndfile reads WAV, FLAC, OGG, MP3 and AIFF, and ffmpeg what browsers and telephones record beside these.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from glmtts.dsp.audio import Wave
from glmtts.errors import AudioDecodeError, AudioError
from glmtts.voice.audio_kind import READABLE, AudioKind, audio_kind
from glmtts.voice.ffmpeg_decoder import decode_to_wav

MIN_SECONDS = 1.0
MAX_SECONDS = 30.0
MIN_RATE = 8000
MAX_RATE = 192000
MAX_CHANNELS = 8
SILENCE_RMS = 1e-3
"""−60 dBFS over the whole audio: anything quieter is noise."""

MIN_KEPT_LEVEL = 0.25
"""Level of the mean of the channels, as a part of the loudest one's, below which the channels cancel each other."""
SNDFILE_SUBTYPES = frozenset(
    {
        *((kind, f"PCM_{bits}") for kind in ("WAV", "WAVEX", "AIFF", "FLAC") for bits in ("S8", "U8", 16, 24, 32)),
        *((kind, coding) for kind in ("WAV", "WAVEX", "AIFF") for coding in ("FLOAT", "DOUBLE", "ULAW", "ALAW")),
        *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
    }
)
"""What is decoded in this process; libsndfile knows more."""

FIELD = "reference_audio"


def load_reference_audio(reference_audio: bytes) -> tuple[Wave, int]:
    """The recording as one channel, float32 in [-1, 1], shape (samples,), and its rate in Hz.

    The channel is the mean of all, or the loudest if they cancel each other. Audio that exceeds full scale is scaled
    down to it. Raises AudioDecodeError if the bytes are no audio of a listed kind, or do not decode; AudioError if the
    audio is shorter than 1 s, longer than 30 s, silent, not finite, or has an unsupported rate or number of channels;
    UnsupportedError if the server lacks the program that decodes this kind.
    """
    kind = audio_kind(reference_audio)
    if kind is None:
        got = f"{len(reference_audio)} bytes of another kind"
        raise AudioDecodeError(f"{FIELD}: expected audio as {READABLE}, got {got}", field=FIELD)
    data = reference_audio
    if kind.demuxer is not None:
        # A little more than is allowed is enough to know.
        data = decode_to_wav(reference_audio, kind, seconds=MAX_SECONDS + 0.1, field=FIELD)
    channels_sc, rate = _read(data, kind)
    _check_seconds(len(channels_sc) / rate)
    if not np.isfinite(channels_sc).all():
        raise _error("finite samples", "infinity or NaN")
    # First of all, since squares of large samples overflow.
    wave = _one_channel(channels_sc / np.float32(max(1.0, np.abs(channels_sc).max())))
    _check_sound(wave)
    return wave, rate


def _read(data: bytes, kind: AudioKind) -> tuple[NDArray[np.float32], int]:
    """Samples (samples, channels) up to just over the longest length, and their rate. Raises AudioError."""
    try:
        with _ForwardFile(_SeekableBytes(data)) as file:
            if (file.format, file.subtype) not in SNDFILE_SUBTYPES:
                raise _undecodable(data, kind, f"{file.format} with {file.subtype}")
            rate: int = file.samplerate
            _check_header(rate, file.channels, file.frames)
            # One frame over the limit is enough to know: a streamed header may state any length.
            return file.read(int(MAX_SECONDS * rate) + 1, dtype="float32", always_2d=True), rate
    except soundfile.SoundFileError as error:
        # str(error) has our buffer's address
        raise _undecodable(data, kind, getattr(error, "error_string", str(error)).rstrip(".")) from error


def _undecodable(data: bytes, kind: AudioKind, reason: str) -> AudioDecodeError:
    got = f"{len(data)} bytes of {kind.name} that do not decode ({reason})"
    return AudioDecodeError(f"{FIELD}: expected audio as {READABLE}, got {got}", field=FIELD)


def _one_channel(channels_sc: NDArray[np.float32]) -> Wave:
    """The mean of the channels; the loudest one if most of it is lost in the mean.

    That is so if one channel is inverted, or if there are many and only one has sound.
    """
    mean: Wave = channels_sc.mean(axis=1, dtype=np.float32)
    levels = channels_sc.std(axis=0)
    loudest = int(np.argmax(levels))
    return np.ascontiguousarray(channels_sc[:, loudest]) if mean.std() < levels[loudest] * MIN_KEPT_LEVEL else mean


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """soundfile seeks after each read, which fails in a FLAC without a length: one that was streamed."""

    def seekable(self) -> bool:
        return False


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
    rms = float(wave.std())
    if rms < SILENCE_RMS:
        level = "digital silence" if rms == 0 else f"{20 * np.log10(rms):.0f} dBFS"
        raise _error("speech louder than -60 dBFS", f"silence ({level})")


def _error(expected: str, actual: str) -> AudioError:
    return AudioError(f"{FIELD}: expected {expected}, got {actual}", field=FIELD)
