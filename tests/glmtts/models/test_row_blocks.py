"""Layers that are computed in blocks of rows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.models.row_blocks import BLOCK_ROWS, ROW_BUCKET, Linear, gelu, linear

ROWS = (1, ROW_BUCKET - 1, ROW_BUCKET, ROW_BUCKET + 1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS + 5)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_the_numbers_are_those_of_the_plain_layer(rows: int, dtype: torch.dtype, bias: bool) -> None:
    """Bit by bit, for any number of rows in any number of dimensions."""
    layer = Linear(64, 48, bias=bias).to(dtype)
    x_rni = torch.randn(rows, 2, 64, dtype=dtype)
    assert torch.equal(layer(x_rni), F.linear(x_rni, layer.weight, layer.bias))


@pytest.mark.parametrize("rows", ROWS)
def test_gelu_is_the_plain_one(rows: int) -> None:
    """Bit by bit."""
    x_rni = torch.randn(rows, 3, 40)
    assert torch.equal(gelu(x_rni), F.gelu(x_rni))


def test_bfloat16_comes_in_few_numbers_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand numbers of rows are no more than two dozen and a few."""
    seen: set[int] = set()
    plain = F.linear

    def recorded(x_ri: Tensor, *parameters: Tensor | None) -> Tensor:
        seen.add(len(x_ri))
        return plain(x_ri, *parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "linear", recorded)
    weight_oi = torch.ones(3, 2, dtype=torch.bfloat16)
    for rows in range(1, 1000):
        assert linear(torch.ones(rows, 2, dtype=torch.bfloat16), weight_oi).shape == (rows, 3)
    assert len(seen) == ROW_BUCKET + BLOCK_ROWS // ROW_BUCKET - 1
