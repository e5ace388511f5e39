"""Chunks of prompts as recorded steps: ids are copied to fixed memory, and the slot is one of the inputs.

A chunk is padded on the right to its shape. What the padding writes lies behind the prompt, where a row writes before
it reads.
Dimension names: b batch, n positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from glmtts.models.graphs import Outputs, RecordedSteps, host_integers
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama


class PrefillShape(NamedTuple):
    """A chunk of at most `ids` ids of one prompt, which attends to at most `length` positions, its own included."""

    ids: int
    length: int

    def holds(self, start: int, count: int, cache_length: int) -> bool:
        """Whether `count` ids from position `start` on can be padded to this shape within a slot."""
        return self.ids >= count and self.length >= start + count and start + self.ids <= cache_length


class RecordedPrefill:
    """Feeds chunks of prompts to any slot of `cache`, in recorded `shapes`. For one thread at a time.

    pad: the id of the padding.
    """

    def __init__(
        self, llama: Llama, cache: KVCache, pad: int, shapes: Iterable[PrefillShape], steps: RecordedSteps
    ) -> None:
        self._llama, self._cache, self._pad, self.steps = llama, cache, pad, steps
        self.shapes = sorted(shapes)
        most_ids = max((shape.ids for shape in self.shapes), default=0)
        # The slot, the position of the first id, and the ids: what comes from the host comes in one copy.
        self._inputs = torch.zeros(2 + most_ids, dtype=torch.int64, device=cache.kv.device)

    @torch.inference_mode()
    def record(self, shape: PrefillShape) -> None:
        """Records one of the shapes. It writes into a slot, so none may be in use. RuntimeError if it can't be done."""
        slot_b, start_b, ids_n = self._inputs[:1], self._inputs[1:2], self._inputs[2 : 2 + shape.ids]

        def feed() -> Outputs:
            self._llama.forward_cached(ids_n[None], start_b, self._cache, length=shape.length, rows=slot_b)
            return ()

        self.steps.record(shape, feed)

    def shape_for(self, start: int, count: int) -> PrefillShape | None:
        """The smallest recorded shape that holds `count` ids from position `start` on, if there is one."""
        length = self._cache.length
        return next((shape for shape in self.shapes if shape in self.steps and shape.holds(start, count, length)), None)

    @torch.inference_mode()
    def feed(self, shape: PrefillShape, slot: int, start: int, ids: Sequence[int]) -> None:
        """Feeds ids that the shape holds to a slot, from position `start` on. No device sync."""
        padding = [self._pad] * (shape.ids - len(ids))
        inputs = host_integers((slot, start, *ids, *padding), self._inputs.device)
        self._inputs[: len(inputs)].copy_(inputs, non_blocking=True)
        self.steps.replay(shape)
