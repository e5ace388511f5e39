"""The chain of a request's segments: which earlier text and speech prompts the next one (model.md §1).

Pure Python on ids. Knows nothing about text, tensors or who calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glmtts.config import GenerationConfig
from glmtts.errors import InputError, TextError
from glmtts.models.llm.prompt import LengthBounds, length_bounds

SPEECH_TOKENS = 750
"""How many speech tokens, the new segment's expected ones included, history may reach."""

SLOT = 2048
"""Positions of the KV cache that one segment may take."""

Ids = tuple[int, ...]
Spoken = tuple[Ids, Ids]
"""A finished segment: its text ids, and the speech tokens (0 … speech_tokens − 1) drawn for it."""


@dataclass(frozen=True)
class Prompt:
    """What a segment is prompted with: text ids, speech tokens; and the bounds of what it may draw."""

    text: Ids
    speech: Ids
    bounds: LengthBounds


class History:
    """Prompts of one request: the voice's own, which stays, then those of its finished segments, which come and go.

    Without `enabled` every segment is prompted by the voice alone. `slot`: positions that prompt and segment may take.
    """

    def __init__(
        self,
        prompt_text: Sequence[int],
        prompt_speech: Sequence[int],
        generation: GenerationConfig,
        *,
        enabled: bool = True,
        slot: int = SLOT,
    ) -> None:
        # A speech prompt without its text would be read as text.
        self._voice = (tuple(prompt_text), tuple(prompt_speech) if prompt_text else ())
        self._earlier: list[Spoken] = []
        self._generation = generation
        self._enabled = enabled
        self._slot = slot

    def add(self, text: Sequence[int], speech: Sequence[int]) -> None:
        """Remembers a finished segment: its text ids and the speech tokens drawn for it."""
        if self._enabled and text and speech:
            self._earlier.append((tuple(text), tuple(speech)))

    @property
    def spoken(self) -> tuple[Spoken, ...]:
        """The finished segments that are still remembered: added to a new history, they make it go on as this one."""
        return tuple(self._earlier)

    def prompt(self, text: Sequence[int]) -> Prompt:
        """What a new segment of `text` ids is prompted with, and how much it may say.

        Drops the oldest finished segments, for good, while speech tokens + int(speech / text × new text ids) > 750,
        the ratio being that before any is dropped; then while the segment's longest form does not fit the slot.
        Where even the voice's prompt alone leaves less than that, the maximum is what is left.
        Raises TextError when less than the minimum is left.
        """
        if self._earlier:
            text_ids, speech_tokens = (sum(len(item[i]) for item in self._items()) for i in (0, 1))
            expected = int(speech_tokens / text_ids * len(text))
            while self._earlier and sum(len(speech) for _, speech in self._items()) + expected > SPEECH_TOKENS:
                del self._earlier[0]
        bounds = length_bounds(len(text), self._generation)
        while self._earlier and self._left(text) < bounds.maximum:
            del self._earlier[0]
        left = self._left(text)
        if left < max(bounds.minimum, 1):
            raise TextError(
                f"a segment of {len(text)} ids after a voice prompt of {sum(map(len, self._voice))} leaves {left} "
                f"speech tokens of the {bounds.minimum} that it needs: take a shorter reference or shorter sentences",
                field="text",
            )
        texts, speech = ([i for item in self._items() for i in item[part]] for part in (0, 1))
        return Prompt(tuple(texts), tuple(speech), LengthBounds(bounds.minimum, min(bounds.maximum, left)))

    def _items(self) -> list[Spoken]:
        return [self._voice, *self._earlier]

    def _left(self, text: Sequence[int]) -> int:
        """Positions of the slot that are left behind prompts, text and the id that opens the speech."""
        return self._slot - sum(len(part) for item in self._items() for part in item) - len(text) - 1


def check_spoken(spoken: Sequence[Spoken], *, vocabulary: int, speech_tokens: int) -> None:
    """InputError (field "continuation") for ids that the model has not: they may come from outside."""
    for text, speech in spoken:
        for kind, ids, count in (("text ids", text, vocabulary), ("speech tokens", speech, speech_tokens)):
            if ids and not 0 <= min(ids) <= max(ids) < count:
                message = f"the continuation has {kind} {min(ids)} to {max(ids)}; this model has 0 to {count - 1}"
                raise InputError(message, field="continuation")
