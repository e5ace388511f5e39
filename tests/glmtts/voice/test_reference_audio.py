from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
import soundfile

from glmtts.dsp.audio import Wave
from glmtts.errors import AudioDecodeError, AudioError
from glmtts.voice.reference_audio import load_reference_audio

RATE = 24000
FORMATS = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def tone(seconds: float, rate: int = RATE, peak: float = 0.3) -> Wave:
    return (peak * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(wave: Wave, rate: int = RATE, format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    channels = 1 if wave.ndim == 1 else wave.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, format=format, subtype=subtype) as file:
        for start in range(0, len(wave), 4096):  # libsndfile's Vorbis encoder overflows the stack on one long write
            file.write(wave[start : start + 4096])
    return buffer.getvalue()


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_every_format_gives_the_waveform(format: str, subtype: str) -> None:
    """WAV, FLAC, Vorbis, Opus and MP3 all decode to the audio, at its rate."""
    wave, rate = load_reference_audio(encoded(tone(1.5), format=format, subtype=subtype))
    assert rate == RATE
    assert wave.dtype == np.float32
    assert wave.shape == (36000,)
    assert np.corrcoef(wave, tone(1.5))[0, 1] > 0.99


def test_channels_are_averaged() -> None:
    """Stereo audio becomes the mean of its channels."""
    left = tone(1)
    wave, _ = load_reference_audio(encoded(np.stack([left, np.zeros_like(left)], axis=1)))
    np.testing.assert_allclose(wave, left / 2, atol=1e-4)


def test_overload_is_scaled_to_full_scale() -> None:
    """Float samples beyond full scale are scaled to a peak of 1."""
    wave, _ = load_reference_audio(encoded(tone(1, peak=3.0), subtype="FLOAT"))
    np.testing.assert_allclose(wave, tone(1, peak=1.0), atol=1e-4)
    wave, _ = load_reference_audio(encoded(tone(1, peak=3e38), subtype="FLOAT"))
    np.testing.assert_allclose(wave, tone(1, peak=1.0), atol=1e-4)


@pytest.mark.parametrize("seconds", [1.0, 30.0])
def test_the_limits_are_accepted(seconds: float) -> None:
    """Exactly 1 s and exactly 30 s are accepted."""
    wave, rate = load_reference_audio(encoded(tone(seconds)))
    assert len(wave) / rate == seconds


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (tone(1)[:-1], r"expected 1 to 30 s.* got 0\.9999583 s"),
        (np.append(tone(30), np.float32(0)), r"expected 1 to 30 s.* got 30\.00004 s"),
        (tone(0), "got 0 s"),
        (tone(1) * 0, r"silence \(digital silence\)"),
        (tone(1) * 0 + 0.5, r"silence \(digital silence\)"),
        (tone(1, peak=1e-3), r"expected speech louder than -60 dBFS, got silence \(-63 dBFS\)"),
        (np.append(tone(1), np.float32(np.nan)), "expected finite samples"),
        (np.append(tone(1), np.float32(np.inf)), "expected finite samples"),
        (np.stack([tone(1)] * 9, axis=1), "expected at most 8 channels, got 9"),
    ],
)
def test_unusable_audio_is_refused(wave: Wave, message: str) -> None:
    """Too short, too long, silent, not finite, too many channels: AudioError with expected and actual values."""
    with pytest.raises(AudioError, match=message) as caught:
        load_reference_audio(encoded(wave, subtype="FLOAT"))
    assert caught.value.field == "reference_audio"
    assert not isinstance(caught.value, AudioDecodeError)


@pytest.mark.parametrize("rate", [4000, 384000])
def test_an_unsupported_rate_is_refused(rate: int) -> None:
    """A sample rate out of range is an error with the range."""
    with pytest.raises(AudioError, match=f"8000 to 192000 Hz, got {rate} Hz"):
        load_reference_audio(encoded(tone(1, rate), rate))


@pytest.mark.parametrize(
    ("format", "subtype", "seconds"), [("FLAC", "PCM_16", 1800), ("OGG", "OPUS", 40), ("MP3", "MPEG_LAYER_III", 40)]
)
def test_too_long_a_file_is_refused_by_its_header(
    monkeypatch: pytest.MonkeyPatch, format: str, subtype: str, seconds: int
) -> None:
    """A file that is too long is refused before any sample is decoded."""
    data = encoded(np.zeros(seconds * 8000, np.float32), 8000, format, subtype)
    monkeypatch.delattr(soundfile.SoundFile, "read")
    with pytest.raises(AudioError, match=rf"got {seconds}\.?\d* s"):
        load_reference_audio(data)


def test_a_streamed_wav_with_no_length_in_its_header_is_read() -> None:
    """A streamed WAV, with the largest sizes in its header, gives the samples that it has."""
    data = bytearray(encoded(tone(2)))
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    wave, _ = load_reference_audio(bytes(data))
    assert wave.shape == (48000,)


@pytest.mark.parametrize("data", [b"", b"hello" * 999, b"PK\x03\x04" + bytes(999), encoded(tone(1))[:30]])
def test_bytes_that_are_not_audio(data: bytes) -> None:
    """No bytes, text, an archive and half a header are AudioDecodeErrors with the number of bytes."""
    with pytest.raises(
        AudioDecodeError, match=f"^reference_audio: expected audio as WAV, FLAC, OGG, MP3, .*, got {len(data)} bytes"
    ):
        load_reference_audio(data)


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_damaged_files_give_a_waveform_or_an_audio_error(format: str, subtype: str) -> None:
    """Whatever bytes are damaged, the result is a finite waveform within the limits, or AudioError."""
    whole = encoded(tone(1.2, 8000), 8000, format, subtype)
    chance = random.Random(0)
    failures = 0
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(min(len(data), chance.choice([64, 10**6])))] = chance.randrange(256)
        try:
            wave, rate = load_reference_audio(bytes(data))
        except AudioError:
            failures += 1
        else:
            assert np.isfinite(wave).all()
            assert np.abs(wave).max() <= 1
            assert 1 <= len(wave) / rate <= 30
    assert failures
