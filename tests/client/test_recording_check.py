"""What is found in recordings: those of nano's voices, and the same with something wrong."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from glmtts_client.recording_check import Samples, find_problems, transcript_problem

from tests.helpers.server import ROOT

FILES = sorted((ROOT / "checkpoints" / "nano" / "voices").glob("*/*.flac"))


def read(path: object) -> tuple[Samples, int]:
    samples, rate = soundfile.read(path, dtype="float32")
    return samples, rate


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_problem_is_found_and_no_other(path: object) -> None:
    """Nothing in the recording itself, as loud as it can be or soft, at another rate, or after silence."""
    samples, rate = read(path)
    full = samples / np.abs(samples).max()
    silence = np.zeros(rate * 3, np.float32)
    noise = np.random.default_rng(1).standard_normal(len(samples)).astype(np.float32)
    noise *= np.sqrt(np.mean(np.square(samples)))
    for good in (samples, full, samples * 0.05, samples + 0.03 * noise, np.concatenate([silence, samples, silence])):
        assert find_problems(good, rate) == []
    half = len(samples) // 3
    for bad, problem in (
        (np.clip(full * 1.5, -1, 1), "clipped"),
        (samples + 0.4 * noise, "noisy"),
        (samples * 0.002, "too quiet"),
        (silence, "too quiet"),
        (np.concatenate([samples[:half], silence]), "too short"),
    ):
        [found] = find_problems(bad.astype(np.float32), rate)
        assert found.startswith(problem)


def test_what_the_server_found_of_the_transcript_is_said() -> None:
    """An older server does not say; then nothing is claimed."""
    assert transcript_problem({"prompted": True}, "Hello.") is None
    assert transcript_problem({}, "Hello.") is None
    assert "does not fit" in (transcript_problem({"prompted": False}, "Hello.") or "")
    assert "no transcript" in (transcript_problem({"prompted": False}, "") or "")
