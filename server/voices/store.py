"""Stored voices on disk.

A stored voice is a directory `<voice>/` with `voice.json` = {"name", "language", "transcripts": {style: text},
"default_style"} and one recording `<style>.flac` a style. Knows nothing about HTTP requests, or about what an engine
makes of a recording.
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

from glmtts.errors import UnsupportedError
from server.errors import ApiError
from server.http.schemas import VOICE_NAME

MAX_STYLES = 64
_NAME = re.compile(VOICE_NAME)


@dataclass(frozen=True)
class StoredVoice:
    """One voice on disk; `transcripts` maps each style to what is said in its recording."""

    name: str
    language: str
    transcripts: dict[str, str]
    default_style: str
    path: Path

    def recording(self, style: str | None, preferred: str | None = None) -> tuple[bytes, str, str]:
        """(encoded recording, transcript, style) of the style asked for, else of `preferred`, else of the default.

        An explicit style that the voice lacks: UnsupportedError. One that is only preferred falls back.
        """
        if style is not None and style not in self.transcripts:
            raise UnsupportedError(
                f"style: came {style!r}; voice {self.name} has {', '.join(sorted(self.transcripts))}", field="style"
            )
        wishes = (style, preferred, self.default_style, next(iter(self.transcripts)))
        chosen = next(wish for wish in wishes if wish is not None and wish in self.transcripts)
        return (self.path / f"{chosen}.flac").read_bytes(), self.transcripts[chosen], chosen


class VoiceStore:
    """The stored voices of some folders; of two with the same name the earlier folder's counts. Thread-safe.

    Read afresh at every question: there are few, and they may change. `writable` is the folder, one of them, that
    takes new voices, None when none does; it holds `limit` voices at most.
    """

    def __init__(self, folders: Sequence[Path], writable: Path | None = None, *, limit: int = 1000) -> None:
        self._folders = tuple(folders)
        self._writable = writable
        self._limit = limit
        self._lock = threading.Lock()

    def all(self) -> list[StoredVoice]:
        """Every well-formed voice, by name."""
        paths = [path for folder in reversed(self._folders) for path in folder.glob("*/voice.json")]
        voices = {path.parent.name: voice for path in paths if (voice := _read(path.parent)) is not None}
        return [voices[name] for name in sorted(voices)]

    def get(self, name: str) -> StoredVoice:
        """The voice of that name; ApiError 404 naming those there are."""
        voice = self._find(name)
        if voice is None:
            there = ", ".join(voice.name for voice in self.all()) or "none"
            raise ApiError(404, "unknown_voice", f"voice: came {name[:64]!r}; stored are: {there}", field="voice")
        return voice

    def prompt(self, name: str, style: str | None, preferred: str | None = None) -> tuple[bytes, str, str]:
        """`StoredVoice.recording` of the voice of that name, never half of one that is being changed."""
        with self._lock:
            voice = self.get(name)
            try:
                return voice.recording(style, preferred)
            except FileNotFoundError:  # another process that shares the folder has just removed it
                raise ApiError(404, "unknown_voice", f"voice: {name} has just been removed", field="voice") from None

    def check_writable(self, name: str) -> Path:
        """Where a voice of that name is written; ApiError 403 when nothing may be, or when it is a fixed one."""
        if self._writable is None:
            raise ApiError(403, "voices_read_only", "this server stores no voices: its setting voices_dir is not set")
        voice = self._find(name)
        if voice is not None and voice.path.parent != self._writable:
            message = f"voice: {name} belongs to the checkpoint and is read-only; want another name"
            raise ApiError(403, "voice_read_only", message, field="voice")
        return self._writable / name

    def put(self, name: str, style: str, transcript: str, flac: bytes, language: str) -> bool:
        """Adds a style to a voice, or replaces it; a voice that is not there is made. True when the style is new.

        `name` and `style` match VOICE_NAME. The first style is the default one. Whoever reads, and whoever finds the
        folder after a crash, meets each recording with its own transcript.
        """
        assert _NAME.fullmatch(name)
        assert _NAME.fullmatch(style)
        path = self.check_writable(name)
        with self._lock, _on_disk():
            old = _read(path)
            others = {} if old is None else {key: text for key, text in old.transcripts.items() if key != style}
            self._check_limits(path, new=old is None, styles=len(others))
            path.mkdir(parents=True, exist_ok=True)
            if old is not None and style in old.transcripts:
                _describe(replace(old, transcripts=others))
            _write(path / f"{style}.flac", flac)
            default = style if old is None else old.default_style
            _describe(StoredVoice(name, language, {**others, style: transcript}, default, path))
        return old is None or style not in old.transcripts

    def _check_limits(self, path: Path, *, new: bool, styles: int) -> None:
        if new and sum(1 for _ in path.parent.glob("*/voice.json")) >= self._limit:
            raise ApiError(409, "too_many_voices", f"there are {self._limit} stored voices, and no more are taken")
        if styles >= MAX_STYLES:
            raise ApiError(409, "too_many_styles", f"the voice has {styles} other styles; want fewer than {MAX_STYLES}")

    def remove(self, name: str, style: str | None = None) -> None:
        """Removes a voice, or one style of it; with its last style goes the voice. ApiError 403 and 404."""
        voice = self.get(name)
        self.check_writable(name)
        if style is not None and style not in voice.transcripts:
            there = ", ".join(sorted(voice.transcripts))
            raise ApiError(404, "unknown_style", f"style: came {style[:64]!r}; {name} has {there}", field="style")
        left = {} if style is None else {key: text for key, text in voice.transcripts.items() if key != style}
        with self._lock, _on_disk():
            if left:
                default = voice.default_style if voice.default_style in left else next(iter(left))
                _describe(replace(voice, transcripts=left, default_style=default))
                (voice.path / f"{style}.flac").unlink(missing_ok=True)
            else:
                (voice.path / "voice.json").unlink(missing_ok=True)  # first: without it the rest is no voice
                shutil.rmtree(voice.path)

    def _find(self, name: str) -> StoredVoice | None:
        if not _NAME.fullmatch(name):
            return None
        return next((voice for folder in self._folders if (voice := _read(folder / name)) is not None), None)


def _read(path: Path) -> StoredVoice | None:
    """A voice whose description cannot be read, or that has no recording, is as good as not there."""
    try:
        described = json.loads((path / "voice.json").read_text("utf-8"))
        transcripts = {
            style: str(text)
            for style, text in described["transcripts"].items()
            if _NAME.fullmatch(style) and (path / f"{style}.flac").is_file()
        }
        default = str(described.get("default_style", ""))
        voice = StoredVoice(path.name, str(described["language"]), transcripts, default, path)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return voice if transcripts else None


def _describe(voice: StoredVoice) -> None:
    described = {
        "name": voice.name,
        "language": voice.language,
        "transcripts": voice.transcripts,
        "default_style": voice.default_style,
    }
    _write(voice.path / "voice.json", json.dumps(described, ensure_ascii=False, indent=1).encode())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, a crash of the machine included."""
    # The dot keeps it apart from every style: those begin with a letter or a digit.
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
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the folder of stored voices cannot be written: {error.strerror}"
        raise ApiError(507, "storage", message) from error
