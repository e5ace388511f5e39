"""A segment between its blocks: what of it has been made, and what the next block goes on from. State only.

Dimension names: t time in mel frames, m mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glmtts.dsp.audio import FRAMES_PER_TOKEN, Wave
from glmtts.engine.scheduling.active_job import Stream, Utterance
from glmtts.engine.scheduling.chunking import Chunk
from glmtts.models.flow.flow_batch import FlowSequence
from glmtts.models.flow.flow_cache import NO_CONTEXT, LeftContext
from glmtts.models.rng import stream_keys

Item = tuple[Stream, Utterance, Chunk]


@dataclass(eq=False)
class Speech:
    """`mel_tm` are the segment's frames from `first` on, all finished. `key` (int64) decides the noise."""

    key: Tensor
    mel_tm: Tensor
    phase: Tensor
    """The vocoder's source at the last frame that has become sound, float64."""
    first: int = 0
    voiced: int = 0
    """Frames that have become sound."""
    tail: Wave | None = None
    """Samples after these, for a vocoder whose windows don't join by themselves."""
    before: LeftContext = NO_CONTEXT
    """What the next block follows."""
    row: FlowSequence | None = None
    """The block that the flow is at."""
    finished: Chunk | None = None
    """The block whose mel is there and not yet all sound."""

    @property
    def made(self) -> int:
        """Frames whose mel is there."""
        return self.first + len(self.mel_tm)


def new_speech(stream: Stream, utterance: Utterance, bins: int, device: torch.device) -> Speech:
    """Before the first block."""
    seed, index = torch.tensor([stream.job.seed]), torch.tensor([utterance.segment.index])
    zeros = torch.zeros((), dtype=torch.float64, device=device)
    return Speech(stream_keys(seed, index).to(device)[0], torch.zeros(0, bins, device=device), zeros)


def frame_tokens(block: Chunk, begin: int, end: int, speed: float, device: torch.device) -> Tensor:
    """Which token of the segment each of its frames [begin, end) speaks: int64 (end − begin,)."""
    frames = torch.arange(begin, end, device=device, dtype=torch.float64)
    return (frames * speed / FRAMES_PER_TOKEN).long().clamp(max=block.lookahead_end - 1)
