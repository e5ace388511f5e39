"""The flow for rows that come and go: each stands at a solver step of its own, and a step takes any of them along.

What is for the AR model a row at its own position is here a row at its own time. So a block that is urgent need not
wait until another one is finished, nor a batch until its members are equally far. A row may follow frames that were
made before, and be remembered itself. Knows nothing about blocks' order.
Dimension names: b batch, t time in mel frames, m mel bins, d channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.models.flow.dit_cache import Trace
from glmtts.models.flow.flow import Conditions, Flow
from glmtts.models.flow.flow_cache import NOTHING, Before, Memory, past_of


@dataclass(eq=False)
class FlowRow:
    """One row on its way from noise to mel: x (t, m), and its `conditions`, those of a batch of one.

    before: what it follows. keep: which of its frames are to be remembered, in `memory`. Equal to itself alone.
    """

    x_tm: Tensor
    conditions: Conditions
    before: Before = NOTHING
    keep: range = range(0)
    step: int = 0
    memory: Memory | None = None

    @property
    def frames(self) -> int:
        return self.x_tm.shape[0]


class FlowRows:
    """Steps of one flow. A row that follows nothing gets what `Flow.solve` gives it, to the last bits."""

    def __init__(self, flow: Flow, device: torch.device | str) -> None:
        self._flow = flow
        self._times = flow.times(device=device)
        self.steps = len(self._times) - 1

    @torch.inference_mode()
    def begin(
        self,
        tokens_t: Tensor,
        cond_tm: Tensor,
        spk_d: Tensor,
        noise_tm: Tensor,
        *,
        before: Before = NOTHING,
        places_t: Tensor | None = None,
        keep: range = range(0),
    ) -> FlowRow:
        """A new row: a token a frame, the prompt's mel and zeros after it, a raw speaker vector, noise.

        A row that follows others has their frames' tokens in front of its own, and `places_t`: see `Flow.conditions`.
        """
        conditions = self._flow.conditions(tokens_t[None], cond_tm[None], spk_d[None], places_t=places_t)
        return FlowRow(noise_tm, conditions, before, keep)

    @torch.inference_mode()
    def advance(self, rows: Sequence[FlowRow]) -> None:
        """One solver step for each row that is not done; when it raises, no row has moved."""
        if moving := [row for row in rows if not self.done(row)]:
            self._advance(moving)

    def _advance(self, rows: Sequence[FlowRow]) -> None:
        frames = [row.frames for row in rows]
        longest, device = max(frames), self._times.device
        step_b = torch.tensor([row.step for row in rows], device=device)
        now_b, then_b = self._times[step_b], self._times[step_b + 1]
        valid_bt = None
        if min(frames) < longest:
            valid_bt = torch.arange(longest, device=device) < torch.tensor(frames, device=device)[:, None]
        x_btm = torch.stack([F.pad(row.x_tm, (0, 0, 0, longest - row.frames)) for row in rows])
        conditions = _joined(rows, longest)
        if any(len(row.keep) or row.before.memories for row in rows):
            past = past_of([(row.before, row.step) for row in rows], device)
            velocity_btm, trace = self._flow.following(x_btm, conditions, now_b, past, valid_bt=valid_bt)
            for index, row in enumerate(rows):
                self._remember(row, _of(trace, index, len(rows)))
        else:
            velocity_btm = self._flow.velocity(x_btm, conditions, now_b, valid_bt=valid_bt)
        moved_btm = x_btm + (then_b - now_b)[:, None, None] * velocity_btm
        for row, x_tm in zip(rows, moved_btm, strict=True):
            row.x_tm = x_tm[: row.frames]
            row.step += 1

    def done(self, row: FlowRow) -> bool:
        """Whether its x is the mel."""
        return row.step == self.steps

    def _remember(self, row: FlowRow, trace: Trace) -> None:
        if len(row.keep):
            row.memory = row.memory or Memory.like(trace, self.steps, row.keep)
            row.memory.write(row.step, trace, row.keep)


def _of(trace: Trace, index: int, rows: int) -> Trace:
    """One row's trace, of all sides."""
    sides = slice(index, None, rows)
    return Trace(trace.keys[:, sides], trace.values[:, sides], trace.hidden_btd[sides])


def _joined(rows: Sequence[FlowRow], longest: int) -> Conditions:
    """The conditions of one padded batch."""
    if len(rows) == 1:
        return rows[0].conditions
    parts = []
    for which in zip(*(row.conditions for row in rows), strict=True):
        padded = [part if part.ndim == 2 else F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in which]
        # (2, b, …): all that are guided, then all that are not.
        parts.append(torch.stack(padded, dim=1).flatten(0, 1))
    return Conditions(*parts)
