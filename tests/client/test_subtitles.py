"""Subtitle files: cues, times and what must not end a cue."""

from __future__ import annotations

import pytest
from glmtts_client.cli.subtitles import subtitles
from glmtts_client.long_text import join
from glmtts_client.speech import Speech, TimedText

CUES = (
    TimedText("Fish & <|ZH|>chips.", 0.0, 1.2345),
    TimedText('你好。<break time="500ms"/>', 59.9996, 3725.5),
    TimedText("a\n\nb", 3725.5, 3726.0),
)


def test_webvtt() -> None:
    """The ampersand is escaped; phonemes, pauses and empty lines are not in a cue; times roll over."""
    assert subtitles(CUES, ".vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.234\nFish &amp; chips.\n\n"
        "00:01:00.000 --> 01:02:05.500\n你好。\n\n01:02:05.500 --> 01:02:06.000\na b\n"
    )


def test_subrip() -> None:
    """Numbered, with commas in the times, and nothing escaped."""
    assert subtitles(CUES, ".srt").split("\n\n")[:2] == [
        "1\n00:00:00,000 --> 00:00:01,234\nFish & chips.",
        "2\n00:01:00,000 --> 01:02:05,500\n你好。",
    ]


def speech(seconds: float, *timing: TimedText) -> Speech:
    return Speech(
        bytes(2 * round(seconds * 24000)), "pcm", 24000, seconds, 0.1, 1, "stop", "http://node", "1", "id", 1, 0, timing
    )


def test_the_parts_of_a_long_text_follow_each_other() -> None:
    """The timing of a part, its words too, begins behind the audio of those before it; unspoken parts have none."""
    word = TimedText("two", 0.25, 0.5)
    parts = [
        ("one.", speech(2.0, TimedText("one.", 0.0, 1.5))),
        ("…", None),
        ("two.", speech(1.0, TimedText("two.", 0.25, 0.75, words=(word,)))),
    ]
    first, second = join(parts).timing
    assert (first.start_seconds, first.end_seconds) == (0.0, 1.5)
    assert (second.start_seconds, second.end_seconds) == (2.25, 2.75)
    assert (second.words[0].start_seconds, second.words[0].end_seconds) == (2.25, 2.5)


@pytest.mark.parametrize("suffix", [".vtt", ".srt"])
def test_without_cues(suffix: str) -> None:
    assert subtitles((), suffix) == ("WEBVTT\n" if suffix == ".vtt" else "")
