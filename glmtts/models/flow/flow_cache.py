"""The flow's KV cache: keys and values of earlier frames at every solver step.

A chunk of a stream attends to its left context: the voice's prompt, then the last frames of speech before the chunk.
Dimension names: p cached frames, n the last of them, h heads, d channels, s the sides of classifier-free guidance: with
the condition and, if guided, without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glmtts.config import FlowConfig
from glmtts.models.flow.dit_cache import KV, PastKV, StepKV
from glmtts.models.flow.dit_inputs import HALO
from glmtts.models.flow.flow import guidance_sides


@dataclass(frozen=True, eq=False)
class FlowKVCache:
    """Keys and values (steps, layers, s, h, p, d) of p frames of one sequence, and the hidden states (steps, s, n, d)
    of the last n ≤ HALO of them. `write` fills it, one solver step at a time."""

    keys: Tensor
    values: Tensor
    hidden: Tensor

    @staticmethod
    def allocate(like: StepKV, steps: int, frames: range) -> FlowKVCache:
        """An empty cache for `frames` of a sequence whose first step computed `like`."""
        layers, sides, heads, _, dim = like.keys.shape
        shape = (steps, layers, sides, heads, len(frames), dim)
        hidden = like.hidden_btd.new_empty(steps, sides, min(frames.stop, HALO), like.hidden_btd.shape[-1])
        return FlowKVCache(like.keys.new_empty(shape), like.keys.new_empty(shape), hidden)

    @property
    def frames(self) -> int:
        return self.keys.shape[4]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes + self.hidden.nbytes

    def write(self, step: int, kv: StepKV, frames: range) -> None:
        """Stores `frames` of what a step computed for the sequence."""
        kept = kv.frames(frames.start, frames.stop)
        self.keys[step], self.values[step] = kept.keys, kept.values
        self.hidden[step] = kv.hidden_btd[:, frames.stop - self.hidden.shape[2] : frames.stop]

    def at(self, step: int) -> StepKV:
        """What a step computed; views."""
        return StepKV(self.keys[step], self.values[step], self.hidden[step])

    def last(self, frames: int) -> FlowKVCache:
        """The last `frames` frames at most; views. The hidden states stay as they are."""
        start = max(0, self.frames - frames)
        return FlowKVCache(self.keys[..., start:, :], self.values[..., start:, :], self.hidden)

    def append(self, later: FlowKVCache, max_frames: int) -> FlowKVCache:
        """A cache of the last `max_frames` frames of this one and `later`. Its hidden states are the last of both."""
        new = later.last(max_frames)
        old = self.last(max_frames - new.frames)
        keys, values = torch.cat([old.keys, new.keys], dim=4), torch.cat([old.values, new.values], dim=4)
        return FlowKVCache(keys, values, torch.cat([self.hidden, later.hidden], dim=2)[:, :, -HALO:].contiguous())


@dataclass(frozen=True, eq=False)
class LeftContext:
    """What a sequence attends to: a voice's prompt, then the last frames of speech. `frames` counts all frames before
    the sequence, including those no longer cached."""

    voice: FlowKVCache | None = None
    speech: FlowKVCache | None = None
    frames: int = 0

    @property
    def caches(self) -> list[FlowKVCache]:
        """What is cached of the frames, in order."""
        return [cache for cache in (self.voice, self.speech) if cache is not None]

    @property
    def cached_frames(self) -> int:
        return sum(cache.frames for cache in self.caches)

    def extended(self, later: FlowKVCache, frames: int, max_frames: int) -> LeftContext:
        """The context after `frames` more frames, cached in `later`; keeps the last `max_frames` frames of speech."""
        speech = later.last(max_frames) if self.speech is None else self.speech.append(later, max_frames)
        return LeftContext(self.voice, speech, self.frames + frames)


NO_CONTEXT = LeftContext()


def batch_past(contexts: Sequence[LeftContext], steps: Sequence[int], device: torch.device) -> PastKV | None:
    """The past of a batch: the context of each sequence at its own solver step, for all sides of guidance.

    None if no sequence has a context.
    """
    caches = [cache for context in contexts for cache in context.caches]
    if not caches:
        return None
    empty = caches[0].at(0).frames(0, 0)
    voice = [empty if c.voice is None else c.voice.at(step) for c, step in zip(contexts, steps, strict=True)]
    speech = [empty if c.speech is None else c.speech.at(step) for c, step in zip(contexts, steps, strict=True)]
    hidden = [torch.cat([v.hidden_btd, s.hidden_btd], 1)[:, -HALO:] for v, s in zip(voice, speech, strict=True)]
    segments = [KV(_batch([kv.keys for kv in kvs], 1), _batch([kv.values for kv in kvs], 1)) for kvs in (voice, speech)]
    hidden_bnd = _batch(hidden, 0)

    lengths = [[kv.keys.shape[3] for kv in kvs] for kvs in (voice, speech)]
    counts = [[context.frames for context in contexts], *lengths, [x.shape[1] for x in hidden]]
    offset_b, *lengths_b, hidden_b = torch.tensor(counts, device=device).repeat(1, len(empty.hidden_btd))
    valid_bp = None
    if any(min(frames) < max(frames) for frames in lengths):
        valid = [_valid(count_b, max(frames)) for count_b, frames in zip(lengths_b, lengths, strict=True)]
        valid_bp = torch.cat(valid, dim=1)
    return PastKV(segments, valid_bp, hidden_bnd, _valid(hidden_b, hidden_bnd.shape[1]), offset_b)


def _batch(sequences: Sequence[Tensor], dim: int) -> Tensor:
    """One batch (s · b) at `dim`, which is s in each sequence; frames (dimension −2) are padded in front."""
    if len(sequences) == 1:
        return sequences[0]  # no copy: with one sequence, a step mostly moves these bytes
    longest = max(x.shape[-2] for x in sequences)
    padded = [F.pad(x, (0, 0, longest - x.shape[-2], 0)) for x in sequences]
    return torch.stack(padded, dim=dim + 1).flatten(dim, dim + 1)


def _valid(frames_b: Tensor, longest: int) -> Tensor:
    """Bool (b, longest): the last `frames_b` of each row."""
    return torch.arange(longest, device=frames_b.device) >= longest - frames_b[:, None]


def cache_bytes(config: FlowConfig, frames: int, dtype: torch.dtype) -> int:
    """Bytes of a cache of `frames` frames with keys and values in `dtype`; hidden states are float32."""
    dit, sides = config.dit, guidance_sides(config)
    keys = dit.depth * frames * dit.heads * dit.dim_head
    hidden = min(frames, HALO) * dit.trans_dim
    return config.n_timesteps * sides * (2 * keys * dtype.itemsize + hidden * torch.float32.itemsize)
