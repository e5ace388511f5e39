"""The shapes that are recorded: few, and with room for all that streams need. Others run plainly.

Lengths are those of the chunk schedule, rounded up: at other speeds chunks have a few frames more, and a segment's last
chunk has fewer.
"""

from __future__ import annotations

from typing import NamedTuple

from glmtts.dsp.audio import frames_for_tokens
from glmtts.engine.config import AudioLimits, ChunkSchedule
from glmtts.models.flow.flow_block import BlockShape
from glmtts.models.graphs import buckets

FRAME_BUCKET = 64
MAX_PROMPT_TOKENS = 250
"""Tokens of a voice's prompt for which there are shapes if it is not limited."""
WHOLE_FRAMES = 1024
"""Frames of a prompt and a segment that is not streamed."""


class WindowShape(NamedTuple):
    """A batch of vocoder windows."""

    rows: int
    frames: int

    def holds(self, other: WindowShape) -> bool:
        """Whether a smaller batch can be padded to this one."""
        return self.rows >= other.rows and self.frames >= other.frames


def flow_shapes(schedule: ChunkSchedule, limits: AudioLimits, max_rows: int) -> list[BlockShape]:
    """Of chunks, of voice prompts, and of a whole segment."""
    max_prompt = frames_for_tokens(limits.max_prompt_tokens or MAX_PROMPT_TOKENS)
    kept = _rounded(frames_for_tokens(schedule.left_context))
    prompts = sorted({_rounded(max_prompt // 2), _rounded(max_prompt)})
    chunks = sorted({_rounded(frames_for_tokens(size + schedule.lookahead)) for size in schedule.sizes})
    shapes = [
        BlockShape(rows, frames, prompt + kept, kept)
        for rows in buckets(1, max_rows)
        for frames in chunks
        for prompt in prompts
        if rows == 1 or rows * frames <= limits.max_batch_frames
    ]
    return [*shapes, *(BlockShape(1, prompt, 0, prompt) for prompt in prompts), BlockShape(1, WHOLE_FRAMES, 0, 0)]


def window_shapes(schedule: ChunkSchedule, limits: AudioLimits, context: int, max_rows: int) -> list[WindowShape]:
    """Of chunks, with `context` frames on either side."""
    tokens = (size + schedule.lookahead for size in schedule.sizes)
    frames = sorted({_rounded(frames_for_tokens(count) + 2 * context) for count in tokens})
    rows = buckets(1, min(max_rows, max(1, limits.max_batch_frames // limits.vocoder_frames)))
    return [WindowShape(count, length) for count in rows for length in frames]


def _rounded(frames: int) -> int:
    return -(-frames // FRAME_BUCKET) * FRAME_BUCKET
