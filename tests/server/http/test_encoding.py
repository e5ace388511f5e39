"""Formats and resampling: a streamed file has the samples of a whole one."""

import io
import shutil
import subprocess
import wave as wavefile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from glmtts.dsp.audio import Wave
from server.http.encoding import FORMATS, UNKNOWN_SIZE, Format, Resampler, make_encoder, native_rate

RATE = 24000
SPEECH: Wave = (0.5 * np.sin(np.arange(RATE * 2) * 0.05)).astype(np.float32)


def streamed(fmt: Format, size: int = 3001) -> bytes:
    encoder = make_encoder(fmt, RATE, RATE, streamed=True)
    pieces = [encoder.encode(SPEECH[start : start + size]) for start in range(0, len(SPEECH), size)]
    return b"".join(pieces) + encoder.flush()


def whole_file(fmt: Format, wave: Wave = SPEECH, size: int = 3001) -> bytes:
    encoder = make_encoder(fmt, RATE, RATE, streamed=False)
    pieces = [encoder.encode(wave[start : start + size]) for start in range(0, len(wave), size)]
    data = b"".join(pieces) + encoder.flush()
    assert encoder.seconds == len(wave) / RATE
    return data


@pytest.mark.parametrize("fmt", ["wav", "flac"])
def test_a_whole_file_has_every_sample_and_its_length(fmt: Format) -> None:
    """A finished file has its length and decodes to the waveform rounded to 16 bits."""
    data = whole_file(fmt)
    decoded, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE
    assert soundfile.info(io.BytesIO(data)).frames == len(SPEECH)
    assert np.array_equal(decoded, np.round(SPEECH * 32767).astype(np.int16))


@pytest.mark.parametrize("fmt", ["wav", "pcm"])
def test_a_streamed_file_has_the_samples_of_the_whole(fmt: Format) -> None:
    """Only the two length fields of a WAV differ."""
    whole = whole_file(fmt)
    head = 44 if fmt == "wav" else 0
    assert streamed(fmt)[head:] == whole[head:]
    assert len(streamed(fmt)) == len(whole)


@pytest.mark.parametrize("fmt", FORMATS)
def test_audio_leaves_before_the_end(fmt: Format) -> None:
    """A second of audio gives bytes at once, in every format."""
    assert len(make_encoder(fmt, RATE, RATE, streamed=True).encode(SPEECH[:RATE])) > 1000


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("fmt", ["wav", "pcm"])
def test_an_encoder_resamples(fmt: Format, streamed: bool) -> None:
    """Two seconds stay two seconds at another rate: no sample stays in the filter."""
    encoder = make_encoder(fmt, RATE, 16000, streamed=streamed)
    data = encoder.encode(SPEECH) + encoder.flush()
    assert encoder.seconds == 2
    samples = np.frombuffer(data, "<i2") if fmt == "pcm" else soundfile.read(io.BytesIO(data))[0]
    assert len(samples) == 32000


def test_a_streamed_wav_is_read_by_soundfile_and_by_pythons_wave(tmp_path: Path) -> None:
    """With the largest length in the header, common readers read to the end of the file."""
    path = str(tmp_path / "streamed.wav")
    Path(path).write_bytes(streamed("wav"))
    assert soundfile.read(path)[0].shape == SPEECH.shape
    with wavefile.open(path) as reader:
        assert reader.getframerate() == RATE
        assert len(reader.readframes(reader.getnframes())) == 2 * len(SPEECH)


@pytest.mark.parametrize("fmt", ["wav", "flac"])
def test_a_streamed_file_is_read_by_ffmpeg_from_a_pipe(fmt: Format) -> None:
    """ffmpeg reads a streamed file to its end; without ffmpeg, the lengths in the header are checked instead."""
    data = streamed(fmt)
    if shutil.which("ffmpeg") is None:
        assert fmt == "flac" or data[40:44] == UNKNOWN_SIZE.to_bytes(4, "little")
        return
    command = ["ffmpeg", "-v", "error", "-i", "pipe:0", "-f", "s16le", "-"]
    decoded = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    assert decoded == whole_file("pcm")


def test_the_unknown_size_fits_its_fields() -> None:
    """The data size and the RIFF size both fit into 32 bits, and the data is whole samples."""
    assert UNKNOWN_SIZE % 2 == 0
    assert 2**32 - 3 <= UNKNOWN_SIZE + 36 + 2 <= 2**32


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_resampling_in_chunks_is_resampling_the_whole(rate: int) -> None:
    """The resampler keeps its state: no sample differs, and two seconds stay two seconds."""
    whole = Resampler(RATE, rate).feed(SPEECH, last=True)
    pieces = Resampler(RATE, rate)
    parts = [pieces.feed(SPEECH[start : start + 777]) for start in range(0, len(SPEECH), 777)]
    joined = np.concatenate([*parts, pieces.feed(np.zeros(0, np.float32), last=True)])
    assert len(whole) == 2 * rate
    assert np.array_equal(joined, whole)


def test_loud_samples_are_clipped_not_wrapped() -> None:
    """Samples outside [-1, 1] become full scale with the same sign."""
    data = whole_file("pcm", np.array([1.5, -1.5], np.float32))
    assert np.frombuffer(data, "<i2").tolist() == [32767, -32767]


@pytest.mark.parametrize(("sample_rate", "native"), [(8000, 24000), (24000, 24000), (32000, 32000), (48000, 32000)])
def test_a_rate_is_made_from_the_lowest_native_rate_that_has_its_band(sample_rate: int, native: int) -> None:
    """Below or at a native rate no band is lost; above all of them the highest is used."""
    assert native_rate(sample_rate, (32000, 24000)) == native
