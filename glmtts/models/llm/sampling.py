"""Repetition-aware sampling (RAS; VALL-E 2, Chen et al. 2024, arXiv:2406.05370) for a batch in one call.

The random numbers are arguments, so a row's sample does not depend on the other rows.
Dimension names: b batch, v vocabulary, k candidates, w window.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glmtts.config import GenerationConfig

NO_TOKEN = -1
"""Fills the window of recent ids where nothing has been sampled yet."""


def ras_sample(logits_bv: Tensor, recent_bw: Tensor, uniforms_b2: Tensor, config: GenerationConfig) -> Tensor:
    """Samples one id for each row. No device sync, no loop over rows or candidates.

    The nucleus is the most likely ids, as long as those before sum to less than `top_p` (the id that crosses it is
    included) and there are at most `top_k`. If the sampled id occurs at least win_size × tau_r times in `recent_bw`,
    the row is sampled again, from its full softmax. `top_k` = 1 is greedy decoding: the best id, repeated or not.

    Args:
        logits_bv: (b, v); −inf for an id that must not be sampled. At least one is finite.
        recent_bw: the last `config.win_size` ids of each row in any order, NO_TOKEN if there are fewer.
        uniforms_b2: (b, 2) in [0, 1), for the nucleus and for the second sample.
    Returns: int64 (b,).
    """
    if config.top_k == 1:
        return logits_bv.argmax(dim=-1)
    probs_bv = (logits_bv.float() / config.temperature).softmax(dim=-1)
    best_bk, ids_bk = probs_bv.topk(min(config.top_k, probs_bv.shape[1]), dim=-1)
    before_bk = best_bk.cumsum(dim=-1) - best_bk
    sampled_b = ids_bk.gather(1, _inverse_cdf(best_bk * (before_bk < config.top_p), uniforms_b2[:, :1]))
    # An integer bound: compared with a count, a float one would be rounded to float32 first.
    repeated_b = (recent_bw == sampled_b).sum(dim=-1, keepdim=True) >= math.ceil(config.win_size * config.tau_r)
    resampled_b = _inverse_cdf(probs_bv, uniforms_b2[:, 1:])
    chosen_b = torch.where(repeated_b, resampled_b, sampled_b)
    # Trap: prefix sums on a GPU need not ascend, so the search may end at an id of weight 0, which must not be sampled.
    possible_b = probs_bv.gather(1, chosen_b) > 0
    return torch.where(possible_b, chosen_b, ids_bk[:, :1]).squeeze(1)


def _inverse_cdf(weights_bk: Tensor, uniform_b1: Tensor) -> Tensor:
    """int64 (b, 1): index i has the probability weights[i] / sum(weights)."""
    cdf_bk = weights_bk.cumsum(dim=-1)
    index_b1 = torch.searchsorted(cdf_bk, uniform_b1 * cdf_bk[:, -1:], right=True)
    return index_b1.clamp_(max=weights_bk.shape[1] - 1)
