"""Stored voices on disk, and a cache of what the engine made of recordings.

A stored voice is a directory `<voice>/` with `voice.json` = {"name", "language", "transcripts": {style: text},
"default_style"} and one recording `<style>.flac` a style. Knows nothing about HTTP or about what a Voice holds.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmtts.errors import UnsupportedError
from server.errors import ApiError

if TYPE_CHECKING:  # glmtts.voice imports torch, which this package does without
    from glmtts.voice.voice import Voice


@dataclass(frozen=True)
class StoredVoice:
    """One voice on disk; `transcripts` maps each style to what is said in its recording."""

    name: str
    language: str
    transcripts: dict[str, str]
    default_style: str
    path: Path

    def recording(self, style: str | None) -> tuple[bytes, str, str]:
        """(encoded recording, transcript, style). An explicit style that the voice lacks: UnsupportedError."""
        if style is not None and style not in self.transcripts:
            raise UnsupportedError(
                f"style: came {style!r}; voice {self.name} has {', '.join(sorted(self.transcripts))}", field="style"
            )
        if style is None:
            style = self.default_style if self.default_style in self.transcripts else next(iter(self.transcripts))
        return (self.path / f"{style}.flac").read_bytes(), self.transcripts[style], style


class VoiceStore:
    """The stored voices under one directory, read afresh at every question: there are few, and they may change."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[StoredVoice]:
        """Every well-formed voice, by name."""
        paths = sorted(self._directory.glob("*/voice.json"))
        return [voice for path in paths if (voice := _read(path)) is not None]

    def get(self, name: str) -> StoredVoice:
        """The voice of that name; ApiError 404 naming those there are."""
        voices = {voice.name: voice for voice in self.all()}
        if name not in voices:
            there = ", ".join(voices) or "none"
            raise ApiError(404, "unknown_voice", f"voice: came {name!r}; stored are: {there}", field="voice")
        return voices[name]


def _read(path: Path) -> StoredVoice | None:
    """A voice whose description cannot be read, or that has no recording, is as good as not there."""
    try:
        described = json.loads(path.read_text("utf-8"))
        transcripts = {
            style: text for style, text in described["transcripts"].items() if (path.parent / f"{style}.flac").is_file()
        }
        default = described.get("default_style", "")
        voice = StoredVoice(path.parent.name, str(described["language"]), transcripts, default, path.parent)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return voice if transcripts else None


class VoiceCache:
    """Prepared voices by content, the least recently used dropped first; bounded by number and by bytes.

    Two requests that bring the same recording at once share one preparation.
    """

    def __init__(self, make: Callable[[bytes, str], Voice], *, items: int, size: int) -> None:
        self._make = make
        self._items = items
        self._size = size
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, Future[Voice]] = OrderedDict()

    def get(self, recording: bytes, transcript: str) -> Voice:
        """The voice of this recording; whatever `make` raises, which is not remembered."""
        key = hashlib.sha256(hashlib.sha256(recording).digest() + transcript.encode()).digest()
        with self._lock:
            future = self._held.get(key)
            ours = future is None
            if future is None:
                future = self._held[key] = Future()
            self._held.move_to_end(key)
        if ours:
            self._prepare(key, future, recording, transcript)
        return future.result()

    def _prepare(self, key: bytes, future: Future[Voice], recording: bytes, transcript: str) -> None:
        try:
            future.set_result(self._make(recording, transcript))
        except BaseException as error:
            with self._lock:
                self._held.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            self._shrink()

    def _shrink(self) -> None:
        done = [key for key, future in self._held.items() if future.done()]
        total = sum(nbytes(self._held[key].result()) for key in done)
        # The newest stays even if it alone is too large: it is about to be used.
        for key in done[:-1]:
            if len(self._held) <= self._items and total <= self._size:
                return
            total -= nbytes(self._held.pop(key).result())


def nbytes(value: Any) -> int:
    """Memory of the arrays in a dataclass, a dictionary or a bare array, in bytes."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, dict):
        return sum(nbytes(item) for item in value.values())
    if hasattr(value, "__dataclass_fields__"):
        return sum(nbytes(getattr(value, field.name)) for field in fields(value))
    return 8 * len(value) if isinstance(value, tuple) else 0
