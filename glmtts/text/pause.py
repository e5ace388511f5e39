"""Silence after a segment, written at the end of its text: `你好。<break time="500ms"/>`."""

from __future__ import annotations

import re

MAX_PAUSE_SECONDS = 10.0
"""The longest silence between two segments."""

_TIME = re.compile(r"(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})(ms|s)")
_BREAK = re.compile(r'<break time="(\d{1,5})ms"/>$')


def parse_time(time: str) -> float | None:
    """Seconds of a time such as "500ms" or "1.5s"; None if it is not one."""
    match = _TIME.fullmatch(time.strip())
    return None if match is None else float(match[1]) / (1000 if match[2] == "ms" else 1)


def with_pause(text: str, seconds: float) -> str:
    """`text` with the silence after it written at its end, in whole milliseconds."""
    return f'{text}<break time="{round(seconds * 1000)}ms"/>' if seconds else text


def split_pause(text: str) -> tuple[str, float]:
    """The inverse of `with_pause`: the text, and the seconds of silence after it, at most MAX_PAUSE_SECONDS."""
    match = _BREAK.search(text)
    if match is None:
        return text, 0.0
    return text[: match.start()], min(MAX_PAUSE_SECONDS, int(match[1]) / 1000)
