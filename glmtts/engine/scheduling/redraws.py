"""When a segment's speech tokens are drawn again, and which draw is spoken.

A draw is implausible when it is cut at the segment's maximum length, ends as soon as it may, or is much shorter or
longer than its text suggests. Its first `held_tokens` tokens are held back from the flow, so that a draw that ends
within them can be made again with other randomness; one that ends later has been heard in part, and is only reported.

Both depend on the segment and the checkpoint alone, never on the engine's options or load. So every node draws the same
tokens, whether or not the job is streamed. All lengths are in speech tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from glmtts.config import GenerationConfig
from glmtts.engine.api import FinishReason
from glmtts.engine.stats import RedrawReason
from glmtts.models.llm.prompt import LengthBounds

FREE_TOKENS = 24
"""Tokens that can be held back without a delay: the first chunk of the default `ChunkSchedule` needs one more."""

_SEVERITY: tuple[FinishReason, ...] = ("stop", "implausible", "length")


class Draw(NamedTuple):
    """An implausible draw."""

    tokens: list[int]
    reason: RedrawReason


class SegmentDraws:
    """The draws of one segment. Add each token, and None for the end token, until `done`.

    Args:
        generation: what the checkpoint calls plausible; one without `tokens_per_id` redraws nothing.
        num_ids: text ids of the segment.
        bounds: of its length.
    """

    def __init__(self, generation: GenerationConfig, num_ids: int, bounds: LengthBounds) -> None:
        self._generation, self._bounds = generation, bounds
        self._expected = generation.expected_tokens(num_ids)
        self._failed: list[Draw] = []
        self._reason: RedrawReason | None = None
        self.attempt = 0
        """The number of the draw that is being made; its randomness depends on it."""
        self.tokens: list[int] = []
        """Of the draw that is being made or, when `done`, of the one that is spoken."""
        self.done = False

    @property
    def finish_reason(self) -> FinishReason:
        """How the spoken draw has ended: "stop" if it is plausible."""
        if self._reason == "at_ceiling":
            return "length"
        return "stop" if self._reason is None else "implausible"

    @property
    def held_tokens(self) -> int:
        """A draw of at most so many tokens may be made again; a short segment is held back whole."""
        limit = self._generation.max_redraw_tokens
        if not self._generation.max_redraws:
            return 0
        return self._bounds.maximum if self._bounds.maximum <= limit else min(FREE_TOKENS, limit)

    @property
    def num_final_tokens(self) -> int:
        """How many of `tokens` are certain to be spoken."""
        return len(self.tokens) if self.done or len(self.tokens) > self.held_tokens else 0

    def ends_with(self, token: int | None) -> bool:
        """Whether the draw ends when this is added."""
        return token is None or len(self.tokens) + 1 >= self._bounds.maximum

    def add(self, token: int | None) -> RedrawReason | None:
        """Adds a token, or None for the end token. Returns a reason when the segment must be drawn again.

        A draw also ends, without an end token, at the segment's maximum.
        """
        ends = self.ends_with(token)
        if token is not None:
            self.tokens.append(token)
        if not ends:
            return None
        reason = self._implausibility(cut=token is not None)
        if reason is not None and len(self.tokens) <= self.held_tokens:
            self._failed.append(Draw(self.tokens, reason))
            if self.attempt < self._generation.max_redraws:
                self.attempt += 1
                self.tokens = []
                return reason
            self.tokens, reason = min(self._failed, key=self._distance)
        self._reason, self.done = reason, True
        return None

    def _implausibility(self, *, cut: bool) -> RedrawReason | None:
        if cut:
            return "at_ceiling"
        if self._expected is None:
            return None
        if len(self.tokens) <= self._bounds.minimum:
            return "below_floor"
        ratio = len(self.tokens) / self._expected
        plausible = self._generation.min_length_ratio <= ratio <= self._generation.max_length_ratio
        return None if plausible else "implausible_length"

    def _distance(self, draw: Draw) -> float:
        """How far a draw is from the expected length."""
        assert self._expected is not None, "a checkpoint with redraws has a length model"
        return abs(len(draw.tokens) - self._expected)


def worse(one: FinishReason, other: FinishReason) -> FinishReason:
    """The finish reason of a job with segments that finished like these."""
    return max(one, other, key=_SEVERITY.index)
