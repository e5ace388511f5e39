"""How a request's earlier segments, text and speech, prompt the next one.

Pure Python on ids: the engine's scheduler, which loads no torch, uses it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from glmtts.config import GenerationConfig
from glmtts.errors import InputError, TextError
from glmtts.models.llm.prompt import LengthBounds, length_bounds

MAX_HISTORY_TOKENS = 750
"""Limit of the history's speech tokens, those expected for the new segment included."""

MAX_POSITIONS = 2048
"""KV cache positions that a segment and its prompts may take."""

Ids = tuple[int, ...]


class SpokenSegment(NamedTuple):
    """A finished segment: its text ids, and the speech tokens (0 … speech_tokens − 1) generated for it."""

    text_ids: Ids
    speech_tokens: Ids


@dataclass(frozen=True)
class Prompt:
    """What a segment is prompted with, text ids and speech tokens, and the bounds of its own length."""

    text: Ids
    speech: Ids
    bounds: LengthBounds


class History:
    """The prompts of one request: the voice's, which always stays, and its finished segments, oldest dropped first.

    Without `enabled`, the voice alone prompts every segment; with it, at most `generation.history_segments` finished
    ones do too. `max_positions`: KV cache positions for prompts and segment together. `speaker`: ids that come first.
    """

    def __init__(
        self,
        prompt_text: Sequence[int],
        prompt_speech: Sequence[int],
        generation: GenerationConfig,
        *,
        enabled: bool = True,
        max_positions: int = MAX_POSITIONS,
        speaker: Sequence[int] = (),
    ) -> None:
        self._speaker = tuple(speaker)
        # Without its text, the model would read a speech prompt as text.
        self._voice = SpokenSegment(tuple(prompt_text), tuple(prompt_speech) if prompt_text else ())
        self._earlier: list[SpokenSegment] = []
        self._generation = generation
        self._enabled = enabled
        self._max_positions = max_positions

    def add(self, text: Sequence[int], speech: Sequence[int]) -> None:
        """Appends a finished segment: its text ids and the speech tokens generated for it."""
        if self._enabled and text and speech:
            self._earlier.append(SpokenSegment(tuple(text), tuple(speech)))
            limit = self._generation.history_segments
            if limit is not None:
                del self._earlier[: max(len(self._earlier) - limit, 0)]

    @property
    def segments(self) -> tuple[SpokenSegment, ...]:
        """The finished segments still kept. A new history with these added continues where this one is."""
        return tuple(self._earlier)

    def prompt(self, text: Sequence[int], weight: float = 0.0) -> Prompt:
        """The prompt and length bounds of a new segment of `text` ids and a weight.

        First drops, for good, the oldest finished segments while speech tokens + int(speech / text × new text ids)
        exceeds MAX_HISTORY_TOKENS, with the ratio as it was before any were dropped; then while the segment at its
        maximum length does not fit into `max_positions`. If even the voice's prompt alone leaves fewer positions, they
        become the maximum. Raises TextError if fewer than the minimum are left.
        """
        if self._earlier:
            text_ids, speech_tokens = (sum(len(segment[part]) for segment in self._all()) for part in (0, 1))
            expected = int(speech_tokens / text_ids * len(text))
            while self._earlier and sum(len(s.speech_tokens) for s in self._all()) + expected > MAX_HISTORY_TOKENS:
                del self._earlier[0]
        bounds = length_bounds(len(text), self._generation, weight)
        while self._earlier and self._positions_left(text) < bounds.maximum:
            del self._earlier[0]
        left = self._positions_left(text)
        if left < max(bounds.minimum, 1):
            raise TextError(
                f"text: expected room for at least {bounds.minimum} speech tokens, got {left} after a voice prompt of "
                f"{sum(map(len, self._voice))} and a segment of {len(text)} ids; use a shorter reference or shorter "
                "sentences",
                field="text",
            )
        prompt_text, speech = ([i for segment in self._all() for i in segment[part]] for part in (0, 1))
        bounds = LengthBounds(bounds.minimum, min(bounds.maximum, left))
        return Prompt((*self._speaker, *prompt_text), tuple(speech), bounds)

    def _all(self) -> list[SpokenSegment]:
        return [self._voice, *self._earlier]

    def _positions_left(self, text: Sequence[int]) -> int:
        """Positions left after the prompts, the text and the id that begins the speech."""
        prompts = sum(len(part) for segment in self._all() for part in segment)
        return self._max_positions - len(self._speaker) - prompts - len(text) - 1


def check_history(segments: Sequence[SpokenSegment], *, vocabulary: int, speech_tokens: int) -> None:
    """Raises InputError (field "continuation") for ids that the model does not have: a client may have sent them."""
    for text, speech in segments:
        for kind, ids, count in (("text ids", text, vocabulary), ("speech tokens", speech, speech_tokens)):
            if ids and not 0 <= min(ids) <= max(ids) < count:
                message = f"continuation: expected {kind} 0 to {count - 1}, got {min(ids)} to {max(ids)}"
                raise InputError(message, field="continuation")
