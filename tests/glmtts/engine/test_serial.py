"""The one-at-a-time engine on a tiny checkpoint."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from glmtts.engine import load_engine
from glmtts.engine.job import Job
from glmtts.errors import InputError
from glmtts.history import Spoken
from glmtts.offline import synthesize
from glmtts.text.frontend import Segment
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint


def recording() -> bytes:
    """Two seconds of a voice-like buzz, as a wav file."""
    time = np.arange(48000) / 24000
    wave = 0.2 * np.sign(np.sin(2 * np.pi * 150 * time)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 24000, format="WAV")
    return buffer.getvalue()


@pytest.mark.parametrize("text", ["Hello there.", "今天天气很好。"])
def test_the_engine_says_what_offline_synthesis_says(tmp_path: Path, text: str) -> None:
    """A job's joined chunks are the samples of offline synthesis with the same seed."""
    write_tiny_checkpoint(tmp_path)
    engine = load_engine(tmp_path, device="cpu")
    try:
        voice = engine.make_voice(recording(), "")
        rate = engine.info.sample_rates[0]
        handle = engine.submit(Job(tuple(engine.segments(text)), voice, rate, seed=3))
        made = np.concatenate([np.zeros(0, np.float32), *handle.chunks()])
        alone = synthesize(engine._model, text, voice, sample_rate=rate, seed=3)
        np.testing.assert_allclose(made, alone.wave, atol=1e-6)
        assert handle.report.finish_reason == alone.report.finish_reason
        assert handle.report.speech_tokens == alone.report.speech_tokens
    finally:
        engine.close()


@pytest.mark.parametrize("history", [True, False])
def test_a_chain_of_jobs_says_what_one_job_says(tmp_path: Path, history: bool) -> None:
    """Segment by segment, each job given what the one before reports, the samples are those of one job."""
    write_tiny_checkpoint(tmp_path)
    engine = load_engine(tmp_path, device="cpu")
    try:
        voice = engine.make_voice(recording(), "")
        rate = engine.info.sample_rates[0]
        segments = tuple(engine.segments("今天天气很好我们去公园散步吧好不好呀大家一起来看看。一二三四五六七八。" * 3))
        assert len(segments) == 3

        def speak(earlier: tuple[Spoken, ...], *spoken: Segment) -> tuple[np.ndarray, tuple[Spoken, ...]]:
            handle = engine.submit(Job(spoken, voice, rate, seed=3, history=history, earlier=earlier))
            return np.concatenate(list(handle.chunks())), handle.report.spoken

        whole, remembered = speak((), *segments)
        pieces, earlier = [], ()
        for segment in segments:
            piece, earlier = speak(earlier, segment)
            pieces.append(piece)
        assert np.array_equal(np.concatenate(pieces), whole)
        assert earlier == remembered
        assert bool(earlier) == history
        with pytest.raises(InputError):
            engine.submit(Job(segments, voice, rate, seed=3, earlier=(((1,), (10**6,)),)))
    finally:
        engine.close()
