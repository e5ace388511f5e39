"""Blocks of tokens to sound for several jobs at once: the flow, then the vocoder, each in batches.

What fails in a batch is tried again row by row, once. Knows nothing about slots, readers or deadlines: it works on the
first of the blocks that it is given, and takes along those that it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from glmtts.checkpoint.loader import Model
from glmtts.dsp.audio import Wave
from glmtts.engine.config import AudioLimits
from glmtts.engine.scheduling.active_job import Stream
from glmtts.engine.synthesis.flow_chunks import FlowBlocks
from glmtts.engine.synthesis.retries import Retries, as_ours
from glmtts.engine.synthesis.segment_audio import Item
from glmtts.engine.synthesis.vocoding import NOTHING, forget, sound_of, speakable
from glmtts.models.flow.flow_batch import FlowSequence


class Made(NamedTuple):
    """What came of a step for one block: sound, the last of it or not; or why there is none."""

    item: Item
    wave: Wave
    whole: bool
    error: Exception | None = None


class Sound:
    """One model's flow and vocoders. Several threads may use it, each for jobs of its own."""

    def __init__(self, model: Model, limits: AudioLimits) -> None:
        self._vocoders, self._limits = model.vocoders, limits
        self._blocks = FlowBlocks(model.flow, limits, model.device)
        self.memories = self._blocks.memories
        self.retries = Retries("A batch of blocks")

    @torch.inference_mode()
    def step(self, items: Sequence[Item]) -> tuple[str, list[Item], list[Made]]:
        """One step of the flow or of the vocoder, for the first block and for those that it can take along.

        Returns which of the two it was, for which blocks, and what has come of it.
        """
        failed = [made for item in items for made in self._attempt(self._prepare, item)]
        wanted = [item for item in items if all(item is not made.item for made in failed)]
        if not wanted:
            return "flow", [], failed
        if self._blocks.speech(wanted[0]).finished is None:
            batch = self._together([item for item in wanted if self._blocks.speech(item).finished is None])
            return "flow", batch, failed + self._retried(self._flow, batch)
        rate = wanted[0][0].job.sample_rate
        same = [i for i in wanted if self._blocks.speech(i).finished is not None and i[0].job.sample_rate == rate]
        batch = same[: max(1, self._limits.max_batch_frames // self._limits.vocoder_frames)]
        return "vocoder", batch, failed + self._retried(self._vocode, batch)

    @torch.inference_mode()
    def rehearse(self, streams: Sequence[Stream]) -> Stream | None:
        """When there is no block to make: one step with the first voice that is not yet known, and whose it is."""
        for stream in streams:
            row = self._blocks.rehearsal(stream) if stream.job.stream else None
            if row is not None and not self._blocks.taken(row):
                try:
                    self._blocks.advance([row])
                except Exception as error:  # it is tried again for the first block, and is then an end of the job
                    self.retries.note(1, error)
                    return None
                return stream
        return None

    def _retried(self, work: Callable[[list[Item]], list[Made]], batch: list[Item]) -> list[Made]:
        try:
            return work(batch)
        except Exception as error:
            self.retries.note(len(batch), error)
        return [made for item in batch for made in self._attempt(lambda one: work([one]), item)]

    @staticmethod
    def _attempt(work: Callable[[Item], list[Made]], item: Item) -> list[Made]:
        try:
            return work(item)
        except Exception as error:
            return [Made(item, NOTHING, True, as_ours(error))]

    def _prepare(self, item: Item) -> list[Made]:
        """Sees to it that the block is on its way."""
        if self._blocks.speech(item).finished is None:
            self._blocks.row(item)
        return []

    def _together(self, items: list[Item]) -> list[Item]:
        """The first, and of the next those that fit into a padded batch with it."""
        batch, longest = items[:1], self._blocks.row(items[0]).frames
        for item in items[1:]:
            padded = max(longest, self._blocks.row(item).frames)
            if padded * (len(batch) + 1) > self._limits.max_batch_frames:
                break
            batch, longest = [*batch, item], padded
        return batch

    def _flow(self, batch: list[Item]) -> list[Made]:
        rows = [self._blocks.row(item) for item in batch]
        distinct: dict[int, FlowSequence] = {id(row): row for row in rows}  # jobs of one voice share its prompt
        self._blocks.advance(list(distinct.values()))
        for item, row in zip(batch, rows, strict=True):
            self._blocks.conclude(item, row)
        return []

    def _vocode(self, batch: list[Item]) -> list[Made]:
        vocoder = self._vocoders[batch[0][0].job.sample_rate]
        speeches = [self._blocks.speech(item) for item in batch]
        waves = sound_of(vocoder, speeches, self._limits.vocoder_frames)
        found = []
        for item, speech, wave in zip(batch, speeches, waves, strict=True):
            if whole := speech.voiced >= speakable(speech, vocoder):
                speech.finished = None
                forget(speech, vocoder)
            found.append(Made(item, wave, whole))
        return found
