"""Texts that are too long for one request: cut at sentence ends, and the parts' speech joined."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from glmtts_client.errors import ClientError, ResponseError
from glmtts_client.speech import Speech, TimedText

T = TypeVar("T")
JOINABLE = ("wav", "pcm", "mp3", "aac")
"""Formats whose files can be joined."""

_ENDS = (
    re.compile(r"[。！？；…]+[”’」』）】]*|[.!?;]+[\"')\]”’]*(?=\s)|\n"),  # of sentences
    re.compile(r"[，、：]|[,:](?=\s)"),
    re.compile(r"\s"),
)

_SSML = re.compile(r"\s*(?:<\?xml[^<>]*>\s*)?<speak[\s/>]")


def split(text: str, limit: int) -> list[str]:
    """Parts of at most `limit` characters; joined they are the text.

    A part ends behind a sentence if one ends in its second half, else behind a comma, a space, or the last character
    that fits.
    """
    parts: list[str] = []
    start = 0
    while len(text) - start > limit:
        end = start + _last_end(text[start : start + limit + 1], limit)
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]


def _last_end(window: str, limit: int) -> int:
    """Where to cut a text that begins with `window`, which has one character more than fits."""
    for pattern in _ENDS:
        end = max((match.end() for match in pattern.finditer(window) if match.end() <= limit), default=0)
        if end > limit // 2:
            return end
    return limit


def for_each_part(text: str, limit: int, process: Callable[[str], T]) -> Iterator[tuple[str, T | None]]:
    """Each part of a text with its result; None for a part with nothing to say, or all of it in another language.

    Raises what `process` raises, its last error if there is no part with a result, and ClientError for SSML, which
    cannot be cut.
    """
    if _SSML.match(text):
        raise ClientError(f"text: expected SSML of at most {limit} characters, got {len(text)}")
    unspoken: ResponseError | None = None
    results = 0
    for part in split(text, limit):
        try:
            result = process(part) if any(map(str.isalnum, part)) else None
        except ResponseError as error:
            if error.code != "unsupported_language":
                raise
            result, unspoken = None, error
        results += result is not None
        yield part, result
    if not results and unspoken is not None:
        raise unspoken


def check_joinable(file_format: str) -> None:
    """Raises ClientError if files of this format cannot be joined."""
    if file_format not in JOINABLE:
        expected = f"{', '.join(JOINABLE[:-1])} or {JOINABLE[-1]}"
        raise ClientError(f"format: expected {expected} for a text that takes several requests, got {file_format}")


def join(parts: Sequence[tuple[str, Speech | None]]) -> Speech:
    """One speech of the parts of a text, at least one of which was spoken. The node and ids are the last one's."""
    speeches = [speech for _, speech in parts if speech is not None]
    unspoken = sum(char.isalnum() for part, speech in parts if speech is None for char in part)
    return replace(
        speeches[-1],
        audio=_join_audio(speeches),
        audio_seconds=sum(speech.audio_seconds for speech in speeches),
        elapsed_seconds=sum(speech.elapsed_seconds for speech in speeches),
        finish_reason=next((speech.finish_reason for speech in speeches if speech.finish_reason != "stop"), "stop"),
        attempts=sum(speech.attempts for speech in speeches),
        skipped_characters=unspoken + sum(speech.skipped_characters for speech in speeches),
        timing=tuple(_timing(speeches)),
    )


def _timing(speeches: Sequence[Speech]) -> Iterator[TimedText]:
    start = 0.0
    for speech in speeches:
        yield from (segment.later(start) for segment in speech.timing)
        start += speech.audio_seconds


def _join_audio(speeches: Sequence[Speech]) -> bytes:
    if speeches[0].format != "wav":
        return b"".join(speech.audio for speech in speeches)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as joined:
        for index, speech in enumerate(speeches):
            with wave.open(io.BytesIO(speech.audio)) as part:
                if index == 0:
                    joined.setparams(part.getparams())
                joined.writeframes(part.readframes(part.getnframes()))
    return buffer.getvalue()
