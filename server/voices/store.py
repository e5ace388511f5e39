"""Stored voices on disk.

A stored voice is a directory `<voice>/` with `voice.json` = {"name", "language", "transcripts": {style: text},
"default_style"} and one reference recording `<style>.flac` per style.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from glmtts.errors import UnsupportedError
from server.errors import ApiError

VOICE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""Names of voices and of styles. They become file names: no dot, no slash."""
MAX_STYLES = 64
_NAME = re.compile(VOICE_NAME)


class Reference(NamedTuple):
    """What a voice is cloned from: an encoded recording, the text spoken in it, and the style that it stands for."""

    audio: bytes
    text: str
    style: str


@dataclass(frozen=True)
class StoredVoice:
    """One voice on disk; `transcripts` maps each style to the text spoken in its recording."""

    name: str
    language: str
    transcripts: dict[str, str]
    default_style: str
    path: Path

    def reference(self, style: str | None, preferred: str | None = None) -> Reference:
        """The reference of `style`, else of `preferred`, else of the default style.

        UnsupportedError: the voice lacks `style`. A missing `preferred` style falls back to the default.
        """
        if style is not None and style not in self.transcripts:
            styles = ", ".join(sorted(self.transcripts))
            raise UnsupportedError(f"style: expected one of {styles} (voice {self.name}), got {style!r}", field="style")
        candidates = (style, preferred, self.default_style, next(iter(self.transcripts)))
        chosen = next(name for name in candidates if name is not None and name in self.transcripts)
        return Reference((self.path / f"{chosen}.flac").read_bytes(), self.transcripts[chosen], chosen)


class VoiceStore:
    """The stored voices of several folders; an earlier folder wins where two have the same name. Thread-safe.

    Every call reads the disk: there are few voices, and other processes may change them. `writable` is the one of the
    folders that takes new voices (None: no folder does); it holds at most `limit` voices.
    """

    def __init__(self, folders: Sequence[Path], writable: Path | None = None, *, limit: int = 1000) -> None:
        self._folders = tuple(folders)
        self._writable = writable
        self._limit = limit
        self._lock = threading.Lock()

    def all(self) -> list[StoredVoice]:
        """Every well-formed voice, sorted by name."""
        paths = [path for folder in reversed(self._folders) for path in folder.glob("*/voice.json")]
        voices = {path.parent.name: voice for path in paths if (voice := _read(path.parent)) is not None}
        return [voices[name] for name in sorted(voices)]

    def get(self, name: str) -> StoredVoice:
        """The voice of that name; ApiError 404 that lists the stored voices."""
        voice = self._find(name)
        if voice is None:
            names = ", ".join(voice.name for voice in self.all()) or "none"
            message = f"voice: expected a stored voice ({names}), got {name[:64]!r}"
            raise ApiError(404, "unknown_voice", message, field="voice")
        return voice

    def reference(self, name: str, style: str | None, preferred: str | None = None) -> Reference:
        """`StoredVoice.reference` of the voice of that name, consistent even while the voice is being changed."""
        with self._lock:
            voice = self.get(name)
            try:
                return voice.reference(style, preferred)
            except FileNotFoundError:  # another process that shares the folder has just removed it
                raise ApiError(404, "unknown_voice", f"voice: {name} has just been removed", field="voice") from None

    def check_writable(self, name: str) -> Path:
        """The directory of a voice of that name; ApiError 403 if no voice can be stored, or that one is read-only."""
        if self._writable is None:
            raise ApiError(403, "voices_read_only", "this server stores no voices: its setting voices_dir is not set")
        voice = self._find(name)
        if voice is not None and voice.path.parent != self._writable:
            message = f"voice: {name} belongs to the checkpoint and is read-only; choose another name"
            raise ApiError(403, "voice_read_only", message, field="voice")
        return self._writable / name

    def put(self, name: str, style: str, reference_text: str, flac: bytes, language: str) -> bool:
        """Adds or replaces a style of a voice, and creates the voice if it is new. True if the style is new.

        `name` and `style` match VOICE_NAME. The first style becomes the default. No reader ever sees a recording with
        the text of another, not even after a crash.
        """
        assert _NAME.fullmatch(name)
        assert _NAME.fullmatch(style)
        path = self.check_writable(name)
        with self._lock, _storage_errors():
            old = _read(path)
            others = {} if old is None else {key: text for key, text in old.transcripts.items() if key != style}
            self._check_limits(path, new=old is None, styles=len(others))
            path.mkdir(parents=True, exist_ok=True)
            if old is not None and style in old.transcripts:
                _write_description(replace(old, transcripts=others))
            _write(path / f"{style}.flac", flac)
            default = style if old is None else old.default_style
            _write_description(StoredVoice(name, language, {**others, style: reference_text}, default, path))
        return old is None or style not in old.transcripts

    def _check_limits(self, path: Path, *, new: bool, styles: int) -> None:
        if new and sum(1 for _ in path.parent.glob("*/voice.json")) >= self._limit:
            raise ApiError(409, "too_many_voices", f"voices: expected at most {self._limit}, got one more")
        if styles >= MAX_STYLES:
            raise ApiError(409, "too_many_styles", f"styles: expected at most {MAX_STYLES} per voice, got one more")

    def delete(self, name: str, style: str | None = None) -> None:
        """Deletes a voice, or one of its styles; deleting the last style deletes the voice. ApiError 403 or 404."""
        voice = self.get(name)
        self.check_writable(name)
        if style is not None and style not in voice.transcripts:
            styles = ", ".join(sorted(voice.transcripts))
            message = f"style: expected one of {styles} (voice {name}), got {style[:64]!r}"
            raise ApiError(404, "unknown_style", message, field="style")
        remaining = {} if style is None else {key: text for key, text in voice.transcripts.items() if key != style}
        with self._lock, _storage_errors():
            if remaining:
                default = voice.default_style if voice.default_style in remaining else next(iter(remaining))
                _write_description(replace(voice, transcripts=remaining, default_style=default))
                (voice.path / f"{style}.flac").unlink(missing_ok=True)
            else:
                (voice.path / "voice.json").unlink(missing_ok=True)  # first: without it the rest is not a voice
                shutil.rmtree(voice.path)

    def _find(self, name: str) -> StoredVoice | None:
        if not _NAME.fullmatch(name):
            return None
        return next((voice for folder in self._folders if (voice := _read(folder / name)) is not None), None)


def _read(path: Path) -> StoredVoice | None:
    """The voice in a directory; None if its description cannot be read, or if it has no recording."""
    try:
        description = json.loads((path / "voice.json").read_text("utf-8"))
        transcripts = {
            style: str(text)
            for style, text in description["transcripts"].items()
            if _NAME.fullmatch(style) and (path / f"{style}.flac").is_file()
        }
        default = str(description.get("default_style", ""))
        voice = StoredVoice(path.name, str(description["language"]), transcripts, default, path)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return voice if transcripts else None


def _write_description(voice: StoredVoice) -> None:
    description = {
        "name": voice.name,
        "language": voice.language,
        "transcripts": voice.transcripts,
        "default_style": voice.default_style,
    }
    _write(voice.path / "voice.json", json.dumps(description, ensure_ascii=False, indent=1).encode())


def _write(path: Path, data: bytes) -> None:
    """Writes a file atomically: even a crash of the machine leaves the old content or the new."""
    # The dot keeps the temporary name apart from those of styles, which begin with a letter or a digit.
    number, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turns an OSError into ApiError 507 `storage`."""
    try:
        yield
    except OSError as error:
        message = f"the folder of stored voices cannot be written: {error.strerror}"
        raise ApiError(507, "storage", message) from error
