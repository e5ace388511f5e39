"""The script that measures speech tokens against text ids, and the values that were chosen from it."""

from __future__ import annotations

import pytest
import torch

from glmtts.checkpoint.loader import load
from scripts.benchmarks.eval_cases import load_prompts, rows
from scripts.nano.speech_lengths import draw_lengths
from tests.helpers.server import ROOT

CHECKPOINT = ROOT / "checkpoints" / "nano"


@pytest.mark.slow
def test_sentences_have_plausible_lengths() -> None:
    """First draws of sentences in every voice of the checkpoint are within the limits of its own length model."""
    model = load(CHECKPOINT, device="cpu")
    generation = model.generation
    with torch.inference_mode():
        for prompt in load_prompts(CHECKPOINT / "voices"):
            (row,) = rows("sentences", prompt.lang, prompt, 2)
            lengths = list(draw_lengths(model, row, seeds=1))
            assert len(lengths) == 2
            for ids, tokens in lengths:
                expected = generation.expected_tokens(ids)
                assert expected is not None
                assert generation.min_length_ratio < tokens / expected < generation.max_length_ratio
