"""For any chunk sizes and any points of failure, each sample is heard once."""

from __future__ import annotations

import numpy as np
import pytest
from glmtts_client.splice import FADE_SECONDS, SEARCH_SECONDS, Samples, Splicer, cross_fade, nearest_silence, rms
from hypothesis import given
from hypothesis import strategies as st

RATE = 8000
FADE = round(FADE_SECONDS * RATE)
SEARCH = round(SEARCH_SECONDS * RATE)


def speech(seconds: float, seed: int = 0, *, pause: float = 0.1) -> Samples:
    """Noise bursts of 0.15 s, `pause` s of silence after each."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    loud = (time % (0.15 + pause)) < 0.15
    return (8000 * loud * rng.uniform(-1, 1, len(time))).astype(np.int16)


def cut(samples: Samples, sizes: list[int]) -> list[bytes]:
    """The samples' bytes in chunks of those sizes, repeatedly."""
    data, chunks, number = samples.astype("<i2").tobytes(), [], 0
    while data:
        size = sizes[number % len(sizes)]
        chunks.append(data[:size])
        data, number = data[size:], number + 1
    return chunks


def spliced(splicer: Splicer, attempts: list[list[bytes]]) -> Samples:
    """The output when every attempt but the last fails after its chunks."""
    out = b""
    for number, chunks in enumerate(attempts):
        if number:
            splicer.restart()
        for chunk in chunks:
            out += splicer.feed(chunk)
    out += splicer.finish()
    assert splicer.finish() == b""
    return np.frombuffer(out, "<i2").astype(np.int16)


SIZES = st.lists(st.integers(301, 3000), min_size=1, max_size=4)


@given(st.floats(0, 2), SIZES)
def test_a_single_attempt_passes_unchanged(seconds: float, sizes: list[int]) -> None:
    """Also with odd numbers of bytes; only the length of a fade is held back."""
    whole, splicer = speech(seconds), Splicer(RATE)
    fed = out = 0
    for chunk in cut(whole, sizes):
        fed, out = fed + len(chunk), out + len(splicer.feed(chunk))
        assert out // 2 == max(0, fed // 2 - FADE)
    assert out + len(splicer.finish()) == 2 * len(whole)
    assert np.array_equal(spliced(Splicer(RATE), [cut(whole, sizes)]), whole)
    assert splicer.points == []


@given(st.floats(0.1, 2), st.lists(st.tuples(st.floats(0, 1), SIZES), min_size=1, max_size=4), SIZES)
def test_equal_attempts_are_seamless(seconds: float, broken: list[tuple[float, list[int]]], sizes: list[int]) -> None:
    """Wherever and however often attempts fail, the output is exactly the samples."""
    whole = speech(seconds)
    attempts = [cut(whole[: int(share * len(whole))], chunks) for share, chunks in broken]
    splicer = Splicer(RATE)
    assert np.array_equal(spliced(splicer, [*attempts, cut(whole, sizes)]), whole)
    assert all(point.seamless and point.shift_seconds == 0 for point in splicer.points)


@given(st.floats(0.3, 2), st.floats(0.05, 1), SIZES, SIZES)
def test_rounding_differences_are_seamless(seconds: float, share: float, first: list[int], second: list[int]) -> None:
    """Attempts that differ only by rounding, as between devices, are spliced without a shift."""
    one = speech(seconds)
    noise = np.random.default_rng(1).integers(-3, 4, len(one))
    other = np.clip(one + noise, -32768, 32767).astype(np.int16)
    broken = one[: int(share * len(one))]
    splicer = Splicer(RATE)
    out = spliced(splicer, [cut(broken, first), cut(other, second)])
    assert len(out) == len(one)
    assert np.abs(out.astype(int) - one).max() <= 3
    assert all(point.seamless for point in splicer.points)


@given(st.floats(1, 3), st.floats(0.1, 0.95), st.floats(0.8, 1.25), SIZES, SIZES)
def test_other_audio_is_spliced_at_the_nearest_silence(
    seconds: float, share: float, drift: float, first: list[int], second: list[int]
) -> None:
    """The second attempt takes over at a silence at most half a second away, and the splice point is reported."""
    one, other = speech(seconds), speech(seconds * drift, seed=1)
    broken = one[: int(share * len(one))]
    position = max(0, len(broken) - FADE)
    splicer = Splicer(RATE)
    out = spliced(splicer, [cut(broken, first), cut(other, second)])
    [point] = splicer.points
    start = position + round(point.shift_seconds * RATE)
    assert not point.seamless
    assert point.at_seconds == pytest.approx(position / RATE)
    assert abs(point.shift_seconds) <= SEARCH_SECONDS or start == len(other)
    assert np.array_equal(out[:position], one[:position])
    assert np.array_equal(out[position + FADE :], other[start + FADE :])
    if start < len(other) - FADE and position + FADE < len(other):
        assert rms(other[start : start + FADE]) < 0.2 * rms(other)


def test_a_shorter_attempt_fades_out() -> None:
    """If the second attempt ends before the point of failure, the first one fades out."""
    one, other = speech(2.0), speech(0.5, seed=1)
    splicer = Splicer(RATE)
    out = spliced(splicer, [cut(one, [1000]), cut(other, [1000])])
    assert len(out) == len(one)
    assert rms(out[-20:]) <= rms(one[-20:])


def test_a_complete_segment_is_not_repeated() -> None:
    """A further attempt after `finish` gives no samples."""
    whole, splicer = speech(0.5), Splicer(RATE)
    assert np.array_equal(spliced(splicer, [cut(whole, [1000])]), whole)
    splicer.restart()
    assert splicer.feed(whole.tobytes()) == splicer.finish() == b""
    assert splicer.points == []


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_a_fade_between_equal_samples_changes_nothing(values: list[int]) -> None:
    """A fade to silence never increases a sample."""
    samples = np.array(values, np.int16)
    assert np.array_equal(cross_fade(samples, samples), samples)
    zeros = np.zeros(len(samples), np.int16)
    assert (np.abs(cross_fade(samples, zeros).astype(int)) <= np.abs(samples.astype(int))).all()


@given(st.floats(0, 2), st.integers(0, 20000), st.floats(0, 0.3))
def test_nearest_silence_is_in_the_track(seconds: float, position: int, pause: float) -> None:
    """It is within reach, or at the end of the track."""
    track = speech(seconds, pause=pause)
    start = nearest_silence(track, position, SEARCH, FADE)
    assert 0 <= start <= len(track)
    assert abs(start - position) <= SEARCH or start == len(track)
