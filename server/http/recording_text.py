"""A recording as text, base64 or a `data:` URI, decoded as it comes. No URL or path is ever followed."""

from __future__ import annotations

import base64
import io

from server.http.large_input import LARGE, turn

EXPECTED = "base64, a data: URI or an upload"
MAX_HEAD_CHARS = 1024
"""Of a `data:` URI: its media type."""


class RecordingTextError(ValueError):
    """It is none. `expected` and `got` are what a message says."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


class RecordingDecoder:
    """Takes the text in parts of any length. White space is left out."""

    def __init__(self) -> None:
        self._decoded = io.BytesIO()  # grows without being copied
        self._rest = ""
        self._has_begun = False

    def add(self, text: str) -> None:
        """RecordingTextError: it can't be a part."""
        self._rest += text
        if self._has_begun or len(self._rest) >= MAX_HEAD_CHARS:
            self._decode_groups()

    def finish(self) -> bytes:
        """The recording. RecordingTextError: the end of the text is missing."""
        self._decode_groups()
        self._decode(self._rest)
        return self._decoded.getvalue()

    def _decode_groups(self) -> None:
        """Decodes all but the last group, which alone may be padded."""
        if not self._has_begun:
            self._has_begun = True
            self._rest = _without_head(self._rest)
        text = "".join(self._rest.split())
        end = (len(text) - 1) // 4 * 4 if text else 0
        if "=" in text[:end]:
            raise RecordingTextError(EXPECTED, "invalid base64 (Excess data after padding)")
        self._decode(text[:end])
        self._rest = text[end:]

    def _decode(self, text: str) -> None:
        try:
            self._decoded.write(base64.b64decode(text, validate=True))
        except ValueError as error:
            raise RecordingTextError(EXPECTED, f"invalid base64 ({error})") from None


def _without_head(text: str) -> str:
    head, comma, data = text.partition(",")
    if comma and head.startswith("data:"):
        if not head.endswith(";base64"):
            raise RecordingTextError("a data: URI in base64", "one without ;base64")
        return data
    if "://" in text[:16]:
        raise RecordingTextError("the audio itself", "a URL")
    return text


def decode_recording(text: str) -> bytes:
    """The recording in a text. RecordingTextError."""
    decoder = RecordingDecoder()
    with turn(len(text)):
        for start in range(0, len(text), LARGE):
            decoder.add(text[start : start + LARGE])
        return decoder.finish()
