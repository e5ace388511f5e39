"""How well reference audio and its text prompt the AR model.

If the text is not what is said, or says more than the audio, or the audio is unlike anything the model was trained on,
the model loses its place in the text and omits or garbles words. The negative log-likelihood (NLL) tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, prompt_layout


class PromptScore(NamedTuple):
    """−log p in nats: `nll` is the mean over the speech tokens, `end_nll` that of the end token after them."""

    nll: float
    end_nll: float


@torch.inference_mode()
def score_prompt(llm: Llama, special: SpecialIds, text: Sequence[int], speech: Sequence[int]) -> PromptScore:
    """Scores speech tokens (0 … special.speech_tokens − 1) by the ids of their text; at least one of each.

    −log p of each token given the text and the tokens before it: the training loss.
    """
    ids = prompt_layout(text, (), speech, special)
    ids_n = torch.tensor(ids, device=llm.model.embed_tokens.weight.device)
    logits_nv = llm(ids_n[None]).logits[0, len(text) :].float()
    targets_n = torch.cat([ids_n[len(text) + 1 :], ids_n.new_tensor([special.eoa])])
    nll_n = F.cross_entropy(logits_nv, targets_n, reduction="none")
    return PromptScore(float(nll_n[:-1].mean()), float(nll_n[-1]))
