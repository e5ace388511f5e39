"""Stored voices on disk: one folder for each, in one or more folders of voices.

A change is one atomic replacement of a `voice.json`. So readers need no lock, and whatever stops a writer (a full
disk, a crash, a power cut), a voice is as it was or as it was meant to be. Writers take turns by a lock on the folder.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from server.errors import ApiError
from server.voices.files import UNFINISHED, exclusive, sync_folder, write_file
from server.voices.stored_voice import (
    DESCRIPTION,
    VOICE_NAME,
    Recording,
    Reference,
    StoredVoice,
    read_voice,
    time_after,
)

MAX_STYLES = 64
MAX_NAMED = 20
"""How many of the stored voices an error names."""
ATTEMPTS = 10
"""How often a reader looks again at a voice that changes between its description and its recording."""
_NAME = re.compile(VOICE_NAME)
_OWN_FILE = re.compile(rf"{re.escape(UNFINISHED)}.*|[^.]+\.[0-9a-f]{{64}}\.flac")
"""Files that the store made: unfinished ones, and recordings named after their content."""


class VoiceStore:
    """The stored voices of several folders; an earlier folder wins where two have the same name. Thread-safe.

    Every call reads the disk: other processes may change the voices. `writable` is the one of the folders that takes
    new voices (None: no folder does); it holds at most `max_voices` voices and `max_bytes` bytes.
    """

    def __init__(
        self, folders: Sequence[Path], writable: Path | None = None, *, max_voices: int = 1000, max_bytes: int = 2**31
    ) -> None:
        self._folders = tuple(folders)
        self._writable = writable
        self._max_voices = max_voices
        self._max_bytes = max_bytes

    def all(self) -> list[StoredVoice]:
        """Every well-formed voice, sorted by name."""
        return list(self._voices())

    def get(self, name: str) -> StoredVoice:
        """The voice of that name; ApiError 404 that names some of the stored voices."""
        voice = self._find(name)
        if voice is None:
            first = [voice.name for voice in islice(self._voices(), MAX_NAMED + 1)]
            names = ", ".join(first[:MAX_NAMED]) + (" …" if len(first) > MAX_NAMED else "") or "none"
            message = f"voice: expected a stored voice ({names}), got {name[:64]!r}"
            raise ApiError(404, "unknown_voice", message, field="voice")
        return voice

    def reference(self, name: str, style: str | None, preferred: str | None = None) -> Reference:
        """`StoredVoice.reference` of the voice of that name, consistent even while the voice is being changed."""
        for _ in range(ATTEMPTS):
            voice = self.get(name)
            with suppress(FileNotFoundError):  # replaced or deleted since we read the description
                return voice.reference(style, preferred)
        raise ApiError(404, "unknown_voice", f"voice: {name} is being changed", field="voice")

    def check_writable(self, name: str) -> Path:
        """The directory of a voice of that name; ApiError 403 if no voice can be stored, or that one is read-only."""
        if self._writable is None:
            raise ApiError(403, "voices_read_only", "this server stores no voices: its setting voices_dir is not set")
        voice = self._find(name)
        if voice is not None and voice.path.parent != self._writable:
            message = f"voice: {name} belongs to the checkpoint and is read-only; choose another name"
            raise ApiError(403, "voice_read_only", message, field="voice")
        return self._writable / name

    def put(self, name: str, style: str, text: str, flac: bytes, language: str, *, consent: str = "") -> bool:
        """Adds or replaces a style of a voice, and creates the voice if it is new. True if the style is new.

        `name` and `style` match VOICE_NAME. The first style becomes the default. ApiError 403, 409 over a limit, 507 if
        the disk does not take it: then nothing has changed.
        """
        assert _NAME.fullmatch(name)
        assert _NAME.fullmatch(style)
        with self._writing(name) as path:
            voice = read_voice(path) or StoredVoice(name, {}, style, path)
            old = voice.recordings.get(style)
            self._check_limits(voice, style, flac)
            now = time_after(max(old.updated_at if old else "", voice.deleted.get(style, "")))
            file = f"{style}.{hashlib.sha256(flac).hexdigest()}.flac"
            new = Recording(file, text, language, consent, old.created_at if old else now, now)
            changed = replace(
                voice,
                recordings={**voice.recordings, style: new},
                default_style=voice.default_style if voice.recordings else style,
                deleted={key: time for key, time in voice.deleted.items() if key != style},
            )
            _commit(voice, changed, {file: flac})
        return old is None

    def delete(self, name: str, style: str | None = None) -> None:
        """Deletes a voice, or one of its styles; deleting the last style deletes it. ApiError 403, 404 or 507."""
        self.get(name)
        with self._writing(name):
            voice = self.get(name)
            self.check_writable(name)  # ours may just have been deleted, and then the checkpoint's is there
            if style is not None and style not in voice.recordings:
                styles = ", ".join(sorted(voice.recordings))
                message = f"style: expected one of {styles} (voice {name}), got {style[:64]!r}"
                raise ApiError(404, "unknown_style", message, field="style")
            gone = {key: item for key, item in voice.recordings.items() if style in (None, key)}
            rest = {key: item for key, item in voice.recordings.items() if key not in gone}
            times = {key: time_after(item.updated_at) for key, item in gone.items()}
            default = voice.default_style if voice.default_style in rest else next(iter(rest), "")
            changed = replace(voice, recordings=rest, default_style=default, deleted={**voice.deleted, **times})
            _commit(voice, changed, {})

    def _find(self, name: str) -> StoredVoice | None:
        if not _NAME.fullmatch(name):
            return None
        voices = (read_voice(folder / name) for folder in self._folders)
        return next((voice for voice in voices if voice is not None and voice.recordings), None)

    def _voices(self) -> Iterator[StoredVoice]:
        names = {path.name for folder in self._folders for path in _voice_folders(folder)}
        return (voice for name in sorted(names) if (voice := self._find(name)) is not None)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """The directory of a voice that no one else changes meanwhile. ApiError 403, and 507 for an OSError."""
        path = self.check_writable(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(path.parent):
                yield path
        except OSError as error:
            message = f"the folder of stored voices cannot be written: {error.strerror}"
            raise ApiError(507, "storage", message) from error

    def _check_limits(self, voice: StoredVoice, style: str, flac: bytes) -> None:
        _remove_unfinished(voice.path.parent)
        folders = _voice_folders(voice.path.parent)
        voices = {path.name for path in folders if (other := read_voice(path)) is not None and other.recordings}
        if voice.name not in voices and len(voices) >= self._max_voices:
            raise ApiError(409, "too_many_voices", f"voices: expected at most {self._max_voices}, got one more")
        if style not in voice.recordings and len(voice.recordings) >= MAX_STYLES:
            raise ApiError(409, "too_many_styles", f"styles: expected at most {MAX_STYLES} per voice, got one more")
        replaced = voice.recordings.get(style)
        used = sum(file.stat().st_size for path in folders for file in path.iterdir())
        used -= (voice.path / replaced.file).stat().st_size if replaced else 0
        if used + len(flac) > self._max_bytes:
            message = f"voices: expected at most {self._max_bytes} bytes, got {used + len(flac)}"
            raise ApiError(409, "too_many_bytes", message)


def _voice_folders(folder: Path) -> list[Path]:
    """Where in a folder of voices there may be one; nowhere if it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return []


