"""Recordings that are all different, cut from a stored voice's."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import soundfile

SOURCE = Path(__file__).resolve().parents[2] / "checkpoints" / "nano" / "voices" / "default" / "neutral.flac"
MIN_SECONDS, MAX_SECONDS = 1.2, 28.0


def recording(rng: random.Random, seconds: float | None = None) -> bytes:
    """A WAV of that length, or of any that is taken; faint noise makes each one another."""
    speech, rate = soundfile.read(SOURCE, dtype="float32")
    samples = round((seconds or rng.uniform(MIN_SECONDS, MAX_SECONDS)) * rate)
    wave = np.resize(speech, samples) + np.random.default_rng(rng.getrandbits(32)).normal(0, 1e-3, samples)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV")
    return buffer.getvalue()
