"""HiFT's periodic activation. Dimension names: b batch, c channels, t time."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Snake(nn.Module):
    """x + sin²(αx) / α, with one α per channel (Ziyin et al. 2020, arXiv:2006.08195)."""

    inverse_c1: Tensor | None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))
        self.register_buffer("inverse_c1", None, persistent=False)

    def fold(self) -> None:
        """Computes 1 / α once: two launches fewer of each call. α is then fixed."""
        self.inverse_c1 = self._inverse().detach()

    def forward(self, x_bct: Tensor) -> Tensor:
        inverse_c1 = self._inverse() if self.inverse_c1 is None else self.inverse_c1
        return torch.addcmul(x_bct, torch.sin(x_bct * self.alpha[:, None]).square(), inverse_c1)

    def _inverse(self) -> Tensor:
        return 1.0 / (self.alpha[:, None] + 1e-9)
