"""How well a recording and its transcript prompt the AR model.

A recording whose transcript is another's, says more than the recording, or is unlike anything that the model has heard,
does not help it as a prompt: it loses its place in the text, and what is to be spoken comes out cut or wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, prompt_layout


class PromptScore(NamedTuple):
    """−log p in nats: `nll` is the mean of the recording's tokens, `end_nll` that of an end behind the last one."""

    nll: float
    end_nll: float


@torch.inference_mode()
def score_prompt(llm: Llama, special: SpecialIds, text: Sequence[int], speech: Sequence[int]) -> PromptScore:
    """Scores the speech tokens (0 … special.speech_tokens − 1) of a recording by the ids of its transcript.

    −log p of each token given the text and the tokens before it (the training loss), and of the end token behind them.
    Both sequences have at least one element.
    """
    ids = prompt_layout(text, (), speech, special)
    ids_n = torch.tensor(ids, device=llm.model.embed_tokens.weight.device)
    logits_nv = llm(ids_n[None]).logits[0, len(text) :].float()
    targets_n = torch.cat([ids_n[len(text) + 1 :], ids_n.new_tensor([special.eoa])])
    nll_n = F.cross_entropy(logits_nv, targets_n, reduction="none")
    return PromptScore(float(nll_n[:-1].mean()), float(nll_n[-1]))
