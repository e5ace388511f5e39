"""Drawing speech tokens for a batch of rows: prefill, step, and the rules by which a row ends.

All state is tensors on the device and a step waits for nothing, so the host may run ahead of it. Knows nothing about
requests, queues or clocks: a caller says which slot takes which row, and reads what each step drew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.counter import stream_keys, uniforms
from glmtts.models.kv_cache import KVCache
from glmtts.models.llama import Llama
from glmtts.models.prompt import LengthBounds, SpecialIds
from glmtts.models.sampling import NO_TOKEN, ras_sample

READ_STEP = 16
"""Attention looks at a multiple of this many positions: fewer shapes, and rows of a mask that stay aligned."""


@dataclass(frozen=True)
class Row:
    """One segment to speak: its input ids (`prompt_layout`), bounds, and what its randomness is a function of.

    `seed` and `segment` are integers in [0, 2^63).
    """

    ids: tuple[int, ...]
    bounds: LengthBounds
    seed: int
    segment: int = 0


class Decoder:
    """Draws for all slots of `cache` at once. Create it after the weights are loaded, moved and fused.

    A step returns one token for each slot: 0 … `end` − 1 is speech, `end` says that the model has finished, −1 that
    the slot is idle. A row that reaches its maximum becomes idle without `end`: that is finish reason `length`.
    """

    def __init__(self, llama: Llama, special: SpecialIds, generation: GenerationConfig, cache: KVCache) -> None:
        vocabulary = llama.lm_head.weight.shape[0]
        if special.largest >= vocabulary:
            raise CheckpointError(f"special ids reach {special.largest}, but the model knows {vocabulary} ids only")
        self.llama, self.special, self.generation, self.cache = llama, special, generation, cache
        self.end = special.speech_tokens
        # Only these rows of the head can be drawn, so only they are computed. Views: no memory.
        self._speech_head = llama.lm_head.weight[special.ats : special.ate + 1]
        self._end_head = llama.lm_head.weight[special.eoa : special.eoa + 1]
        device, slots = cache.kv.device, cache.slots

        def integers(value: int) -> Tensor:
            return torch.full((slots,), value, dtype=torch.int64, device=device)

        # An idle slot feeds padding to its last position, which a row writes before it ever looks there: position 0
        # may hold a prompt whose prefill is under way.
        self._parked = cache.length - 1
        self._next_ids, self._positions, self._drawn = integers(special.pad), integers(self._parked), integers(0)
        self._minimum, self._maximum, self._keys = integers(0), integers(0), integers(0)
        self._recent = integers(NO_TOKEN)[:, None].repeat(1, generation.win_size)
        self._idle = torch.ones(slots, dtype=torch.bool, device=device)
        # On the host: an upper bound of the position of each slot that is in use, so that nobody has to ask the device.
        self._reach: dict[int, int] = {}

    @torch.inference_mode()
    def admit(self, slot: int, row: Row, *, chunk: int = 512) -> None:
        """Cleans `slot`, prefills `row` into it in chunks of at most `chunk` ids, and makes it part of every step."""
        self.prepare(slot, row)
        for start in range(0, len(row.ids) - 1, chunk):
            self.prefill(slot, row, start, chunk)
        self.begin(slot, row)

    def prepare(self, slot: int, row: Row) -> None:
        """First part of `admit`, for a caller that prefills between the steps of other rows."""
        need = len(row.ids) + row.bounds.maximum
        assert need <= self.cache.length, f"a row of {need} positions does not fit a slot of {self.cache.length}"
        self.release(slot)
        self.cache.claim(slot)

    @torch.inference_mode()
    def prefill(self, slot: int, row: Row, start: int, chunk: int) -> None:
        """Feeds ids [start, start + chunk) of the row; the last id of all is left for the first step to feed."""
        ids = row.ids[start : min(start + chunk, len(row.ids) - 1)]
        device = self._positions.device
        ids_bn = torch.tensor([ids], dtype=torch.int64, device=device)
        positions = torch.full((1,), start, dtype=torch.int64, device=device)
        length = self._readable(start + len(ids))
        self.llama.extend(ids_bn, positions, self.cache, length=length, rows=slice(slot, slot + 1))

    @torch.inference_mode()
    def begin(self, slot: int, row: Row) -> None:
        """Last part of `admit`: from the next step on, the slot draws."""
        self._next_ids[slot] = row.ids[-1]
        self._positions[slot] = self._reach[slot] = len(row.ids) - 1
        self._drawn[slot] = 0
        self._minimum[slot], self._maximum[slot] = row.bounds.minimum, row.bounds.maximum
        self._keys[slot] = stream_keys(torch.tensor([row.seed]), torch.tensor([row.segment]))[0]
        self._recent[slot] = NO_TOKEN
        self._idle[slot] = False

    @torch.inference_mode()
    def release(self, slot: int) -> None:
        """Makes the slot idle, whether its row had ended or not."""
        self._idle[slot] = True
        self._next_ids[slot], self._positions[slot] = self.special.pad, self._parked
        self._reach.pop(slot, None)

    @torch.inference_mode()
    def logits(self) -> Tensor:
        """Feeds every slot's next id; float32 (slots, end + 1) scores of the speech tokens and, last, the end.

        Feeding the same ids to the same positions again changes nothing, so this may be called before `step`.
        """
        length = self._readable(max(self._reach.values(), default=0) + 1)
        hidden = self.llama.extend(self._next_ids[:, None], self._positions, self.cache, length=length)[:, 0]
        scores = torch.cat([F.linear(hidden, self._speech_head), F.linear(hidden, self._end_head)], dim=1).float()
        scores[:, -1].masked_fill_(self._drawn < self._minimum, float("-inf"))
        return scores

    @torch.inference_mode()
    def step(self) -> Tensor:
        """Draws one token for every slot: int64 (slots,), see the class. No device sync."""
        numbers = uniforms(self._keys, self._drawn)
        tokens = ras_sample(self.logits(), self._recent, numbers, self.generation)
        drawn = torch.where(self._idle, -1, tokens)
        self._recent = torch.cat([self._recent[:, 1:], tokens[:, None]], dim=1)
        self._next_ids = tokens.clamp(max=self.end - 1) + self.special.ats
        speaks = ~self._idle & (tokens != self.end)
        self._drawn += speaks
        self._idle = ~speaks | (self._drawn >= self._maximum)
        # A row that has ended stays where it is: it must not walk out of its slot while the host has not noticed.
        self._positions += ~self._idle
        self._reach = {slot: min(reach + 1, self._parked) for slot, reach in self._reach.items()}
        return drawn

    def _readable(self, length: int) -> int:
        return min(-(-length // READ_STEP) * READ_STEP, self.cache.length)


def speak(decoder: Decoder, row: Row, slot: int = 0) -> Iterator[int]:
    """Draws one row alone and yields its speech tokens, one device sync each; other slots should be idle."""
    decoder.admit(slot, row)
    try:
        for _ in range(row.bounds.maximum):
            token = int(decoder.step()[slot])
            if token == decoder.end:
                return
            yield token
    finally:
        decoder.release(slot)
