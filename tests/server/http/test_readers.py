"""Every format, whole and streamed, by every reader: all samples come, in their places."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import wave as wavefile
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from glmtts.dsp.audio import Wave
from glmtts.voice.reference_audio import load_reference_audio
from server.http.encoding import FORMATS, SAMPLE_RATES, Format, make_encoder
from server.http.provenance import Provenance
from tests.helpers.browser import needs_chromium, run_in_chromium
from tests.helpers.recordings import needs_ffmpeg

PROVENANCE = Provenance("nano", "7")
MAX_DELAY_MS = 60
"""Of sound that a decoder gives before the first sample, at 24 kHz and above."""
EXACT = ("wav", "pcm", "flac", "opus")
"""Formats that say how many samples they have, so that readers give no others."""
MAX_FRAME = 1152


def speechlike(seconds: float, rate: int) -> Wave:
    """A rising tone of growing loudness, whose parts are all different, and some noise."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(t))
    wave = np.sin(2 * np.pi * (200 * t + 150 * t**2)) * np.linspace(0.2, 1, len(t)) * 0.5 + 0.01 * noise
    return wave.astype(np.float32)


def encoded(fmt: Format, wave: Wave, rate: int, *, streamed: bool, size: int = 3001) -> bytes:
    with make_encoder(fmt, rate, rate, PROVENANCE, streamed=streamed) as encoder:
        pieces = [encoder.encode(wave[start : start + size]) for start in range(0, len(wave), size)]
        return b"".join(pieces) + encoder.flush()


def check(decoded: NDArray[np.float32], wave: Wave, rate: int, fmt: Format) -> None:
    """All samples of `wave` are there, in one piece; before and behind it there is no more than the format needs."""
    extra = len(decoded) - len(wave)
    if fmt in EXACT:
        assert abs(extra) <= (1 if fmt == "opus" else 0)
    assert extra <= 1105 + 2 * MAX_FRAME
    size = 1 << (len(decoded) + len(wave)).bit_length()
    overlap = np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(wave, size)), size)
    delay = int(np.argmax(overlap[: max(extra, 0) + 2]))
    assert delay * 1000 / rate <= MAX_DELAY_MS or rate < 24000
    ours = decoded[delay : delay + len(wave)]
    assert len(ours) >= len(wave) - 1
    for part, expected in zip(np.array_split(ours, 10), np.array_split(wave[: len(ours)], 10), strict=True):
        assert np.corrcoef(part, expected)[0, 1] > 0.95


def by_ffmpeg(data: bytes, rate: int, fmt: Format) -> NDArray[np.float32]:
    source = ["-f", "s16le", "-ar", str(rate), "-ac", "1"] if fmt == "pcm" else []
    command = ["ffmpeg", "-v", "error", *source, "-i", "pipe:0", "-f", "f32le", "-ac", "1", "-ar", str(rate), "-"]
    return np.frombuffer(subprocess.run(command, input=data, capture_output=True, check=True).stdout, np.float32)


class ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """soundfile seeks after each read, which libsndfile cannot do in a FLAC without a length."""

    def seekable(self) -> bool:
        return False


def by_soundfile(data: bytes, rate: int, fmt: Format) -> NDArray[np.float32]:
    raw = {"format": "RAW", "subtype": "PCM_16", "samplerate": rate, "channels": 1} if fmt == "pcm" else {}
    with ForwardFile(io.BytesIO(data), **raw) as file:
        assert file.samplerate == rate
        return np.asarray(file.read(100 * rate, dtype="float32"))


def by_wave(data: bytes, rate: int, _fmt: Format) -> NDArray[np.float32]:
    with wavefile.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32767


def by_this_server(data: bytes, rate: int, _fmt: Format) -> NDArray[np.float32]:
    """As a reference recording."""
    wave, actual = load_reference_audio(data)
    assert actual == rate
    return wave


