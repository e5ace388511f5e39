"""Decode steps: speech tokens for all rows at once. A step that fails is retried row by row, once, so that a row that
can't be decoded fails alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeAlias, TypeVar

from torch import Tensor

from glmtts.checkpoint.loader import Model
from glmtts.engine.synthesis.retries import RetryCounter, to_engine_error
from glmtts.errors import EngineError
from glmtts.models.graphs import RecordedSteps, bucket_size
from glmtts.models.llm.decoder import IDLE, NAN_LOGITS, PREFILL_CHUNK, Decoder, DecodeRequest
from glmtts.models.llm.kv_cache import KVCache

T = TypeVar("T")

DecodeResult: TypeAlias = "int | Exception | None"
"""A token, None at the end, or why the row can't go on."""


class DecodeRunner(Generic[T]):
    """`num_slots` rows of the model's AR transformer; T is what the caller identifies a row by.

    Without `fixed_shape`, a step costs as much as the rows up to the highest slot in use. With `async_readback`, by
    default on a GPU, a step's tokens are read while the next one runs, so that the device never waits for the host.
    """

    def __init__(
        self,
        model: Model,
        num_slots: int,
        *,
        fixed_shape: bool = False,
        async_readback: bool | None = None,
        steps: RecordedSteps | None = None,
        prefill_steps: RecordedSteps | None = None,
        prefill_chunk: int = PREFILL_CHUNK,
    ) -> None:
        cache = KVCache(model.llm.config, num_slots, model.max_positions, dtype=model.dtype, device=model.device)
        self.decoder = Decoder(
            model.llm, model.special, model.generation, cache,
            fixed_shape=fixed_shape, steps=steps, prefill_steps=prefill_steps, prefill_chunk=prefill_chunk,
        )  # fmt: skip
        self._num_slots, self._fixed_shape = num_slots, fixed_shape
        self._async_readback = model.device.type == "cuda" if async_readback is None else async_readback
        self._pending: tuple[Tensor, dict[int, T]] | None = None
        self.retries = RetryCounter("A decode step")

    @property
    def has_pending_readback(self) -> bool:
        """Whether the next step will return tokens of the last one."""
        return self._pending is not None

    def prefill(self, slot: int, request: DecodeRequest, start: int, count: int) -> None:
        """Feeds ids [start, start + count) of the request; after the last but one, the slot decodes.

        With `start` behind these, another attempt at the request begins in the slot of an earlier one.
        """
        end = len(request.ids) - 1
        if start == 0:
            self.decoder.reserve(slot, request)
        if start < end:
            self.decoder.prefill(slot, request, start, count)
        if start + count >= end:
            self.decoder.activate(slot, request)

    def release(self, slot: int) -> None:
        """Stops decoding in the slot."""
        self.decoder.release(slot)

    def step(self, rows: Mapping[int, T]) -> list[tuple[T, DecodeResult]]:
        """Decodes a token for each row, by slot.

        Returns the results of this step, or with async readback those of the last one. One device sync, to read them.
        """
        finished, self._pending = self._pending, None
        failed: list[tuple[T, DecodeResult]] = []
        if rows:
            try:
                self._pending = self.decoder.step(self._step_rows(rows)), dict(rows)
            except Exception as error:
                failed = self._retry_each(rows, error)
        if not self._async_readback:
            finished, self._pending = self._pending, None
        return (self._read(*finished) if finished is not None else []) + failed

    def _step_rows(self, rows: Mapping[int, T]) -> slice:
        if self._fixed_shape:
            return slice(0, self._num_slots)
        used = max(rows) + 1
        return slice(0, bucket_size(used, 1, self._num_slots) if self.decoder.steps.enabled else used)

    def _read(self, tokens_b: Tensor, rows: dict[int, T]) -> list[tuple[T, DecodeResult]]:
        tokens = tokens_b.tolist()
        return [(row, self._decode_result(tokens[slot])) for slot, row in rows.items() if tokens[slot] != IDLE]

    def _decode_result(self, token: int) -> DecodeResult:
        if token == NAN_LOGITS:
            return EngineError("the model's scores are not numbers")
        return None if token == self.decoder.end else token

    def _retry_each(self, rows: Mapping[int, T], error: Exception) -> list[tuple[T, DecodeResult]]:
        self.retries.record(len(rows), error)
        return [result for slot, row in rows.items() for result in self._retry_alone(slot, row)]

    def _retry_alone(self, slot: int, row: T) -> list[tuple[T, DecodeResult]]:
        try:
            return self._read(self.decoder.step(slice(slot, slot + 1)), {0: row})
        except Exception as error:
            return [(row, to_engine_error(error))]
