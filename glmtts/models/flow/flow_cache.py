"""What the flow remembers of frames at every solver step, so that later frames can follow them: a voice's prompt, or
the last of what was said in a stream.

Knows nothing about whose frames they are nor how long they are kept.
Dimension names: p frames of the past, h heads, d channels, s sides: with the condition and, guided, without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.models.flow.dit_cache import Past, Trace
from glmtts.models.flow.dit_inputs import HALO
from glmtts.models.flow.flow import Flow


@dataclass(frozen=True, eq=False)
class Memory:
    """For each solver step: keys and values (steps, layers, s, h, p, d) of p frames, and the hidden states
    (steps, s, n, d) of the last n ≤ HALO of them. A step's are written while it is taken."""

    keys: Tensor
    values: Tensor
    halo: Tensor

    @staticmethod
    def like(trace: Trace, steps: int, kept: range) -> Memory:
        """Room for some of the frames that leave such a trace."""
        layers, rows, heads, _, dim = trace.keys.shape
        shape = (steps, layers, rows, heads, len(kept), dim)
        halo = trace.hidden_btd.new_empty(steps, rows, min(kept.stop, HALO), trace.hidden_btd.shape[-1])
        return Memory(trace.keys.new_empty(shape), trace.keys.new_empty(shape), halo)

    @property
    def frames(self) -> int:
        return self.keys.shape[4]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes + self.halo.nbytes

    def write(self, step: int, trace: Trace, kept: range) -> None:
        """Keeps a step's trace (of all sides), of some frames."""
        self.keys[step] = trace.keys[..., kept.start : kept.stop, :]
        self.values[step] = trace.values[..., kept.start : kept.stop, :]
        self.halo[step] = trace.hidden_btd[:, kept.stop - self.halo.shape[2] : kept.stop]

    def then(self, later: Memory, most: int) -> Memory:
        """The last `most` frames of both; the halo is that of all."""
        mine = max(0, min(self.frames, most - later.frames))
        theirs = min(later.frames, most)
        keys, values = (
            torch.cat([old[..., old.shape[4] - mine :, :], new[..., new.shape[4] - theirs :, :]], dim=4)
            for old, new in ((self.keys, later.keys), (self.values, later.values))
        )
        halo = torch.cat([self.halo, later.halo], dim=2)[:, :, -HALO:]
        return Memory(keys, values, halo.contiguous())


@dataclass(frozen=True, eq=False)
class Before:
    """What a row follows: a voice's prompt, then the last of what was said; `frames` counts what was dropped, too."""

    voice: Memory | None = None
    said: Memory | None = None
    frames: int = 0

    @property
    def memories(self) -> tuple[Memory, ...]:
        return tuple(memory for memory in (self.voice, self.said) if memory is not None)

    def followed_by(self, later: Memory, frames: int, most: int) -> Before:
        """After `frames` more were said, which `later` remembers; the voice and the last `most` of these are kept."""
        if self.said is not None:
            said = self.said.then(later, most)
        else:
            halo = self.voice.halo if self.voice is not None else later.halo[:, :, :0]
            said = Memory(later.keys[..., :0, :], later.values[..., :0, :], halo).then(later, most)
        return Before(self.voice, said, self.frames + frames)


NOTHING = Before()


def past_of(rows: Sequence[tuple[Before, int]], device: torch.device) -> Past | None:
    """The past of a batch of b rows, all sides; of each what it follows and its solver step. None if there is none."""
    some = next((before.memories[0] for before, _ in rows if before.memories), None)
    if some is None:
        return None
    sides = some.halo.shape[1]
    first_b = torch.tensor([before.frames for before, _ in rows] * sides, device=device)
    if len(rows) == 1:
        (before, step), *_ = rows
        halo = before.memories[-1].halo[step]
        there = torch.ones(halo.shape[:2], dtype=torch.bool, device=device)
        parts = [(memory.keys[step], memory.values[step]) for memory in before.memories]
        return Past(parts, (halo, there), None, first_b)
    frames = [sum(memory.frames for memory in before.memories) for before, _ in rows]
    longest = max(frames)
    keys = _batch([[memory.keys[step] for memory in before.memories] for before, step in rows], some.keys[0], longest)
    values = _batch([[m.values[step] for m in before.memories] for before, step in rows], some.values[0], longest)
    halos = [before.memories[-1].halo[step] if before.memories else some.halo[0][:, :0] for before, step in rows]
    halo_bnd = torch.stack([F.pad(halo, (0, 0, HALO - halo.shape[1], 0)) for halo in halos], dim=1).flatten(0, 1)
    counts = torch.tensor([halo.shape[1] for halo in halos] * sides, device=device)
    valid_bp = torch.arange(longest, device=device) >= longest - torch.tensor(frames * sides, device=device)[:, None]
    there_bn = torch.arange(HALO, device=device) >= HALO - counts[:, None]
    return Past([(keys, values)], (halo_bnd, there_bn), valid_bp, first_b)


def _batch(rows: Sequence[Sequence[Tensor]], like: Tensor, longest: int) -> Tensor:
    """Parts (layers, s, h, p, d) of each row side by side, padded in front: (layers, s·b, h, longest, d)."""
    joined = [torch.cat([like[..., :0, :], *parts], dim=3) for parts in rows]
    return torch.stack([F.pad(x, (0, 0, longest - x.shape[3], 0)) for x in joined], dim=2).flatten(1, 2)


def frame_bytes(flow: Flow) -> int:
    """Memory that one frame takes, but for the halo."""
    dit, steps = flow.config.dit, flow.config.n_timesteps
    key = flow.estimator.transformer_blocks.get_parameter("0.attn.to_k.weight")
    return steps * dit.depth * flow.sides * 2 * dit.heads * dit.dim_head * key.dtype.itemsize
