"""Which part of the reference audio and of its text may prompt the AR model.

The limits are the checkpoint's (`GenerationConfig`); a limit that is None is not checked. If the text says more than
the audio, or the audio is too long, shorter forms are tried: the audio up to a pause, the text up to the end of a
clause. If no form fits, the voice gives timbre only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from glmtts.config import GenerationConfig
from glmtts.dsp.audio import TOKEN_RATE
from glmtts.models.llm.prompt_score import PromptScore

log = logging.getLogger(__name__)

MAX_FORMS = 8
"""Limit of the shorter forms that are scored: each costs a pass through the AR model."""

MAX_PAUSES = 3
CLAUSE = re.compile(r"[^。？！；：、，.?!;:,]*[。？！；：、，.?!;:,]+\s*")

Score = Callable[[tuple[int, ...], Sequence[int]], PromptScore]
"""Text ids and speech tokens to their score."""


@dataclass(frozen=True)
class PromptForm:
    """The first `tokens` speech tokens of the audio, and the ids of what is said in them; no ids: timbre only."""

    tokens: int
    text: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PromptCheck:
    """The check of one checkpoint. `prompt_ids` converts a reference text to text ids; it may take a `language`."""

    limits: GenerationConfig
    score: Score
    prompt_ids: Callable[..., tuple[int, ...]]

    def __call__(
        self, reference_text: str, speech: Sequence[int], pauses: Sequence[int], language: str | None = None
    ) -> PromptForm:
        """The form in which audio of `speech` tokens prompts the model; `pauses` as returned by `find_pauses`.

        The first that fits: audio and text as they are; then with a shorter text, or both shorter. The text is read in
        `language`; None leaves that to its characters.
        """
        if language is not None:
            return replace(self, prompt_ids=partial(self.prompt_ids, language=language))(reference_text, speech, pauses)
        whole = len(speech)
        tried = 0
        for form in self._forms(reference_text, whole, pauses):
            if not form.text or not self._long_enough(form):
                continue
            if tried > MAX_FORMS:
                break
            tried += 1
            if self._fits(form.text, speech[: form.tokens]):
                return form
        if reference_text:
            log.warning(
                "The voice gives timbre only: its text does not fit the audio, or the model was not trained on such"
            )
        return PromptForm(self._longest(whole, pauses), ())

    def _longest(self, whole: int, pauses: Sequence[int]) -> int:
        limit = self.limits.max_prompt_seconds
        if limit is None or whole <= limit * TOKEN_RATE:
            return whole
        return max((pause for pause in pauses if pause <= limit * TOKEN_RATE), default=int(limit * TOKEN_RATE))

    def _forms(self, reference_text: str, whole: int, pauses: Sequence[int]) -> Iterator[PromptForm]:
        """Forms in order of preference. What is cut off the audio must also be cut off the text."""
        clauses = [match.end() for match in CLAUSE.finditer(reference_text)][:-1]
        limit = self.limits.max_prompt_seconds
        ids = self.prompt_ids(reference_text) if reference_text else ()
        if limit is None or whole <= limit * TOKEN_RATE:
            yield PromptForm(whole, ids)
            # Bounded before the ids are made: a text of thousands of clauses would be normalised once for each.
            room = whole / (self.limits.min_prompt_ratio or 1e-9) * len(reference_text) / max(len(ids), 1)
            for end in [end for end in reversed(clauses) if end <= room][:MAX_FORMS]:
                yield PromptForm(whole, self.prompt_ids(reference_text[:end]))
            return
        for pause in sorted((p for p in pauses if p <= limit * TOKEN_RATE), reverse=True)[:MAX_PAUSES]:
            share = pause / whole * len(reference_text)
            for end in sorted(clauses, key=lambda end: abs(end - share))[:MAX_PAUSES]:
                yield PromptForm(pause, self.prompt_ids(reference_text[:end]))

    def _long_enough(self, form: PromptForm) -> bool:
        ratio = self.limits.min_prompt_ratio
        return ratio is None or form.tokens >= ratio * len(form.text)

    def _fits(self, text: tuple[int, ...], speech: Sequence[int]) -> bool:
        limit, end_limit = self.limits.max_prompt_nll, self.limits.max_prompt_end_nll
        if limit is None and end_limit is None:
            return True
        score = self.score(text, speech)
        return (limit is None or score.nll <= limit) and (end_limit is None or score.end_nll <= end_limit)
