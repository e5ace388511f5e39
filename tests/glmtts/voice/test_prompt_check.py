"""Which part of a recording and its transcript may prompt the AR model."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from glmtts.config import GenerationConfig
from glmtts.models.llm.prompt_score import PromptScore
from glmtts.voice.prompt_check import MAX_FORMS, PromptCheck, PromptForm

TOKENS_PER_ID = 2
TEXT = "One two. Three four, five. Six seven."


def code_points(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


class Recording:
    """Says a text at a steady two tokens an id; a transcript fits if it says as much as the tokens do."""

    def __init__(self, said: str) -> None:
        self.speech = list(range(TOKENS_PER_ID * len(said)))
        self.scored = 0

    def score(self, text: tuple[int, ...], speech: Sequence[int]) -> PromptScore:
        self.scored += 1
        missing = abs(TOKENS_PER_ID * len(text) - len(speech))
        return PromptScore(0.5 + missing / 50, float(missing))

    def check(self, **limits: float) -> PromptCheck:
        return PromptCheck(GenerationConfig(**limits), self.score, code_points)  # type: ignore[arg-type]  # all floats


def test_without_limits_nothing_is_scored() -> None:
    recording = Recording(TEXT)
    assert recording.check()("something else", recording.speech, [10]) == PromptForm(
        len(recording.speech), code_points("something else")
    )
    assert recording.scored == 0


def test_a_transcript_that_says_more_is_cut_where_the_recording_ends() -> None:
    said = "One two. Three four, "
    recording = Recording(said)
    form = recording.check(max_prompt_end_nll=2.5)(TEXT, recording.speech, [])
    assert form == PromptForm(len(recording.speech), code_points(said))


def test_a_recording_that_breaks_off_within_a_word_gives_timbre_only() -> None:
    recording = Recording("One two. Three fo")
    form = recording.check(max_prompt_end_nll=2.5)(TEXT, recording.speech, [])
    assert form == PromptForm(len(recording.speech), ())


def test_a_long_recording_is_cut_at_a_pause_with_its_text() -> None:
    recording = Recording(TEXT)
    pause = TOKENS_PER_ID * len("One two. ")
    form = recording.check(max_prompt_seconds=1.0, max_prompt_end_nll=2.5)(TEXT, recording.speech, [5, pause, 60])
    assert form == PromptForm(pause, code_points("One two. "))


def test_a_long_recording_whose_text_cannot_be_told_gives_timbre_only() -> None:
    recording = Recording(TEXT)
    form = recording.check(max_prompt_seconds=1.0, max_prompt_end_nll=2.5)("one long clause", recording.speech, [17])
    assert form == PromptForm(17, ())


def test_a_transcript_far_too_long_is_not_scored() -> None:
    recording = Recording("Hello.")
    form = recording.check(min_prompt_ratio=0.8, max_prompt_nll=2.5)("word " * 1000, recording.speech, [])
    assert form == PromptForm(len(recording.speech), ())
    assert recording.scored == 0


@given(st.text("ab .,", max_size=300), st.integers(1, 900), st.lists(st.integers(1, 900), max_size=20))
def test_whatever_comes_a_form_lies_within_it(transcript: str, tokens: int, pauses: list[int]) -> None:
    """No more tokens than there are, within the longest prompt, and a bounded number of passes through the model."""
    recording = Recording("")
    check = recording.check(max_prompt_seconds=8.0, max_prompt_end_nll=2.5, min_prompt_ratio=0.8)
    form = check(transcript, list(range(tokens)), sorted({p for p in pauses if p < tokens}))
    assert 1 <= form.tokens <= min(tokens, 200)
    assert recording.scored <= MAX_FORMS + 1
