"""Which part of a recording and of its transcript may prompt the AR model.

The limits are the checkpoint's (`GenerationConfig`); without one its check is off. A transcript that says more than the
recording, or a recording that is too long, is tried in shorter forms: the recording up to a pause, the transcript up to
the end of a clause. Where no form fits, the recording gives timbre only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from glmtts.config import GenerationConfig
from glmtts.dsp.audio import TOKEN_RATE
from glmtts.models.llm.prompt_score import PromptScore

log = logging.getLogger(__name__)

MAX_FORMS = 8
"""How many shorter forms are scored at most: each costs a pass through the AR model."""

MAX_PAUSES = 3
CLAUSE = re.compile(r"[^。？！；：、，.?!;:,]*[。？！；：、，.?!;:,]+\s*")

Score = Callable[[tuple[int, ...], Sequence[int]], PromptScore]
"""Text ids and speech tokens to how well they fit."""


@dataclass(frozen=True)
class PromptForm:
    """A recording's first `tokens` speech tokens, and the ids of what is said in them; no ids: timbre only."""

    tokens: int
    text: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PromptCheck:
    """The check of one checkpoint. `prompt_ids` turns a transcript into text ids."""

    limits: GenerationConfig
    score: Score
    prompt_ids: Callable[[str], tuple[int, ...]]

    def __call__(self, transcript: str, speech: Sequence[int], pauses: Sequence[int]) -> PromptForm:
        """The form in which a recording of `speech` tokens prompts the model; `pauses` as `find_pauses` gives them.

        The first that fits: the whole; then a shorter transcript, or a shorter recording with a shorter transcript.
        """
        whole = len(speech)
        tried = 0
        for form in self._forms(transcript, whole, pauses):
            if not form.text or not self._long_enough(form):
                continue
            if tried > MAX_FORMS:
                break
            tried += 1
            if self._fits(form.text, speech[: form.tokens]):
                return form
        if transcript:
            log.warning("a recording gives timbre only: its transcript does not fit it, or the model cannot follow it")
        return PromptForm(self._longest(whole, pauses), ())

    def _longest(self, whole: int, pauses: Sequence[int]) -> int:
        limit = self.limits.max_prompt_seconds
        if limit is None or whole <= limit * TOKEN_RATE:
            return whole
        return max((pause for pause in pauses if pause <= limit * TOKEN_RATE), default=int(limit * TOKEN_RATE))

    def _forms(self, transcript: str, whole: int, pauses: Sequence[int]) -> Iterator[PromptForm]:
        """Forms in the order of preference. What is cut off of the recording must be cut off of the transcript too."""
        clauses = [match.end() for match in CLAUSE.finditer(transcript)][:-1]
        limit = self.limits.max_prompt_seconds
        ids = self.prompt_ids(transcript) if transcript else ()
        if limit is None or whole <= limit * TOKEN_RATE:
            yield PromptForm(whole, ids)
            for end in reversed(clauses):
                yield PromptForm(whole, self.prompt_ids(transcript[:end]))
            return
        for pause in sorted((p for p in pauses if p <= limit * TOKEN_RATE), reverse=True)[:MAX_PAUSES]:
            share = pause / whole * len(transcript)
            for end in sorted(clauses, key=lambda end: abs(end - share))[:MAX_PAUSES]:
                yield PromptForm(pause, self.prompt_ids(transcript[:end]))

    def _long_enough(self, form: PromptForm) -> bool:
        ratio = self.limits.min_prompt_ratio
        return ratio is None or form.tokens >= ratio * len(form.text)

    def _fits(self, text: tuple[int, ...], speech: Sequence[int]) -> bool:
        limit, end_limit = self.limits.max_prompt_nll, self.limits.max_prompt_end_nll
        if limit is None and end_limit is None:
            return True
        score = self.score(text, speech)
        return (limit is None or score.nll <= limit) and (end_limit is None or score.end_nll <= end_limit)
