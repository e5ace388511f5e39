"""Drawing speech tokens for a batch of rows: prefill, step, and the rules by which a row ends.

All state is tensors on the device and a step waits for nothing, so the host may run ahead of it. Knows nothing about
requests, queues or clocks: a caller says which slot takes which row, and reads what each step drew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.llm.cuda_graphs import CudaGraphCache, bucket_size
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import LengthBounds, SpecialIds
from glmtts.models.llm.sampling import NO_TOKEN, ras_sample
from glmtts.models.rng import stream_keys, uniforms

KV_ALIGNMENT = 16
"""Attention looks at a multiple of this many positions: fewer shapes, and rows of a mask that stay aligned."""

MIN_GRAPH_LENGTH = 256
"""Where steps are recorded, it looks at this many, or twice, four times … as many: each shape is a recording."""

IDLE, NAN_LOGITS = -1, -2
"""What a step gives instead of a token: for a slot that draws nothing, and for a row whose scores are not numbers."""


@dataclass(frozen=True)
class DecodeRequest:
    """One segment to speak: its input ids (`prompt_layout`), bounds, and what its randomness is a function of.

    `seed` and `segment` are integers in [0, 2^63).
    """

    ids: tuple[int, ...]
    bounds: LengthBounds
    seed: int
    segment: int = 0


@dataclass(frozen=True)
class _State:
    """Where each slot stands: int64 (slots,), but for recent (slots, window) and idle, bool."""

    next_ids: Tensor
    positions: Tensor
    drawn: Tensor
    minimum: Tensor
    maximum: Tensor
    keys: Tensor
    recent: Tensor
    idle: Tensor

    def of(self, rows: slice) -> _State:
        """The same memory, of some slots only."""
        return _State(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Decoder:
    """Draws for all slots of `cache` at once. Create it after the weights are loaded, moved and fused.

    A step returns one token for each slot: 0 … `end` − 1 is speech, `end` says that the model has finished; or else
    IDLE or NAN_LOGITS. A row that reaches its maximum becomes idle without `end`: that is finish reason `length`.

    `fixed_shape`: every step has all slots and all positions in it, so that what a row gets cannot depend on how many
    others there are or how far they have come. It costs the more, the emptier the cache is.
    """

    def __init__(
        self,
        llama: Llama,
        special: SpecialIds,
        generation: GenerationConfig,
        cache: KVCache,
        *,
        fixed_shape: bool = False,
    ) -> None:
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
        self._scratch_position = cache.length - 1
        self._state = _State(
            next_ids=integers(special.pad),
            positions=integers(self._scratch_position),
            drawn=integers(0),
            minimum=integers(0),
            maximum=integers(0),
            keys=integers(0),
            recent=integers(NO_TOKEN)[:, None].repeat(1, generation.win_size),
            idle=torch.ones(slots, dtype=torch.bool, device=device),
        )
        self._fixed_shape = fixed_shape
        self._cuda_graphs = CudaGraphCache(device)
        # On the host: an upper bound of the position of each slot that is in use, so that nobody has to ask the device.
        self._max_position: dict[int, int] = {}

    @torch.inference_mode()
    def add(self, slot: int, row: DecodeRequest, *, chunk: int = 512) -> None:
        """Cleans `slot`, prefills `row` into it in chunks of at most `chunk` ids, and makes it part of every step."""
        self.reserve(slot, row)
        for start in range(0, len(row.ids) - 1, chunk):
            self.prefill(slot, row, start, chunk)
        self.activate(slot, row)

    def reserve(self, slot: int, row: DecodeRequest) -> None:
        """First part of `add`, for a caller that prefills between the steps of other rows."""
        need = len(row.ids) + row.bounds.maximum
        assert need <= self.cache.length, f"a row of {need} positions does not fit a slot of {self.cache.length}"
        self.release(slot)
        self.cache.reset_slot(slot)

    @torch.inference_mode()
    def prefill(self, slot: int, row: DecodeRequest, start: int, chunk: int) -> None:
        """Feeds ids [start, start + chunk) of the row; the last id of all is left for the first step to feed."""
        ids = row.ids[start : min(start + chunk, len(row.ids) - 1)]
        device = self._state.positions.device
        ids_bn = torch.tensor([ids], dtype=torch.int64, device=device)
        positions = torch.full((1,), start, dtype=torch.int64, device=device)
        length = self._padded_length(start + len(ids))
        self.llama.forward_cached(ids_bn, positions, self.cache, length=length, rows=slice(slot, slot + 1))

    @torch.inference_mode()
    def activate(self, slot: int, row: DecodeRequest) -> None:
        """Last part of `add`: from the next step on, the slot draws."""
        state = self._state
        state.next_ids[slot] = row.ids[-1]
        state.positions[slot] = self._max_position[slot] = len(row.ids) - 1
        state.drawn[slot] = 0
        state.minimum[slot], state.maximum[slot] = row.bounds.minimum, row.bounds.maximum
        state.keys[slot] = stream_keys(torch.tensor([row.seed]), torch.tensor([row.segment]))[0]
        state.recent[slot] = NO_TOKEN
        state.idle[slot] = False

    @torch.inference_mode()
    def release(self, slot: int) -> None:
        """Makes the slot idle, whether its row had ended or not."""
        state = self._state
        state.idle[slot] = True
        state.next_ids[slot], state.positions[slot] = self.special.pad, self._scratch_position
        self._max_position.pop(slot, None)

    @torch.inference_mode()
    def logits(self, rows: slice | None = None) -> Tensor:
        """Feeds each slot's next id; float32 (slots, end + 1) scores of the speech tokens and, last, the end.

        Feeding the same ids to the same positions again changes nothing, so this may be called before `step`.
        """
        rows = self._rows(rows)
        return self._scores(rows, self._attended_length(rows))

    def _attended_length(self, rows: slice) -> int:
        return self._padded_length(
            1 + max((at for slot, at in self._max_position.items() if slot < rows.stop), default=0)
        )

    def _scores(self, rows: slice, length: int) -> Tensor:
        state = self._state.of(rows)
        hidden = self.llama.forward_cached(
            state.next_ids[:, None], state.positions, self.cache, length=length, rows=rows
        )[:, 0]
        scores = torch.cat([F.linear(hidden, self._speech_head), F.linear(hidden, self._end_head)], dim=1).float()
        scores[:, -1].masked_fill_(state.drawn < state.minimum, float("-inf"))
        return scores

    @torch.inference_mode()
    def step(self, rows: slice | None = None) -> Tensor:
        """Draws one token for each slot of `rows`, by default all: int64 (slots,), see the class. No device sync.

        The others' state stays as it is; and all of it does when this raises, so it may be tried again.
        """
        rows = self._rows(rows)
        length = self._attended_length(rows)
        drawn = self._cuda_graphs((rows.start, rows.stop, length), lambda: self._draw(rows, length))
        for slot in self._max_position.keys() & set(range(self.cache.slots)[rows]):
            self._max_position[slot] = min(self._max_position[slot] + 1, self._scratch_position)
        return drawn

    def _draw(self, rows: slice, length: int) -> Tensor:
        state = self._state.of(rows)
        scores = self._scores(rows, length)
        tokens = ras_sample(scores, state.recent, uniforms(state.keys, state.drawn), self.generation)
        sane = scores[:, 0].isfinite()  # one NaN in a hidden state is a NaN in every score
        drawn = torch.where(sane, tokens, NAN_LOGITS).masked_fill_(state.idle, IDLE)
        speaks = sane & ~state.idle & (tokens != self.end)
        state.recent.copy_(torch.cat([state.recent[:, 1:], tokens[:, None]], dim=1))
        state.next_ids.copy_(tokens.clamp(max=self.end - 1) + self.special.ats)
        state.drawn.add_(speaks)
        state.idle.copy_(~speaks | (state.drawn >= state.maximum))
        # A row that has ended stays where it is: it must not walk out of its slot while the host has not noticed.
        state.positions.add_(~state.idle)
        return drawn

    @property
    def uses_cuda_graphs(self) -> bool:
        """Whether steps are recorded, each shape of them on its own."""
        return self._cuda_graphs.enabled

    def _rows(self, rows: slice | None) -> slice:
        return rows if rows is not None else slice(0, self.cache.slots)

    def _padded_length(self, length: int) -> int:
        if self._fixed_shape:
            return self.cache.length
        if self.uses_cuda_graphs:
            return bucket_size(length, MIN_GRAPH_LENGTH, self.cache.length)
        return min(-(-length // KV_ALIGNMENT) * KV_ALIGNMENT, self.cache.length)


def generate_tokens(decoder: Decoder, row: DecodeRequest, slot: int = 0) -> Iterator[int]:
    """Draws one row alone and yields its speech tokens, one device sync each; other slots should be idle."""
    decoder.add(slot, row)
    try:
        for _ in range(row.bounds.maximum):
            token = int(decoder.step()[slot])
            if token == decoder.end:
                return
            yield token
    finally:
        decoder.release(slot)
