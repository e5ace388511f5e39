"""How well the AR model follows a recording: what its speech tokens surprise it by, given what is said in it.

A recording that a model has never heard the like of, or whose transcript is another's, does not help it as a prompt: it
loses its place in the text, and what is to be spoken comes out cut or wrong. Knows nothing about recordings or voices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, prompt_layout


@torch.inference_mode()
def prompt_nll(llm: Llama, special: SpecialIds, text: Sequence[int], speech: Sequence[int]) -> float:
    """Mean −log p in nats of the speech tokens (0 … special.speech_tokens − 1), each given the text's ids and those
    before it; the model's own training loss. Both at least one long."""
    ids = prompt_layout(text, (), speech, special)
    device = llm.model.embed_tokens.weight.device
    ids_n = torch.tensor(ids, device=device)
    logits_nv = llm(ids_n[None]).logits[0, len(text) : -1]
    return float(F.cross_entropy(logits_nv.float(), ids_n[len(text) + 1 :]))