def _commit(old: StoredVoice, new: StoredVoice, files: Mapping[str, bytes]) -> None:
    """Writes `files`, then a description that takes the place of `old`; removes what it needs no more."""
    if not new.path.is_dir():
        return _create(new, files)
    try:
        _write(new.path, new, files)
    finally:
        with suppress(OSError):
            _remove_unused(new.path, {recording.file for recording in old.recordings.values()})
    return None


def _create(voice: StoredVoice, files: Mapping[str, bytes]) -> None:
    """Makes the directory of a new voice, which appears with everything in it."""
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=voice.path.parent))
    try:
        folder.chmod(0o755)
        _write(folder, voice, files)
        folder.rename(voice.path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_folder(voice.path.parent)


def _write(folder: Path, voice: StoredVoice, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        write_file(folder / name, data)
    sync_folder(folder)  # the description must not survive a power cut that its recordings do not
    write_file(folder / DESCRIPTION, voice.to_json())
    sync_folder(folder)


def _remove_unused(path: Path, replaced: Collection[str] = ()) -> None:
    """Removes recordings that the description does not name, if they are in `replaced` or the store's own."""
    voice = read_voice(path)
    if voice is None:
        return
    used = {recording.file for recording in voice.recordings.values()}
    for file in list(path.iterdir()):
        if file.name not in used and (file.name in replaced or _OWN_FILE.fullmatch(file.name)):
            file.unlink(missing_ok=True)


def _remove_unfinished(folder: Path) -> None:
    """Removes what crashes have left: no one else is writing now."""
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)
    for path in _voice_folders(folder):
        _remove_unused(path)
