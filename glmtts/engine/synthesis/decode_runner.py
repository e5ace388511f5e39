"""Speech tokens for all rows at once: the AR stage's tensors in slots, step by step.

What fails in a batch is tried again row by row, once, so that one row's fault is one row's end. Knows nothing about
jobs, their order or their sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from torch import Tensor

from glmtts.checkpoint.loader import Model
from glmtts.engine.synthesis.retries import Retries, as_ours
from glmtts.errors import EngineError
from glmtts.models.llm.cuda_graphs import bucket_size
from glmtts.models.llm.decoder import IDLE, NAN_LOGITS, Decoder, DecodeRequest
from glmtts.models.llm.kv_cache import KVCache

T = TypeVar("T")


class Drawing(Generic[T]):
    """`slots` rows of the model's AR transformer. T is whatever the caller knows a row by.

    Without `fixed_shape` a step costs as much as the rows up to the highest slot in use: give out the low ones first.
    On a GPU a step's tokens are read one step later, while the next one runs, so the device never waits for the host.
    """

    def __init__(self, model: Model, slots: int, *, fixed_shape: bool = False, late: bool | None = None) -> None:
        cache = KVCache(model.llm.config, slots, model.max_positions, dtype=model.dtype, device=model.device)
        self._decoder = Decoder(model.llm, model.special, model.generation, cache, fixed_shape=fixed_shape)
        self._slots, self._fixed_shape = slots, fixed_shape
        self._late = model.device.type == "cuda" if late is None else late
        self._unread: tuple[Tensor, dict[int, T]] | None = None
        self.retries = Retries("A decode step")

    @property
    def unread(self) -> bool:
        """Whether a step's tokens are still to be read, by the next step."""
        return self._unread is not None

    def prefill(self, slot: int, row: DecodeRequest, start: int, count: int) -> None:
        """Feeds ids [start, start + count) of the row; after the last but one, the slot draws."""
        if start == 0:
            self._decoder.reserve(slot, row)
        self._decoder.prefill(slot, row, start, count)
        if start + count >= len(row.ids) - 1:
            self._decoder.activate(slot, row)

    def release(self, slot: int) -> None:
        """The slot draws no more."""
        self._decoder.release(slot)

    def step(self, rows: Mapping[int, T]) -> list[tuple[T, int | Exception | None]]:
        """Draws a token for each row, by slot. What comes back may be of the step before: a token, None for the end,
        or why the row can't go on. One device sync, for reading."""
        before, self._unread = self._unread, None
        found: list[tuple[T, int | Exception | None]] = []
        if rows:
            try:
                self._unread = self._decoder.step(self._shape(rows)), dict(rows)
            except Exception as error:
                found = self._one_by_one(rows, error)
        if not self._late:
            before, self._unread = self._unread, None
        return (self._read(*before) if before is not None else []) + found

    def _shape(self, rows: Mapping[int, T]) -> slice:
        if self._fixed_shape:
            return slice(0, self._slots)
        used = max(rows) + 1
        return slice(0, bucket_size(used, 1, self._slots) if self._decoder.uses_cuda_graphs else used)

    def _read(self, drawn: Tensor, rows: dict[int, T]) -> list[tuple[T, int | Exception | None]]:
        tokens = drawn.tolist()
        return [(row, self._meaning(tokens[slot])) for slot, row in rows.items() if tokens[slot] != IDLE]

    def _meaning(self, token: int) -> int | Exception | None:
        if token == NAN_LOGITS:
            return EngineError("the model's scores are not numbers")
        return None if token == self._decoder.end else token

    def _one_by_one(self, rows: Mapping[int, T], error: Exception) -> list[tuple[T, int | Exception | None]]:
        self.retries.note(len(rows), error)
        return [pair for slot, row in rows.items() for pair in self._alone(slot, row)]

    def _alone(self, slot: int, row: T) -> list[tuple[T, int | Exception | None]]:
        try:
            return self._read(self._decoder.step(slice(slot, slot + 1)), {0: row})
        except Exception as error:
            return [(row, as_ours(error))]
