"""Text that arrives in pieces, as sentences that can be spoken."""

from __future__ import annotations

import re

_QUOTES = "\"'”’」』）)\\]"
_ABBREVIATION = r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bvs)(?<!\bNo)(?<!\bMrs)(?<!\bProf)(?<!\b[A-Za-z])(?<!\d)"
_END = re.compile(
    rf"[。！？；…]+[{_QUOTES}]*"  # no space follows
    rf"|(?:[!?]|\.{{2,}}|{_ABBREVIATION}\.)[!?.]*[{_QUOTES}]*(?=\s)"
    r"|\d\.(?=\s+[A-Z\"'“‘])"  # the end of a sentence, not a point in a number or a list
    r"|\n+"
)
"""Where a sentence ends. A Latin point ends one only before a space, so that 3.14 and names of files stay whole."""


class SentenceBuffer:
    """Collects text. `take` returns whole sentences, `flush` all there is; both at most `max_chars` at once."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._text = ""

    def __len__(self) -> int:
        return len(self._text)

    def add(self, text: str) -> None:
        """Adds a piece of any length, cut anywhere."""
        self._text += text

    def take(self) -> str:
        """The whole sentences so far, as many as fit; "" if there is none. A text without an end is cut at a space."""
        end = 0
        for match in _END.finditer(self._text, 0, self._max_chars + 1):
            if match.end() <= self._max_chars:
                end = match.end()
        if not end and len(self._text) > self._max_chars:
            return self.flush()
        return self._cut(end)

    def flush(self) -> str:
        """The text so far, whole sentences or not; "" if there is none or only spaces."""
        end = len(self._text)
        if end > self._max_chars:
            space = self._text.rfind(" ", 0, self._max_chars)
            end = space + 1 if space > 0 else self._max_chars
        return self._cut(end)

    def clear(self) -> None:
        self._text = ""

    def _cut(self, end: int) -> str:
        taken, self._text = self._text[:end], self._text[end:]
        return taken if taken.strip() else ""
