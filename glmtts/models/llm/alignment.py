"""Which text id each speech token speaks, from heads of the AR model whose attention follows the text.

A checkpoint names such heads (`GenerationConfig.alignment_heads`), as Whisper's do for its time stamps. Nano's were
taught to follow the text in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds, prompt_layout

MIN_WEIGHT = 1e-4
"""Least attention that counts: one stray token must not forbid a path."""
LOST_WEIGHT, LOST_TOKENS = 0.1, 5
"""So many tokens in a row with less attention on the path mean that the model says something again, or something that
is not in the text. In 19 of 20 sentences of nano no two in a row had; in the other, which repeats its end, 22."""


class Alignment(NamedTuple):
    """`path`: for each speech token the text id that it speaks, by its index; they never decrease.

    `certain`: that holds for the text ids before this one.
    """

    path: list[int]
    certain: int


@torch.inference_mode()
def align(
    llm: Llama, special: SpecialIds, heads: Sequence[tuple[int, int]], text: Sequence[int], speech: Sequence[int]
) -> Alignment:
    """Which text id each speech token (0 … special.speech_tokens − 1) speaks; there is at least one of both.

    `heads`: (layer, head) pairs, at least one. A pass over the segment without its prompts.
    """
    start = prompt_layout((), text, (), special)
    ids_n = torch.tensor(
        [*start, *(token + special.ats for token in speech)], device=llm.model.embed_tokens.weight.device
    )
    attention = llm(ids_n[None], attention_of={layer for layer, _ in heads}).attention
    # A token is predicted one position before its own.
    rows = slice(len(start) - 1, len(ids_n) - 1)
    weights_nt = torch.stack([attention[layer][0, head, rows, : len(text)] for layer, head in heads]).mean(0)
    return follow(weights_nt.cpu().numpy())


def follow(weights_nt: NDArray[np.float32]) -> Alignment:
    """The best path, and up to where the attention follows it; what is attended to off the path is not certain."""
    path = monotonic_path(weights_nt)
    lost = weights_nt[np.arange(len(path)), path] < LOST_WEIGHT
    in_a_row = np.convolve(lost, np.ones(LOST_TOKENS, np.int64), "valid") == LOST_TOKENS
    runs = [weights_nt[at : at + LOST_TOKENS].argmax(1).min() for at in np.flatnonzero(in_a_row)]
    return Alignment(path, int(min(runs, default=weights_nt.shape[1])))


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
