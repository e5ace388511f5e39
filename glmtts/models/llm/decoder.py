"""Autoregressive decoding of a batch: prefill, decode steps, and when a row ends.

All state is tensors on the device and a step never synchronises, so the host may run ahead. The caller decides which
slot decodes which request, and reads each step's tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.graphs import CudaGraphRecorder, Outputs, RecordedSteps, bucket_size, buckets, host_integers
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import LengthBounds, SpecialIds
from glmtts.models.llm.recorded_prefill import PrefillShape, RecordedPrefill
from glmtts.models.llm.sampling import NO_TOKEN, ras_sample
from glmtts.models.rng import stream_keys, uniforms

KV_ALIGNMENT = 16
"""Attention reads a multiple of this many positions: fewer shapes, and aligned rows of the mask."""

MIN_GRAPH_LENGTH = 256
"""With recorded steps, attention reads this many positions, or twice, four times … as many."""

MIN_GRAPH_IDS, PREFILL_CHUNK = 32, 128
"""A recorded step feeds the first of these many ids of a prompt, or twice, four times … as many; the second at most,
unless a caller feeds more at once."""

IDLE, NAN_LOGITS = -1, -2
"""What a step returns instead of a token: for a slot that does not decode, and for a row whose logits are NaN."""


@dataclass(frozen=True)
class DecodeRequest:
    """One segment to decode: its input ids (see `prompt_layout`), its length bounds, and the key of its randomness.

    `seed` and `segment` are integers in [0, 2^63); `attempt` counts how often the segment has been drawn before.
    """

    ids: tuple[int, ...]
    bounds: LengthBounds
    seed: int
    segment: int = 0
    attempt: int = 0


@dataclass(frozen=True)
class _State:
    """The state of each slot: int64 (slots,); recent (slots, window); idle, bool (slots,)."""

    next_ids: Tensor
    positions: Tensor
    generated: Tensor
    minimum: Tensor
    maximum: Tensor
    keys: Tensor
    recent: Tensor
    idle: Tensor

    def of(self, rows: slice) -> _State:
        """Views of some slots."""
        return _State(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Decoder:
    """Decodes in all slots of `cache`. Create it after the weights are loaded, moved and fused.

    A step returns one token per slot: 0 … `end` − 1 is speech, `end` means the model has finished; otherwise IDLE or
    NAN_LOGITS. A row that reaches its maximum becomes idle without `end`: finish reason `length`.

    `fixed_shape`: each step computes all slots and all positions, so a row's result cannot depend on how many others
    there are or how far they have come. The emptier the cache, the more that costs.
    `steps`, `prefill_steps`: where `record` and `record_prefill` put recordings, of decode steps and of chunks of at
    most `prefill_chunk` ids of a prompt. By default a GPU records each decode step when its shape comes for the second
    time, and no prefill.
    """

    def __init__(
        self,
        llama: Llama,
        special: SpecialIds,
        generation: GenerationConfig,
        cache: KVCache,
        *,
        fixed_shape: bool = False,
        steps: RecordedSteps | None = None,
        prefill_steps: RecordedSteps | None = None,
        prefill_chunk: int = PREFILL_CHUNK,
    ) -> None:
        vocabulary = llama.lm_head.weight.shape[0]
        if special.largest >= vocabulary:
            raise CheckpointError(f"special ids: expected ids below {vocabulary}, got {special.largest}")
        self.llama, self.special, self.generation, self.cache = llama, special, generation, cache
        self.end = special.speech_tokens
        # Only these rows of the head can be sampled, so only they are computed. Views: no memory.
        self._speech_head = llama.lm_head.weight[special.ats : special.ate + 1]
        self._end_head = llama.lm_head.weight[special.eoa : special.eoa + 1]
        device, slots = cache.kv.device, cache.slots

        def integers(value: int) -> Tensor:
            return torch.full((slots,), value, dtype=torch.int64, device=device)

        # An idle slot feeds padding to its last position, which a row writes before it reads it. Position 0 would not
        # do: it may hold a prompt that is being prefilled.
        self._scratch_position = cache.length - 1
        self._state = _State(
            next_ids=integers(special.pad),
            positions=integers(self._scratch_position),
            generated=integers(0),
            minimum=integers(0),
            maximum=integers(0),
            keys=integers(0),
            recent=integers(NO_TOKEN)[:, None].repeat(1, generation.win_size),
            idle=torch.ones(slots, dtype=torch.bool, device=device),
        )
        self._fixed_shape = fixed_shape
        if steps is None:
            steps = RecordedSteps(CudaGraphRecorder(device) if device.type == "cuda" else None, on_repeat=True)
        self.steps = steps
        if prefill_steps is None:
            prefill_steps = RecordedSteps(None)
        shapes = self._prefill_shapes(prefill_chunk)
        self.recorded_prefill = RecordedPrefill(llama, cache, special.pad, shapes, prefill_steps)
        # On the host: an upper bound of the position of each slot in use, so that no step has to ask the device.
        self._max_position: dict[int, int] = {}

    def shapes(self) -> list[tuple[slice, int]]:
        """The rows and lengths of all steps that begin at slot 0, if rows are rounded up to powers of two."""
        slots = self.cache.slots
        rows = [slots] if self._fixed_shape else buckets(1, slots)
        return [(slice(0, count), length) for count in rows for length in self._graph_lengths()]

    def _prefill_shapes(self, chunk: int) -> list[PrefillShape]:
        """The shapes of chunks of prompts."""
        counts = buckets(min(MIN_GRAPH_IDS, chunk), chunk)
        return [PrefillShape(ids, length) for ids in counts for length in self._graph_lengths() if ids <= length]

    def _graph_lengths(self) -> list[int]:
        """How many positions recorded steps attend to."""
        length = self.cache.length
        return [length] if self._fixed_shape else buckets(min(MIN_GRAPH_LENGTH, length), length)

    @torch.inference_mode()
    def record(self, rows: slice, length: int) -> None:
        """Records the steps of a shape, while all slots are idle. Raises RuntimeError if that can't be done."""
        assert not self._max_position, "a slot is decoding"
        self.steps.record((rows.start, rows.stop, length), lambda: self._sample(rows, length))

    def record_prefill(self, shape: PrefillShape) -> None:
        """Records a chunk of a prompt, while all slots are idle. Raises RuntimeError if that can't be done."""
        assert not self._max_position, "a slot is decoding"
        self.recorded_prefill.record(shape)

    @torch.inference_mode()
    def add(self, slot: int, request: DecodeRequest, *, chunk: int = 512) -> None:
        """Resets `slot`, prefills the request in chunks of at most `chunk` ids, and includes the slot in each step."""
        self.reserve(slot, request)
        for start in range(0, len(request.ids) - 1, chunk):
            self.prefill(slot, request, start, chunk)
        self.activate(slot, request)

    def reserve(self, slot: int, request: DecodeRequest) -> None:
        """First part of `add`, for a caller that prefills between the steps of other rows."""
        needed = len(request.ids) + request.bounds.maximum
        assert needed <= self.cache.length, f"positions: expected at most {self.cache.length}, got {needed}"
        self.release(slot)
        self.cache.reset_slot(slot)

    @torch.inference_mode()
    def prefill(self, slot: int, request: DecodeRequest, start: int, chunk: int) -> None:
        """Feeds ids [start, start + chunk) of the request; the first step feeds the last id. No device sync."""
        ids = request.ids[start : min(start + chunk, len(request.ids) - 1)]
        shape = self.recorded_prefill.shape_for(start, len(ids))
        if shape is not None:
            self.recorded_prefill.feed(shape, slot, start, ids)
            return
        self.recorded_prefill.steps.count_plain()
        device = self._state.positions.device
        ids_bn = host_integers(ids, device).to(device, non_blocking=True)[None]
        positions = torch.full((1,), start, dtype=torch.int64, device=device)
        length = self._padded_length(start + len(ids))
        self.llama.forward_cached(ids_bn, positions, self.cache, length=length, rows=slice(slot, slot + 1))

    @torch.inference_mode()
    def activate(self, slot: int, request: DecodeRequest) -> None:
        """Last part of `add`: the slot decodes from the next step on.

        A row that has ended may be activated again, with another attempt at the same ids: its prompt is still there.
        """
        key = (torch.tensor([part], device="cpu") for part in (request.seed, request.segment, request.attempt))
        position = self._max_position[slot] = len(request.ids) - 1
        self._set(
            slot, next_ids=request.ids[-1], positions=position, generated=0,
            minimum=request.bounds.minimum, maximum=request.bounds.maximum, keys=int(stream_keys(*key)[0]),
            recent=NO_TOKEN, idle=False,
        )  # fmt: skip

    @torch.inference_mode()
    def release(self, slot: int) -> None:
        """Makes the slot idle, whether or not its row has ended."""
        self._set(slot, idle=True, next_ids=self.special.pad, positions=self._scratch_position)
        self._max_position.pop(slot, None)

    def _set(self, slot: int, **values: int) -> None:
        """Changes the state of one slot, a launch for each value. An assignment would take two, a tensor's wait."""
        for name, value in values.items():
            getattr(self._state, name)[slot].fill_(value)

    @torch.inference_mode()
    def logits(self, rows: slice | None = None) -> Tensor:
        """Feeds each slot's next id; float32 (slots, end + 1) logits of the speech tokens and, last, the end.

        Feeding the same ids to the same positions again changes nothing, so `step` may follow.
        """
        rows = self._rows(rows)
        return self._logits(rows, self._attention_length(rows))

    @torch.inference_mode()
    def step(self, rows: slice | None = None) -> Tensor:
        """Samples one token for each slot of `rows`, by default all: int64 (slots,), see the class. No device sync.

        The state of other slots stays as it is. If this raises, no state has changed and it may be called again.
        """
        rows = self._rows(rows)
        length = self._attention_length(rows)
        (tokens,) = self.steps.run((rows.start, rows.stop, length), lambda: self._sample(rows, length))
        if self.steps.enabled:
            tokens = tokens.clone()  # the next step overwrites them
        for slot in self._max_position.keys() & set(range(self.cache.slots)[rows]):
            self._max_position[slot] = min(self._max_position[slot] + 1, self._scratch_position)
        return tokens

    def _sample(self, rows: slice, length: int) -> Outputs:
        state = self._state.of(rows)
        logits = self._logits(rows, length)
        tokens = ras_sample(logits, state.recent, uniforms(state.keys, state.generated), self.generation)
        finite = logits[:, 0].isfinite()  # one NaN in a hidden state is a NaN in every logit
        result = torch.where(finite, tokens, NAN_LOGITS).masked_fill_(state.idle, IDLE)
        is_speech = finite & ~state.idle & (tokens != self.end)
        state.recent.copy_(torch.cat([state.recent[:, 1:], tokens[:, None]], dim=1))
        state.next_ids.copy_(tokens.clamp(max=self.end - 1) + self.special.ats)
        state.generated.add_(is_speech)
        state.idle.copy_(~is_speech | (state.generated >= state.maximum))
        # A row that has ended keeps its position: it must not leave its slot before the host notices.
        state.positions.add_(~state.idle)
        return (result,)

    def _logits(self, rows: slice, length: int) -> Tensor:
        state, cache = self._state.of(rows), self.cache
        hidden = self.llama.forward_cached(state.next_ids[:, None], state.positions, cache, length=length, rows=rows)
        parts = [F.linear(hidden[:, 0], self._speech_head), F.linear(hidden[:, 0], self._end_head)]
        logits = torch.cat(parts, dim=1).float()
        logits[:, -1].masked_fill_(state.generated < state.minimum, float("-inf"))
        return logits

    def _attention_length(self, rows: slice) -> int:
        positions = (position for slot, position in self._max_position.items() if slot < rows.stop)
        return self._padded_length(1 + max(positions, default=0))

    def _rows(self, rows: slice | None) -> slice:
        return rows if rows is not None else slice(0, self.cache.slots)

    def _padded_length(self, length: int) -> int:
        if self._fixed_shape:
            return self.cache.length
        if self.steps.enabled:
            return bucket_size(length, MIN_GRAPH_LENGTH, self.cache.length)
        return min(-(-length // KV_ALIGNMENT) * KV_ALIGNMENT, self.cache.length)


def generate_tokens(decoder: Decoder, request: DecodeRequest, slot: int = 0) -> Iterator[int]:
    """Decodes one request alone and yields its speech tokens, with a device sync each; other slots should be idle."""
    decoder.add(slot, request)
    try:
        for _ in range(request.bounds.maximum):
            token = int(decoder.step()[slot])
            if token == decoder.end:
                return
            yield token
    finally:
        decoder.release(slot)
