"""The sound that says that speech is synthetic."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile

from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.runtime.fake import FakeEngine, FakeOptions
from server.http.audible_mark import mark_before
from server.http.encoding import Format, make_encoder
from server.http.provenance import Provenance
from tests.helpers.server import Server, recording, store_voice

RATE = 24000
SECONDS = 0.9


@pytest.fixture
def job() -> Job:
    engine = FakeEngine(FakeOptions())
    segments = tuple(engine.segments("One. Two."))
    voice = engine.make_voice(recording(), "")
    engine.close()
    return Job(segments, voice, RATE, seed=1)


def rhythm(wave: Wave, rate: int) -> str:
    """Which units of 60 ms have sound."""
    units = wave[: round(SECONDS * rate)].reshape(15, -1)
    return "".join("#" if level > 0.02 else "." for level in units.std(axis=1))


@pytest.mark.parametrize("fmt", ["wav", "mp3", "opus"])
def test_the_mark_is_heard_in_every_format(job: Job, fmt: Format) -> None:
    """Short long, short short, 0.9 s, also after compression; then the speech may begin."""
    mark = mark_before(job)
    assert (mark.dtype, len(mark)) == (np.float32, SECONDS * RATE)
    assert np.abs(mark).max() == pytest.approx(0.1, rel=0.01)
    with make_encoder(fmt, RATE, RATE, Provenance("nano", "7"), streamed=False) as encoder:
        decoded, rate = soundfile.read(io.BytesIO(encoder.encode(mark) + encoder.flush()), dtype="float32")
    delay = 1105 if fmt == "mp3" else 0
    assert rhythm(decoded[delay:], rate) == "#.###...#.#...."


def test_a_continuation_has_no_mark(job: Job) -> None:
    """A speech that is asked for in several requests has one mark, at its beginning."""
    later = replace(job, segments=tuple(replace(segment, index=segment.index + 2) for segment in job.segments))
    assert len(mark_before(later)) == 0


@pytest.mark.processes
def test_a_setting_marks_all_speech(tmp_path: Path) -> None:
    """Whole and streamed, also over OpenAI's API; and the timing counts from the beginning of the response."""
    store_voice(tmp_path / "voices", "default", {"neutral": "Hello."})
    with Server(voices=tmp_path / "voices", env={"GLMTTS_AUDIBLE_MARK": "on"}) as server:
        own = {"text": "Hello there.", "format": "pcm", "sample_rate": RATE, "seed": 1}
        openai = {"input": "Hello there.", "response_format": "pcm", "seed": 1}
        answers = [requests.post(server.url + path, json=own, timeout=60) for path in ("/tts", "/tts/stream")]
        answers.append(requests.post(server.url + "/v1/audio/speech", json=openai, timeout=60))
        for answer in answers:
            assert rhythm(np.frombuffer(answer.content, "<i2") / np.float32(32767), RATE) == "#.###...#.#...."
        seconds = float(answers[0].headers["X-Audio-Seconds"])
        known = requests.get(f"{server.url}/requests/{answers[0].headers['X-Request-Id']}", timeout=10).json()
        assert known["timing"][0]["start_seconds"] == pytest.approx(SECONDS)
        assert known["timing"][-1]["end_seconds"] == pytest.approx(seconds, abs=0.001)
        assert known["audio_seconds"] == pytest.approx(seconds - SECONDS, abs=0.001)
