"""Recordings as they come from browsers, telephones and strangers."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from glmtts.dsp.audio import Wave
from glmtts.errors import AudioDecodeError, AudioError, UnsupportedError
from glmtts.voice import ffmpeg_decoder
from glmtts.voice.audio_kind import WEBM
from glmtts.voice.ffmpeg_decoder import decode_to_wav
from glmtts.voice.reference_audio import load_reference_audio
from tests.helpers.browser import needs_chromium, run_in_chromium
from tests.helpers.recordings import BY_FFMPEG, BY_LIBSNDFILE, RATE, amr, damaged, needs_ffmpeg, recording, tone

KINDS = BY_LIBSNDFILE | BY_FFMPEG


def pitch(wave: Wave, rate: int) -> float:
    """The frequency that has most power, in Hz."""
    return float(np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave))


def stereo(left: Wave, right: Wave) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([left, right], axis=1), RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


@needs_ffmpeg
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_recording_is_read(kind: str, tmp_path: Path) -> None:
    """Its sound, its length and its level."""
    wave, rate = load_reference_audio(recording(KINDS[kind], tmp_path))
    assert len(wave) / rate == pytest.approx(1.5, abs=0.1)
    assert pitch(wave, rate) == pytest.approx(440, abs=3)
    assert 0.14 < wave.std() < 0.25


@needs_ffmpeg
@pytest.mark.parametrize("wide", [False, True])
def test_amr_is_read_bare_and_in_3gp(wide: bool, tmp_path: Path) -> None:
    """Narrow-band and wide-band."""
    bare, path = amr(wide=wide), tmp_path / "recording.3gp"
    command = ["ffmpeg", "-v", "error", "-f", "amr", "-i", "pipe:0", "-c", "copy", path]
    subprocess.run(command, input=bare, check=True)
    for data in (bare, path.read_bytes()):
        wave, rate = load_reference_audio(data)
        assert (len(wave) / rate, rate) == (1.5, 16000 if wide else 8000)


RECORDER = """<script>
(async () => {
  for (const type of TYPES) {
    let body = "unsupported";
    if (MediaRecorder.isTypeSupported(type)) {
      const context = new AudioContext(), tone = context.createOscillator();
      const to = context.createMediaStreamDestination();
      tone.frequency.value = 440;
      tone.connect(to);
      tone.start();
      const recorder = new MediaRecorder(to.stream, {mimeType: type}), pieces = [];
      recorder.ondataavailable = (event) => pieces.push(event.data);
      const stopped = new Promise((done) => { recorder.onstop = done; });
      recorder.start(250);
      await new Promise((done) => setTimeout(done, 2000));
      recorder.stop();
      await stopped;
      body = new Blob(pieces);
    }
    await fetch("/" + TYPES.indexOf(type), {method: "POST", body});
  }
})()
</script>"""


@needs_ffmpeg
@needs_chromium
@pytest.mark.processes
def test_what_chromium_records_is_read(tmp_path: Path) -> None:
    """By MediaRecorder, in pieces: files without a length or an index."""
    types = ["audio/webm;codecs=opus", "audio/webm;codecs=pcm", "audio/mp4;codecs=opus", "audio/mp4;codecs=mp4a.40.2"]
    posted = run_in_chromium(RECORDER.replace("TYPES", repr(types)), set(map(str, range(len(types)))), tmp_path)
    recorded = {types[int(index)]: data for index, data in posted.items() if data != b"unsupported"}
    assert types[0] in recorded
    for data in recorded.values():
        wave, rate = load_reference_audio(data)
        assert 1 < len(wave) / rate < 10
        assert pitch(wave, rate) == pytest.approx(440, abs=3)


def test_channels_that_cancel_each_other_are_not_mixed() -> None:
    """With an inverted channel the loudest one counts; a dead one halves the level; so does noise beside speech."""
    wave, silence = tone(), np.zeros_like(tone())
    for data in (stereo(wave, -wave), stereo(0.9 * wave, -wave)):
        assert load_reference_audio(data)[0].std() > 0.9 * wave.std()
    np.testing.assert_allclose(load_reference_audio(stereo(wave, silence))[0], wave / 2, atol=1e-4)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([silence] * 6 + [wave], axis=1), RATE, format="WAV")
    np.testing.assert_allclose(load_reference_audio(buffer.getvalue())[0], wave, atol=1e-3)


@needs_ffmpeg
def test_a_long_recording_is_refused_wherever_it_is_decoded(tmp_path: Path) -> None:
    """By its length, with what is allowed."""
    with pytest.raises(AudioError, match="expected 1 to 30 s"):
        load_reference_audio(recording(BY_FFMPEG["webm-opus"], tmp_path, tone(40)))


@needs_ffmpeg
@pytest.mark.parametrize("arguments", ["-c:a mp2 -f matroska", "-c:a ac3 -f matroska", "-c:a wmav2 -f matroska"])
def test_codecs_that_are_not_listed_are_refused(arguments: str, tmp_path: Path) -> None:
    """Even in a container that is."""
    with pytest.raises(AudioDecodeError, match=r"got \d+ bytes of WebM or Matroska that do not decode"):
        load_reference_audio(recording(arguments, tmp_path))


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("MAT5", "FLOAT"), ("WAV", "GSM610")],
)
def test_formats_that_are_not_listed_are_refused(format: str, subtype: str) -> None:
    """libsndfile could read them."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(), RATE, format=format, subtype=subtype)
    with pytest.raises(AudioDecodeError, match="expected audio as WAV, FLAC, "):
        load_reference_audio(buffer.getvalue())


def test_without_ffmpeg_the_error_names_the_kind_and_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libsndfile reads needs no ffmpeg."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnsupportedError, match=r"got AMR, for which .* ffmpeg \(Debian package ffmpeg\)"):
        load_reference_audio(amr())
    assert len(load_reference_audio(stereo(tone(), tone()))[0]) == 1.5 * RATE


def test_the_decoder_runs_within_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of memory, CPU time, files and patience; and it sees none of the server's environment."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nulimit -v; ulimit -t; ulimit -f; ulimit -c; echo $SECRET; echo done\n")
    program.chmod(0o755)
    monkeypatch.setattr(ffmpeg_decoder, "find_ffmpeg", lambda: str(program))
    monkeypatch.setenv("SECRET", "word")
    limits = decode_to_wav(b"", WEBM, seconds=1, field="reference_audio").decode().split()
    assert limits == ["524288", "5", "0", "0", "done"]
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(ffmpeg_decoder, "WALL_SECONDS", 0.2)
    with pytest.raises(AudioDecodeError, match=r"got 0 bytes of WebM .* \(not within 0\.2 s\)"):
        decode_to_wav(b"", WEBM, seconds=1, field="reference_audio")


def is_usable(data: bytes) -> bool:
    """Whether the recording gives a waveform; then it is a proper one. False on AudioError."""
    try:
        wave, rate = load_reference_audio(data)
    except AudioError:
        return False
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() <= 1
    assert 1 <= len(wave) / rate <= 30
    return True


@needs_ffmpeg
@pytest.mark.processes
def test_damaged_recordings_give_a_waveform_or_an_audio_error(tmp_path: Path) -> None:
    """Whatever is damaged, in every kind."""
    files = {kind: recording(arguments, tmp_path) for kind, arguments in KINDS.items()} | {"amr": amr()}
    usable = [is_usable(data) for _, data in damaged(files, 100)]
    assert 0 < sum(usable) < 100
