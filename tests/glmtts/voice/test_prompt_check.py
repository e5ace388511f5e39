"""Which part of the reference audio and its text may prompt the AR model."""

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


class Audio:
    """Audio of a text with two tokens per id; a text fits if it has as many ids as the tokens say."""

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
    audio = Audio(TEXT)
    assert audio.check()("something else", audio.speech, [10]) == PromptForm(
        len(audio.speech), code_points("something else")
    )
    assert audio.scored == 0


def test_a_text_that_says_more_is_cut_where_the_audio_ends() -> None:
    said = "One two. Three four, "
    audio = Audio(said)
    form = audio.check(max_prompt_end_nll=2.5)(TEXT, audio.speech, [])
    assert form == PromptForm(len(audio.speech), code_points(said))


def test_audio_that_ends_within_a_word_gives_timbre_only() -> None:
    audio = Audio("One two. Three fo")
    form = audio.check(max_prompt_end_nll=2.5)(TEXT, audio.speech, [])
    assert form == PromptForm(len(audio.speech), ())


def test_long_audio_is_cut_at_a_pause_with_its_text() -> None:
    audio = Audio(TEXT)
    pause = TOKENS_PER_ID * len("One two. ")
    form = audio.check(max_prompt_seconds=1.0, max_prompt_end_nll=2.5)(TEXT, audio.speech, [5, pause, 60])
    assert form == PromptForm(pause, code_points("One two. "))


def test_long_audio_of_one_clause_gives_timbre_only() -> None:
    audio = Audio(TEXT)
    form = audio.check(max_prompt_seconds=1.0, max_prompt_end_nll=2.5)("one long clause", audio.speech, [17])
    assert form == PromptForm(17, ())


def test_a_text_far_too_long_is_not_scored() -> None:
    audio = Audio("Hello.")
    form = audio.check(min_prompt_ratio=0.8, max_prompt_nll=2.5)("word " * 1000, audio.speech, [])
    assert form == PromptForm(len(audio.speech), ())
    assert audio.scored == 0


def test_a_text_of_a_thousand_clauses_is_not_read_a_thousand_times() -> None:
    recording = Audio("Hello, hello.")
    texts: list[str] = []

    def prompt_ids(text: str) -> tuple[int, ...]:
        texts.append(text)
        return code_points(text)

    check = PromptCheck(GenerationConfig(min_prompt_ratio=0.8, max_prompt_end_nll=2.5), recording.score, prompt_ids)
    check("word, " * 800, recording.speech, [])
    assert len(texts) <= MAX_FORMS + 1


@given(st.text("ab .,", max_size=300), st.integers(1, 900), st.lists(st.integers(1, 900), max_size=20))
def test_a_form_is_within_the_audio_and_the_limits(reference_text: str, tokens: int, pauses: list[int]) -> None:
    """No more tokens than the audio has or a prompt may have, after a limited number of passes through the model."""
    audio = Audio("")
    check = audio.check(max_prompt_seconds=8.0, max_prompt_end_nll=2.5, min_prompt_ratio=0.8)
    form = check(reference_text, list(range(tokens)), sorted({p for p in pauses if p < tokens}))
    assert 1 <= form.tokens <= min(tokens, 200)
    assert audio.scored <= MAX_FORMS + 1
