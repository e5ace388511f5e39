"""The one-at-a-time engine on a tiny checkpoint."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from glmtts.engine import load_engine
from glmtts.engine.job import Job
from glmtts.offline import synthesize
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
