"""How well reference audio and its text prompt the AR model: the negative log-likelihood of its speech tokens.

If the audio is unlike anything the model was trained on, or the text is not what is said, the model loses its place in
the text and omits or garbles words. The NLL tells both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, prompt_layout


@torch.inference_mode()
def prompt_nll(llm: Llama, special: SpecialIds, text: Sequence[int], speech: Sequence[int]) -> float:
    """Mean −log p, in nats, of the speech tokens (0 … special.speech_tokens − 1), each given the text's ids and the
    tokens before it: the model's training loss. `text` and `speech` have at least one id each."""
    ids = prompt_layout(text, (), speech, special)
    device = llm.model.embed_tokens.weight.device
    ids_n = torch.tensor(ids, device=device)
    logits_nv = llm(ids_n[None]).logits[0, len(text) : -1]
    return float(F.cross_entropy(logits_nv.float(), ids_n[len(text) + 1 :]))
