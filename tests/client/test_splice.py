"""Whatever pieces a segment comes in, and wherever its tries break off, each sample is heard once."""

from __future__ import annotations

import numpy as np
import pytest
from glmtts_client.splice import FADE_SECONDS, SEARCH_SECONDS, Samples, Splicer, cross_fade, nearest_silence, rms
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 8000
RESERVED = round(FADE_SECONDS * RATE)
REACHED = round(SEARCH_SECONDS * RATE)


def speech(seconds: float, seed: int = 0, *, pause: float = 0.1) -> Samples:
    """Noisy syllables of 0.15 s with silences of `pause` s between."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    loud = (time % (0.15 + pause)) < 0.15
    return (8000 * loud * rng.uniform(-1, 1, len(time))).astype(np.int16)


def cut(samples: Samples, sizes: list[int]) -> list[bytes]:
    """The samples' bytes in pieces of those sizes, over and over."""
    data, pieces, number = samples.astype("<i2").tobytes(), [], 0
    while data:
        size = sizes[number % len(sizes)]
        pieces.append(data[:size])
        data, number = data[size:], number + 1
    return pieces


def heard(splice: Splicer, tries: list[list[bytes]]) -> Samples:
    """What comes out when all tries but the last break off after their pieces."""
    out = b""
    for number, pieces in enumerate(tries):
        if number:
            splice.restart()
        for piece in pieces:
            out += splice.feed(piece)
    out += splice.end()
    assert splice.end() == b""
    return np.frombuffer(out, "<i2").astype(np.int16)


SIZES = st.lists(st.integers(301, 3000), min_size=1, max_size=4)


@given(st.floats(0, 2), SIZES)
def test_an_undisturbed_segment_passes_unchanged(seconds: float, sizes: list[int]) -> None:
    """In whatever pieces it comes, odd numbers of bytes included; at most a moment is held back."""
    whole, splice = speech(seconds), Splicer(RATE)
    fed = out = 0
    for piece in cut(whole, sizes):
        fed, out = fed + len(piece), out + len(splice.feed(piece))
        assert out // 2 == max(0, fed // 2 - RESERVED)
    assert out + len(splice.end()) == 2 * len(whole)
    assert np.array_equal(heard(Splicer(RATE), [cut(whole, sizes)]), whole)
    assert splice.joins == []


@settings(deadline=None)
@given(st.floats(0.1, 2), st.lists(st.tuples(st.floats(0, 1), SIZES), min_size=1, max_size=4), SIZES)
def test_tries_that_sound_the_same_leave_no_trace(
    seconds: float, broken: list[tuple[float, list[int]]], sizes: list[int]
) -> None:
    """However often and wherever it breaks off, also before the last break: the very samples, none twice, none lost."""
    whole = speech(seconds)
    tries = [cut(whole[: int(share * len(whole))], pieces) for share, pieces in broken]
    splice = Splicer(RATE)
    assert np.array_equal(heard(splice, [*tries, cut(whole, sizes)]), whole)
    assert all(join.seamless and join.shift_seconds == 0 for join in splice.joins)


@settings(deadline=None)
@given(st.floats(0.3, 2), st.floats(0.05, 1), SIZES, SIZES)
def test_other_sums_are_the_same_sound(seconds: float, share: float, first: list[int], second: list[int]) -> None:
    """Differences far below the sound, as between devices, are joined in place: no sample more or less."""
    one = speech(seconds)
    noise = np.random.default_rng(1).integers(-3, 4, len(one))
    other = np.clip(one + noise, -32768, 32767).astype(np.int16)
    broken = one[: int(share * len(one))]
    splice = Splicer(RATE)
    out = heard(splice, [cut(broken, first), cut(other, second)])
    assert len(out) == len(one)
    assert np.abs(out.astype(int) - one).max() <= 3
    assert all(join.seamless for join in splice.joins)


@settings(deadline=None)
@given(st.floats(1, 3), st.floats(0.1, 0.95), st.floats(0.8, 1.25), SIZES, SIZES)
def test_another_sound_is_joined_at_the_nearest_silence(
    seconds: float, share: float, drift: float, first: list[int], second: list[int]
) -> None:
    """What was heard stays; the rest is the other's from a silence on, at most half a second off; and it is said."""
    one, other = speech(seconds), speech(seconds * drift, seed=1)
    broken = one[: int(share * len(one))]
    place = max(0, len(broken) - RESERVED)
    splice = Splicer(RATE)
    out = heard(splice, [cut(broken, first), cut(other, second)])
    [join] = splice.joins
    start = place + round(join.shift_seconds * RATE)
    assert not join.seamless
    assert join.at_seconds == pytest.approx(place / RATE)
    assert abs(join.shift_seconds) <= SEARCH_SECONDS or start == len(other)
    assert np.array_equal(out[:place], one[:place])
    assert np.array_equal(out[place + RESERVED :], other[start + RESERVED :])
    if start < len(other) - RESERVED and place + RESERVED < len(other):
        assert rms(other[start : start + RESERVED]) < 0.2 * rms(other)


def test_where_the_other_ends_sooner_nothing_is_left_but_a_fade() -> None:
    """What was heard of a longer one cannot be taken back; its last moment fades out."""
    one, other = speech(2.0), speech(0.5, seed=1)
    splice = Splicer(RATE)
    out = heard(splice, [cut(one, [1000]), cut(other, [1000])])
    assert len(out) == len(one)
    assert rms(out[-20:]) <= rms(one[-20:])


def test_a_complete_segment_is_not_heard_again() -> None:
    """When only what comes after it was lost, a further try is silent."""
    whole, splice = speech(0.5), Splicer(RATE)
    assert np.array_equal(heard(splice, [cut(whole, [1000])]), whole)
    splice.restart()
    assert splice.feed(whole.tobytes()) == splice.end() == b""
    assert splice.joins == []


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_a_fade_between_equals_changes_nothing(values: list[int]) -> None:
    """And between others stays between them."""
    samples = np.array(values, np.int16)
    assert np.array_equal(cross_fade(samples, samples), samples)
    zeros = np.zeros(len(samples), np.int16)
    assert (np.abs(cross_fade(samples, zeros).astype(int)) <= np.abs(samples.astype(int))).all()


@given(st.floats(0, 2), st.integers(0, 20000), st.floats(0, 0.3))
def test_the_place_of_a_join_is_in_the_track(seconds: float, place: int, pause: float) -> None:
    """Never outside of it, nor further away than the reach but at its end; a pause within reach is found."""
    track = speech(seconds, pause=pause)
    start = nearest_silence(track, place, REACHED, RESERVED)
    assert 0 <= start <= len(track)
    assert abs(start - place) <= REACHED or start == len(track)
