"""Which segments prompt the next one, which are dropped, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.config import GenerationConfig
from glmtts.errors import InputError, TextError
from glmtts.models.llm.history import History, check_history
from glmtts.models.llm.prompt import LengthBounds

OFFICIAL = GenerationConfig()


def ids(count: int, value: int) -> tuple[int, ...]:
    return (value,) * count


def test_a_segment_is_prompted_with_the_voice_and_all_earlier_ones() -> None:
    """Texts and speech tokens of the voice and of finished segments are in order."""
    history = History((1, 2), (3, 4, 5), OFFICIAL)
    history.add((6,), (7, 8))
    prompt = history.prompt((9, 9))
    assert (prompt.text, prompt.speech) == ((1, 2, 6), (3, 4, 5, 7, 8))
    assert prompt.bounds == LengthBounds(4, 40)


def test_without_history_the_voice_alone_prompts() -> None:
    """Finished segments are not kept."""
    history = History((1,), (2,), OFFICIAL, enabled=False)
    history.add((6,), (7,))
    assert (history.prompt((9,)).text, history.prompt((9,)).speech) == ((1,), (2,))


def test_a_voice_without_transcript_gives_no_speech_prompt() -> None:
    """Speech without its text is no prompt, but earlier segments are one."""
    history = History((), (2, 3), OFFICIAL)
    assert history.prompt((9,)).speech == ()
    history.add((6,), (7,))
    assert (history.prompt((9,)).text, history.prompt((9,)).speech) == ((6,), (7,))


def test_a_speaker_s_ids_come_first_and_take_room() -> None:
    """Before the voice's text, whatever else is dropped; they are no transcript, so they bring no speech prompt."""
    history = History((1, 2), (3, 4, 5), OFFICIAL, speaker=(7, 8), max_positions=40)
    history.add((6,), (7, 8))
    prompt = history.prompt((9,))
    assert (prompt.text, prompt.speech) == ((7, 8, 1, 2, 6), (3, 4, 5, 7, 8))
    alone = History((1, 2), (3, 4, 5), OFFICIAL, speaker=(7, 8), max_positions=40)
    assert alone.prompt((9, 9)).bounds.maximum == 40 - 2 - 5 - 2 - 1
    assert History((), (2, 3), OFFICIAL, speaker=(7,)).prompt((9,)).speech == ()


def test_an_empty_segment_leaves_no_trace() -> None:
    """A segment without speech tokens does not prompt the next one."""
    history = History((1,), (2,), OFFICIAL)
    history.add((6,), ())
    assert history.prompt((9,)).text == (1,)


@pytest.mark.parametrize(("new", "kept"), [(30, 2), (31, 1), (54, 1), (55, 0), (90, 0)])
def test_the_oldest_are_dropped_beyond_750_tokens(new: int, kept: int) -> None:
    """Oldest first, the voice never: while speech tokens + int(ratio × new ids), ratio before dropping, exceed 750."""
    history = History(ids(10, 0), ids(100, 0), OFFICIAL, max_positions=10**6)
    history.add(ids(25, 1), ids(200, 1))
    history.add(ids(25, 2), ids(200, 2))
    ratio = 500 / 60
    texts = history.prompt(ids(new, 9)).text
    assert len(texts) == 10 + 25 * kept
    assert texts[10:] == ids(25, 1)[: 25 * (kept > 1)] + ids(25, 2)[: 25 * (kept > 0)]
    total = 100 + 200 * kept + int(ratio * new)
    assert total <= 750 or kept == 0
    assert kept == 2 or total + 200 > 750


def test_what_is_dropped_stays_dropped() -> None:
    """A later, shorter segment is not prompted with a dropped one."""
    history = History((1,), (1,), OFFICIAL, max_positions=10**6)
    history.add(ids(10, 6), ids(400, 6))
    assert 6 not in history.prompt(ids(50, 9)).text
    assert 6 not in history.prompt((9,)).text


def test_history_makes_room_for_the_segment() -> None:
    """Earlier segments are dropped while the new one, at its maximum length, does not fit beside them."""
    history = History((1,), (1,), OFFICIAL, max_positions=300)
    history.add(ids(10, 6), ids(100, 6))
    assert 6 in history.prompt(ids(8, 9)).text  # 2 + 110 + 8 + 1 + 160 = 281
    assert 6 not in history.prompt(ids(9, 9)).text  # 302


def test_the_maximum_is_limited_to_the_positions_left() -> None:
    """After a long voice prompt a segment may take the positions that are left; fewer than its minimum is an error."""
    history = History(ids(100, 1), ids(150, 1), OFFICIAL, max_positions=300)
    assert history.prompt(ids(10, 9)).bounds == LengthBounds(20, 39)
    with pytest.raises(TextError, match="shorter"):
        history.prompt(ids(20, 9))


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 300)), min_size=1, max_size=8), st.integers(0, 7))
def test_a_history_continues_from_the_segments_of_another(segments: list[tuple[int, int]], cut: int) -> None:
    """Handed over at any segment, by `segments` alone, later prompts are the same."""

    def fresh() -> History:
        return History(ids(10, 0), ids(90, 0), OFFICIAL)

    whole, handed = fresh(), fresh()
    for number, (text, speech) in enumerate(segments):
        if number == cut:
            taken = handed.segments
            handed = fresh()
            for spoken in taken:
                handed.add(*spoken)
        assert handed.prompt(ids(text, number)) == whole.prompt(ids(text, number))
        whole.add(ids(text, number), ids(speech, number))
        handed.add(ids(text, number), ids(speech, number))
    assert handed.segments == whole.segments


@pytest.mark.parametrize("spoken", [((5,), (3,)), ((-1,), ()), ((0, 4), (2, -1))])
def test_ids_that_the_model_does_not_have_are_refused(spoken: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Clients send them, and an embedding has no row for them."""
    check_history([((0, 4), (0, 2)), ((), ())], vocabulary=5, speech_tokens=3)
    with pytest.raises(InputError, match=r"expected (text ids|speech tokens) 0 to") as caught:
        check_history([((1,), (1,)), spoken], vocabulary=5, speech_tokens=3)
    assert caught.value.field == "continuation"
