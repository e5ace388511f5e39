"""The prompt's layout and the length it allows."""

from __future__ import annotations

import pytest

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.llm.prompt import LengthBounds, SpecialIds, length_bounds, prompt_layout

SPECIAL = SpecialIds(ats=60, ate=159, boa=50, eoa=51, pad=52)


def test_layout() -> None:
    """Reference text, text, begin of audio, then speech tokens as ids."""
    assert prompt_layout([1, 2], [3], [0, 99], SPECIAL) == (1, 2, 3, 50, 60, 159)
    assert prompt_layout([], [3, 4], [], SPECIAL) == (3, 4, 50)
    assert prompt_layout([1], [3], [], SPECIAL) == (1, 3, 50)


def test_speech_is_shifted_only_beside_a_transcript() -> None:
    """As in the published code, speech tokens without a reference text are not shifted."""
    assert prompt_layout([], [3], [7], SPECIAL) == (3, 50, 7)


@pytest.mark.parametrize(
    ("text_ids", "generation", "expected"),
    [
        (4, GenerationConfig(), LengthBounds(8, 80)),
        (7, GenerationConfig(min_ratio=0.5, max_ratio=2.9), LengthBounds(3, 20)),
        (1, GenerationConfig(min_ratio=0.5, max_ratio=0.5), LengthBounds(0, 1)),
        (3, GenerationConfig(min_ratio=4.0, max_ratio=2.0), LengthBounds(12, 12)),
        (3, GenerationConfig(tokens_per_id=2.0, base_tokens=1.5, max_redraw_tokens=15), LengthBounds(6, 15)),
        (3, GenerationConfig(tokens_per_id=2.0, base_tokens=1.5, max_redraw_tokens=14), LengthBounds(6, 60)),
        (3, GenerationConfig(tokens_per_id=0.5), LengthBounds(6, 6)),
    ],
)
def test_bounds(text_ids: int, generation: GenerationConfig, expected: LengthBounds) -> None:
    """Ratio × text ids, rounded down; the maximum is at least 1 and at least the minimum."""
    assert length_bounds(text_ids, generation) == expected


@pytest.mark.parametrize(("weight", "minimum"), [(0.0, 5), (1.0, 5), (2.5, 9), (60.0, 234)])
def test_a_segment_is_as_long_as_it_weighs(weight: float, minimum: int) -> None:
    """So that its end is not drawn where a clause of it ends; the maximum gives way."""
    generation = GenerationConfig(min_ratio=0.5, max_ratio=8, min_tokens=5, min_tokens_per_weight=3.9)
    assert length_bounds(8, generation, weight) == LengthBounds(minimum, max(64, minimum))


def test_special_ids_know_the_speech_range() -> None:
    """The number of speech tokens and the largest id follow from the ids."""
    assert SPECIAL.speech_tokens == 100
    assert SPECIAL.largest == 159
    assert SpecialIds(ats=0, ate=9, boa=20, eoa=10, pad=11).largest == 20


@pytest.mark.parametrize(
    "ids",
    [{"ats": 160}, {"boa": 60}, {"eoa": 159}, {"pad": 100}],
    ids=lambda ids: next(iter(ids)),
)
def test_impossible_special_ids_are_refused(ids: dict[str, int]) -> None:
    """A speech range that is empty, or contains another special id, is a CheckpointError."""
    fields = {"ats": 60, "ate": 159, "boa": 50, "eoa": 51, "pad": 52}
    with pytest.raises(CheckpointError, match="speech ids"):
        SpecialIds(**(fields | ids))
