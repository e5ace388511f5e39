"""Which text id each speech token speaks, from heads of the AR model whose attention follows the text.

A checkpoint names such heads (`GenerationConfig.alignment_heads`), as Whisper's do for its time stamps. Nano's were
taught to follow the text in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, prompt_layout

MIN_WEIGHT = 1e-4
"""Least attention that counts: one stray token must not forbid a path."""


@torch.inference_mode()
def align(
    llm: Llama, special: SpecialIds, heads: Sequence[tuple[int, int]], text: Sequence[int], speech: Sequence[int]
) -> list[int]:
    """For each speech token (0 … special.speech_tokens − 1) the text id that it speaks, by its index; at least one.

    Indices never decrease. `heads`: (layer, head) pairs, at least one. A pass over the segment without its prompts.
    """
    start = prompt_layout((), text, (), special)
    ids_n = torch.tensor(
        [*start, *(token + special.ats for token in speech)], device=llm.model.embed_tokens.weight.device
    )
    attention = llm(ids_n[None], attention_of={layer for layer, _ in heads}).attention
    # A token is predicted one position before its own.
    rows = slice(len(start) - 1, len(ids_n) - 1)
    weights_nt = torch.stack([attention[layer][0, head, rows, : len(text)] for layer, head in heads]).mean(0)
    return monotonic_path(weights_nt.cpu().numpy())


def monotonic_path(weights_nt: NDArray[np.float32]) -> list[int]:
    """The column of each row such that columns never decrease and the product of the weights is the largest.

    Viterbi; weights below MIN_WEIGHT count as that.
    """
    scores_nt = np.log(np.maximum(weights_nt, MIN_WEIGHT))
    best_t = scores_nt[0]
    before: list[NDArray[np.int64]] = []
    for scores_t in scores_nt[1:]:
        highest_t = np.maximum.accumulate(best_t)
        # Where the highest so far is: the last column at which a new one was set.
        before.append(np.maximum.accumulate(np.where(best_t == highest_t, np.arange(len(best_t)), 0)))
        best_t = highest_t + scores_t
    path = [int(best_t.argmax())]
    for columns in reversed(before):
        path.append(int(columns[path[-1]]))
    return path[::-1]
