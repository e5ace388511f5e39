"""Formats and resampling: a streamed file has the samples of a whole one."""

import io
import os
import resource
from contextlib import ExitStack

import numpy as np
import pytest
import soundfile

from glmtts.dsp.audio import Wave
from glmtts.errors import EngineError, UnsupportedError
from server.http.containers import UNKNOWN_SIZE
from server.http.encoding import Format, Resampler, available_formats, make_encoder, native_rate
from server.http.provenance import Provenance

RATE = 24000
PROVENANCE = Provenance("nano", "7")
SPEECH: Wave = (0.5 * np.sin(np.arange(RATE * 2) * 0.05)).astype(np.float32)


def streamed(fmt: Format, size: int = 3001) -> bytes:
    encoder = make_encoder(fmt, RATE, RATE, PROVENANCE, streamed=True)
    pieces = [encoder.encode(SPEECH[start : start + size]) for start in range(0, len(SPEECH), size)]
    return b"".join(pieces) + encoder.flush()


def whole_file(fmt: Format, wave: Wave = SPEECH, size: int = 3001) -> bytes:
    encoder = make_encoder(fmt, RATE, RATE, PROVENANCE, streamed=False)
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
    """A streamed WAV has a header of 44 bytes, a whole one has tags too; behind the samples there is nothing."""
    whole = whole_file(fmt)
    assert streamed(fmt)[44 if fmt == "wav" else 0 :] == whole[-2 * len(SPEECH) :]


@pytest.mark.parametrize("fmt", available_formats())
def test_audio_leaves_before_the_end(fmt: Format) -> None:
    """A second of audio gives bytes at once, in every format."""
    with make_encoder(fmt, RATE, RATE, PROVENANCE, streamed=True) as encoder:
        assert len(encoder.encode(SPEECH[:RATE])) > 1000


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("fmt", ["wav", "pcm"])
def test_an_encoder_resamples(fmt: Format, streamed: bool) -> None:
    """Two seconds stay two seconds at another rate: no sample stays in the filter."""
    encoder = make_encoder(fmt, RATE, 16000, PROVENANCE, streamed=streamed)
    data = encoder.encode(SPEECH) + encoder.flush()
    assert encoder.seconds == 2
    samples = np.frombuffer(data, "<i2") if fmt == "pcm" else soundfile.read(io.BytesIO(data))[0]
    assert len(samples) == 32000


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


def test_opus_takes_the_next_rate_that_it_has() -> None:
    """44.1 kHz become 48 kHz, and the encoder says so."""
    with make_encoder("opus", RATE, 44100, PROVENANCE, streamed=True) as encoder:
        data = encoder.encode(SPEECH) + encoder.flush()
        assert (encoder.sample_rate, encoder.seconds) == (48000, 2)
    assert soundfile.info(io.BytesIO(data)).samplerate == 48000


@pytest.mark.skipif("aac" not in available_formats(), reason="needs ffmpeg")
def test_an_encoder_that_is_left_ends_its_process() -> None:
    """Before, during and after a file; and a process that dies is an error, not a file that is cut."""
    with make_encoder("aac", RATE, RATE, PROVENANCE, streamed=True) as encoder:
        process = encoder._container._process  # type: ignore[attr-defined]
        encoder.encode(SPEECH)
        assert process.poll() is None
    assert process.poll() is not None
    with make_encoder("aac", RATE, RATE, PROVENANCE, streamed=True) as encoder:
        encoder._container._process.kill()  # type: ignore[attr-defined]
        with pytest.raises(EngineError, match="AAC encoder"):
            encoder.encode(SPEECH)


@pytest.mark.skipif("aac" not in available_formats(), reason="needs ffmpeg")
def test_an_encoder_works_beside_many_connections() -> None:
    """Its descriptors may be above 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2048), hard))
    with ExitStack() as resources:
        resources.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1024):
            resources.callback(os.close, os.dup(0))
        encoder = resources.enter_context(make_encoder("aac", RATE, RATE, PROVENANCE, streamed=True))
        assert len(encoder.encode(SPEECH)) > 1000


def test_without_ffmpeg_there_is_no_aac(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not listed, and the error names the package."""
    monkeypatch.setenv("PATH", "")
    assert available_formats() == ("wav", "pcm", "flac", "mp3", "opus")
    with pytest.raises(UnsupportedError, match=r"^format: expected .* ffmpeg \(Debian package ffmpeg\)"):
        make_encoder("aac", RATE, RATE, PROVENANCE, streamed=True)
