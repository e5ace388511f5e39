"""Between which speeds the flow speaks at least as well as a time stretch behind the vocoder.

The judge is the checkpoint itself: speech of both is tokenised, and the AR model scores the tokens given the text. A
word that is swallowed or smeared surprises it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from glmtts.checkpoint.loader import Model
from glmtts.dsp import time_stretch
from glmtts.dsp.audio import VOICE_RATE
from glmtts.dsp.features import resample
from glmtts.engine.runtime.offline import synthesize
from glmtts.models.llm.prompt_score import score_prompt
from glmtts.voice.voice import Voice
from scripts.calibration.measurement import Measurement, Value

SLOWER, FASTER = (0.85, 0.7, 0.5), (1.15, 1.3, 1.6, 2.0)
TOLERANCE = 0.1
"""Nats per token by which the flow may be worse: the stretch costs time, too."""


def measure_speeds(model: Model, texts: Mapping[Voice, Sequence[str]]) -> list[Measurement]:
    """Of `texts` in each voice. A range is as far as the flow keeps up at each speed on the way."""
    if not time_stretch.AVAILABLE:
        return [Measurement(key, None, "needs libsonic") for key in ("min_speed", "max_speed")]
    return [_farthest(model, texts, "min_speed", SLOWER), _farthest(model, texts, "max_speed", FASTER)]


def _farthest(model: Model, texts: Mapping[Voice, Sequence[str]], key: str, speeds: Sequence[float]) -> Measurement:
    farthest: Value = 1.0
    seen = []
    for speed in speeds:
        flow, stretch = (score(model, texts, speed, stretched=stretched) for stretched in (False, True))
        seen.append(f"{flow:.2f} to {stretch:.2f} at {speed:g}")
        if flow > stretch + TOLERANCE:
            break
        farthest = speed
    return Measurement(key, farthest, f"flow to stretch, nats: {', '.join(seen)}")


def score(model: Model, texts: Mapping[Voice, Sequence[str]], speed: float, *, stretched: bool) -> float:
    """Mean score of speech at a speed that the flow makes, or the time stretch."""
    limit = 1.0 if stretched else None
    own = replace(model, generation=replace(model.generation, min_speed=limit, max_speed=limit))
    scores = [_score_text(own, voice, text, speed) for voice, sentences in texts.items() for text in sentences]
    return float(np.mean(scores))


def _score_text(model: Model, voice: Voice, text: str, speed: float) -> float:
    spoken = synthesize(model, text, voice, speed=speed)
    wave = torch.from_numpy(resample(spoken.wave, spoken.sample_rate, VOICE_RATE))
    tokens = model.speech_tokenizer.tokenize(wave).tolist()
    return score_prompt(model.llm, model.special, model.frontend.prompt_ids(text), tokens).nll
