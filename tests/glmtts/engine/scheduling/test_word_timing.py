"""From the tokens of words to seconds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.engine.api import SegmentTiming, WordTiming
from glmtts.engine.scheduling.word_timing import frames_with_sound, word_timings
from glmtts.text.frontend.frontend import Segment
from glmtts.text.frontend.words import WordSpan

RATE = 24000


def segment(*spans: tuple[int, int], exact: bool = True, ids: int = 10) -> Segment:
    words = tuple(WordSpan(f"word{number}", *span, exact) for number, span in enumerate(spans))
    return Segment(0, "…", tuple(range(ids)), words=words)


def test_a_word_has_the_tokens_of_its_ids() -> None:
    """Ten tokens in four seconds; id 2 has none, so the word that is only id 2 has no length."""
    alignment = [0, 0, 1, 3, 3, 3, 4, 4, 5, 5]
    timings = word_timings(segment((0, 2), (2, 3), (3, 5), ids=6), alignment, 1.0, 5.0)
    times = [(round(word.start_seconds, 3), round(word.end_seconds, 3)) for word in timings]
    assert times == [(1.0, 2.2), (2.2, 2.2), (2.2, 4.2)]
    assert not any(word.estimated for word in timings)


def test_without_an_alignment_words_are_spread() -> None:
    """Over the time from the onset to the end, by their ids."""
    [first, second] = word_timings(segment((0, 5), (5, 10)), None, 0.0, 3.0, [1.0])
    assert (first.start_seconds, first.end_seconds) == (1.0, 2.0)
    assert (second.start_seconds, second.end_seconds) == (2.0, 3.0)
    assert first.estimated
    assert second.estimated


def test_words_whose_ids_are_guessed_are_estimated() -> None:
    [word] = word_timings(segment((0, 5), exact=False), [0] * 10, 0.0, 1.0)
    assert word.estimated


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.floats(0, 1), st.booleans())
def test_words_are_in_order_within_the_segment(tokens: list[int], onset: float, aligned: bool) -> None:
    """None begins before the sound, ends before it begins, or overlaps the next one."""
    words = segment((0, 3), (3, 4), (4, 7), (8, 10))
    timings = word_timings(words, sorted(tokens) if aligned else None, 2.0, 4.0, [2.0 + onset, 3.5])
    borders = [border for word in timings for border in (word.start_seconds, word.end_seconds)]
    assert borders == sorted(borders)
    assert 2.0 + onset <= borders[0]
    assert borders[-1] <= 4.0


@pytest.mark.parametrize("silence", [0.0, 0.1, 0.5])
def test_the_onset_is_where_the_sound_begins(silence: float) -> None:
    """To a frame of 10 ms; faint noise is no sound."""
    rng = np.random.default_rng(0)
    wave = np.concatenate([1e-3 * rng.standard_normal(round(silence * RATE)), rng.standard_normal(RATE)])
    sound = frames_with_sound(wave.astype(np.float32), RATE)
    assert abs(sound[0] - silence) <= 0.01
    assert len(sound) == pytest.approx(100, abs=1)
    assert frames_with_sound(wave[: round(silence * RATE)].astype(np.float32), RATE) == []


@pytest.mark.parametrize(("silence", "begins"), [(0.05, 1.0), (0.3, 1.3)])
def test_a_word_begins_after_a_pause(silence: float, begins: float) -> None:
    """Whose tokens are those of the word; a stop's closure is no pause."""
    sound = [0.01 * frame for frame in range(200) if not 1.0 <= 0.01 * frame < 1.0 + silence]
    [_, word] = word_timings(segment((0, 5), (5, 10)), [0] * 25 + [5] * 25, 0.0, 2.0, sound)
    assert word.start_seconds == pytest.approx(begins)
    assert word.end_seconds == 2.0


def test_words_beyond_what_is_certain_are_estimated() -> None:
    """A word that ends there is not."""
    words = word_timings(segment((0, 3), (3, 6), (5, 8)), [0] * 10, 0.0, 1.0, certain_ids=6)
    assert [word.estimated for word in words] == [False, False, True]


def test_a_timing_moves_with_its_words() -> None:
    """By the length of what is put before the audio."""
    moved = SegmentTiming(0, "a", 0.5, 2.0, (WordTiming("a", 0.5, 1.0, estimated=False),)).later(1.5)
    assert (moved.start_seconds, moved.end_seconds) == (2.0, 3.5)
    assert (moved.words[0].start_seconds, moved.words[0].end_seconds) == (2.0, 2.5)
