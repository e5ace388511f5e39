"""Which scores tell a recording with its transcript from one with another text.

Wrong texts: other sentences, and the first half of the right one; they show in the mean score of the tokens. Too long
ones: the right one and another sentence, and the right one for the first half of the recording; they show in the score
of the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from glmtts.checkpoint.loader import Model
from glmtts.models.llm.prompt_score import score_prompt
from glmtts.text.language import language_of
from scripts.benchmarks.eval_cases import Prompt
from scripts.calibration.measurement import Measurement, Value

WRONG_SHARE = 0.1
"""A few wrong texts fit by chance: so many of them may score like right ones."""
PLAUSIBLE_RATIO = 0.5
"""A prompt may have so many times the fewest tokens per text id that a right one has."""


class Scored(NamedTuple):
    """Scores in nats, and speech tokens per text id, of right texts; scores of wrong and of too long ones."""

    right_nll: list[float]
    right_end_nll: list[float]
    right_ratio: list[float]
    wrong_nll: list[float]
    long_end_nll: list[float]


def measure_prompts(model: Model, prompts: Sequence[Prompt], texts: Mapping[str, Sequence[str]]) -> list[Measurement]:
    """Of all recordings of the voices, with other `texts` of their language."""
    scored = score_voices(model, prompts, texts)
    ratio = PLAUSIBLE_RATIO * min(scored.right_ratio)
    return [
        Measurement("min_prompt_ratio", math.floor(ratio * 20) / 20, f"half the least of {len(scored.right_ratio)}"),
        _between("max_prompt_nll", scored.right_nll, scored.wrong_nll),
        _between("max_prompt_end_nll", scored.right_end_nll, scored.long_end_nll),
    ]


def score_voices(model: Model, prompts: Sequence[Prompt], texts: Mapping[str, Sequence[str]]) -> Scored:
    """Scores all recordings."""
    scored = Scored([], [], [], [], [])
    for prompt in prompts:
        for file, transcript in prompt.styles.items():
            speech = model.voice_maker.make_voice(file.read_bytes(), transcript).prompt_tokens.tolist()
            others = texts[language_of(transcript) or prompt.lang]
            _score_recording(model, speech, transcript, others, scored)
    return scored


def _score_recording(model: Model, speech: list[int], transcript: str, others: Sequence[str], scored: Scored) -> None:
    def score(text: str, tokens: Sequence[int] = speech) -> tuple[float, float]:
        return score_prompt(model.llm, model.special, model.frontend.prompt_ids(text), tokens)

    nll, end_nll = score(transcript)
    scored.right_nll.append(nll)
    scored.right_end_nll.append(end_nll)
    scored.right_ratio.append(len(speech) / len(model.frontend.prompt_ids(transcript)))
    scored.wrong_nll.extend(score(text)[0] for text in (*others, *_first_half(transcript)))
    scored.long_end_nll.extend(score(f"{transcript} {text}")[1] for text in others)
    scored.long_end_nll.append(score(transcript, speech[: len(speech) // 2])[1])


def _first_half(text: str) -> Iterator[str]:
    """The first half of its words, or of its characters if it has no blanks."""
    words = text.split()
    half = " ".join(words[: len(words) // 2]) if len(words) > 1 else text[: len(text) // 2]
    if half:
        yield half


def _between(key: str, right: Sequence[float], wrong: Sequence[float]) -> Measurement:
    """Between the highest right score and nearly all wrong ones; None if they overlap."""
    highest = max(max(right), 0.1)  # an end of which the model is sure scores 0
    lowest = float(torch.tensor(wrong).quantile(WRONG_SHARE))
    value: Value = None if highest >= lowest else round(math.sqrt(highest * lowest), 2)
    passing = sum(score <= (value or math.inf) for score in wrong)
    return Measurement(key, value, f"{len(right)} right up to {max(right):.2f}; {passing} of {len(wrong)} wrong pass")
