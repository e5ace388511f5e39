"""The prompt NLL: the training loss of the speech tokens, without the text's."""

from __future__ import annotations

import math

import pytest
import torch

from glmtts.models.llm.prompt import SpecialIds
from glmtts.models.llm.prompt_score import score_prompt
from tests.helpers.tiny_llama import tiny_llama

SPECIAL = SpecialIds(ats=20, ate=59, boa=2, eoa=1, pad=0)


def test_equal_logits_give_the_log_of_the_vocabulary() -> None:
    """Each of 60 ids then has a probability of 1/60."""
    llama = tiny_llama()
    torch.nn.init.zeros_(llama.lm_head.weight)
    assert score_prompt(llama, SPECIAL, (5, 6, 7), (3, 0, 39)) == pytest.approx((math.log(60), math.log(60)))


def test_it_is_the_mean_over_the_speech_alone() -> None:
    """Each token is given all before it, the text and the begin of audio; the text's own loss does not count."""
    llama = tiny_llama()
    text, speech = (5, 6, 7), (3, 0, 39, 12)
    ids = [*text, SPECIAL.boa, *(token + SPECIAL.ats for token in speech)]
    with torch.inference_mode():
        one_by_one = [
            -float(llama(torch.tensor([ids[: len(ids) - left]])).logits[0, -1].log_softmax(-1)[ids[len(ids) - left]])
            for left in range(len(speech), 0, -1)
        ]
        end = -float(llama(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[SPECIAL.eoa])
    score = score_prompt(llama, SPECIAL, text, speech)
    assert score == pytest.approx((sum(one_by_one) / 4, end), rel=1e-4)
    assert score_prompt(llama, SPECIAL, (7, 6, 5), speech).nll != pytest.approx(score.nll, rel=1e-2)
