"""How many speech tokens the AR model draws for how many text ids, and how far a draw is from that by chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from glmtts.checkpoint.loader import Model
from glmtts.models.llm.decoder import Decoder, DecodeRequest, generate_tokens
from glmtts.models.llm.history import History
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.prompt import prompt_layout
from glmtts.voice.voice import Voice
from scripts.calibration.measurement import Measurement

DEVIATIONS = 3.5
"""A draw that is further from the expected length, in robust standard deviations of its logarithm, is implausible."""
REDRAWS = 2
"""A rule, not a measurement: a redraw costs time only where a draw was implausible."""
SHORT_SHARE = 0.5
"""So many of the short texts are held back as a whole, until they end: that delays their first sound."""
MIN_DRAWS = 10


class Draw(NamedTuple):
    """Text ids and speech tokens of a segment. `ended`: neither cut nor ended as soon as it may."""

    ids: int
    tokens: int
    ended: bool


def draw_lengths(model: Model, voice: Voice, texts: Sequence[str], seeds: int) -> Iterator[Draw]:
    """Draws of the first segment of each text, `seeds` each. Runs no flow and no vocoder."""
    cache = KVCache(model.llm.config, 1, model.max_positions, dtype=model.dtype, device=model.device)
    decoder = Decoder(model.llm, model.special, model.generation, cache)
    speech = voice.prompt_tokens.tolist()
    history = History(voice.prompt_text, speech, model.generation, max_positions=model.max_positions)
    for text in texts:
        segment = model.frontend.segments(text)[0]
        prompt = history.prompt(segment.ids)
        ids = prompt_layout(prompt.text, segment.ids, prompt.speech, model.special)
        for seed in range(seeds):
            tokens = sum(1 for _ in generate_tokens(decoder, DecodeRequest(ids, prompt.bounds, seed)))
            yield Draw(len(segment.ids), tokens, prompt.bounds.minimum < tokens < prompt.bounds.maximum)


def measure_lengths(words: Sequence[Draw], sentences: Sequence[Draw]) -> list[Measurement]:
    """From draws of short texts and of sentences. Without enough that ended, nothing is implausible."""
    draws = [draw for draw in (*words, *sentences) if draw.ended]
    if len(draws) < MIN_DRAWS or len({draw.ids for draw in draws}) < 2:
        return [Measurement("tokens_per_id", None, f"{len(draws)} of {len(words) + len(sentences)} draws ended")]
    slope, base = fit(draws)
    logs = np.log([draw.tokens / (slope * draw.ids + base) for draw in draws])
    deviation = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    least = math.floor(20 * math.exp(-DEVIATIONS * deviation)) / 20
    most = math.ceil(20 * math.exp(DEVIATIONS * deviation)) / 20
    ids = float(np.quantile([draw.ids for draw in words], SHORT_SHARE))
    bad = sum(not draw.ended or not least <= draw.tokens / (slope * draw.ids + base) <= most for draw in words)
    spread = f"{DEVIATIONS:g} robust deviations of {100 * deviation:.0f} %"
    return [
        Measurement("tokens_per_id", slope, f"{len(draws)} draws"),
        Measurement("base_tokens", base, f"{len(draws)} draws"),
        Measurement("min_length_ratio", least, spread),
        Measurement("max_length_ratio", most, spread),
        Measurement("max_redraws", REDRAWS, f"{bad} of {len(words)} draws of short texts implausible"),
        Measurement("max_redraw_tokens", math.ceil(most * (slope * ids + base)), f"short texts of up to {ids:g} ids"),
    ]


def fit(draws: Sequence[Draw]) -> tuple[float, float]:
    """Slope and base, not negative, of the line of medians (Theil 1950): a tenth of wild draws do not move it."""
    ids, tokens = (np.array(column, float) for column in zip(*(draw[:2] for draw in draws), strict=True))
    rise, run = tokens[:, None] - tokens, ids[:, None] - ids
    slope = max(0.0, float(np.median(rise[run > 0] / run[run > 0])))
    base = max(0.0, float(np.median(tokens - slope * ids)))
    return round(slope, 2), round(base, 1)
