"""Subtitles of speech, one cue a segment: WebVTT (https://www.w3.org/TR/webvtt1/) or SubRip."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path

from glmtts_client.speech import TimedText

SUFFIXES = (".vtt", ".srt")

_MARKUP = re.compile(r"<[^<>]*>")


def subtitles(cues: Iterable[TimedText], suffix: str) -> str:
    """The text of a file with this suffix, one of SUFFIXES."""
    texts = [(cue, _plain(cue.text)) for cue in cues]
    if suffix == ".vtt":
        blocks = [f"{_times(cue, '.')}\n{html.escape(text, quote=False)}" for cue, text in texts]
        return "\n\n".join(["WEBVTT", *blocks]) + "\n"
    return "\n".join(f"{number}\n{_times(cue, ',')}\n{text}\n" for number, (cue, text) in enumerate(texts, 1))


def write(file: Path, cues: Iterable[TimedText]) -> None:
    """Writes `cues` in the format of the file's suffix."""
    file.write_text(subtitles(cues, file.suffix.lower()), encoding="utf-8")


def _plain(text: str) -> str:
    """Without phonemes and pauses, in one line: an empty line would end the cue."""
    return " ".join(_MARKUP.sub("", text).split())


def _times(cue: TimedText, point: str) -> str:
    return f"{_time(cue.start_seconds, point)} --> {_time(cue.end_seconds, point)}"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