READERS: list[tuple[Callable[[bytes, int, Format], NDArray[np.float32]], tuple[Format, ...]]] = [
    (by_ffmpeg, FORMATS),
    (by_soundfile, ("wav", "pcm", "flac", "mp3", "opus")),
    (by_wave, ("wav",)),
    (by_this_server, tuple(fmt for fmt in FORMATS if fmt != "pcm")),
]
TABLE = [
    pytest.param(
        fmt, reader, id=f"{fmt}-{reader.__name__}", marks=needs_ffmpeg if "aac" in fmts or fmt == "aac" else ()
    )
    for reader, fmts in READERS
    for fmt in fmts
]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("fmt", "read"), TABLE)
def test_every_reader_gets_every_sample(
    fmt: Format, read: Callable[[bytes, int, Format], NDArray[np.float32]], streamed: bool
) -> None:
    """At 24 kHz and at a rate of CDs, which Opus has not."""
    for rate in (24000, 48000 if fmt == "opus" else 44100):
        wave = speechlike(1.3, rate)
        check(read(encoded(fmt, wave, rate, streamed=streamed), rate, fmt), wave, rate, fmt)


@needs_ffmpeg
@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("fmt", ["mp3", "aac"])
def test_lossy_formats_have_every_rate(fmt: Format, rate: int) -> None:
    """From 8 to 48 kHz."""
    wave = speechlike(1.0, rate)
    check(by_ffmpeg(encoded(fmt, wave, rate, streamed=True), rate, fmt), wave, rate, fmt)


@needs_ffmpeg
@pytest.mark.parametrize("fmt", ["mp3", "aac"])
def test_joined_files_are_one_file(fmt: Format) -> None:
    """Clients join the files of several requests: nothing in the first one states its own length, no reader stops."""
    wave = speechlike(1.0, 24000)
    file = encoded(fmt, wave, 24000, streamed=False)
    decoded = by_ffmpeg(file * 3, 24000, fmt)
    check(decoded[: len(by_ffmpeg(file, 24000, fmt))], wave, 24000, fmt)
    assert len(decoded) == pytest.approx(3 * len(by_ffmpeg(file, 24000, fmt)), abs=MAX_FRAME)
    if fmt == "mp3":
        assert len(by_soundfile(file * 3, 24000, fmt)) == 3 * len(by_soundfile(file, 24000, fmt))
        assert b"Xing" not in file
        assert b"Info" not in file


@needs_ffmpeg
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt != "pcm"])
def test_files_say_that_they_are_synthetic(fmt: Format, streamed: bool) -> None:
    """In front of the samples, readable by ffprobe; a streamed WAV has 44 bytes of header and nothing else."""
    data = encoded(fmt, speechlike(1.0, 24000), 24000, streamed=streamed)
    if fmt == "wav" and streamed:
        assert data[36:40] == b"data"
        assert len(data) == 44 + 2 * 24000
        return
    assert max(data.index(b"AI-generated speech"), data.index(b"nano 7")) < 1000
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags:stream_tags", "pipe:0"]
    shown = subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()
    assert "AI-generated speech" in shown
    assert "nano 7" in shown


PAGE = """<script>
const play = (audio) => new Promise((done, failed) => {
  audio.oncanplay = done;
  audio.onerror = () => failed(audio.error.message);
});
(async () => {
  for (const [name, type] of FILES) {
    let body;
    try {
      const data = await (await fetch("/" + name)).arrayBuffer();
      const buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(data.slice(0));
      await play(new Audio(URL.createObjectURL(new Blob([data], {type}))));
      body = buffer.getChannelData(0);
    } catch (error) { body = "error: " + error; }
    await fetch("/" + name, {method: "POST", body});
  }
})()
</script>"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    files, types = {}, []
    for fmt, streamed in itertools.product([fmt for fmt in FORMATS if fmt != "pcm"], [True, False]):
        name = f"{fmt}-{streamed}"
        with make_encoder(fmt, 48000, 48000, PROVENANCE, streamed=streamed) as encoder:
            files[name] = encoder.encode(speechlike(1.3, 48000)) + encoder.flush()
            types.append([name, encoder.content_type])
    page = PAGE.replace("FILES", json.dumps(types)).replace("RATE", "48000")
    return run_in_chromium(page, set(files), tmp_path_factory.mktemp("chromium"), files)


@needs_chromium
@needs_ffmpeg
@pytest.mark.processes
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt != "pcm"])
def test_chromium_gets_every_sample(chromium: dict[str, bytes], fmt: Format, streamed: bool) -> None:
    """By decodeAudioData; and an audio element plays the file under its content type."""
    data = chromium[f"{fmt}-{streamed}"]
    assert not data.startswith(b"error"), data.decode()
    check(np.frombuffer(data, np.float32), speechlike(1.3, 48000), 48000, fmt)
