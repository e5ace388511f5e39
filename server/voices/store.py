"""Stored voices on disk: one folder for each, in one or more folders of voices.

A change is one atomic replacement of a `voice.json`. So readers need no lock, and whatever stops a writer (a full
disk, a crash, a power cut), a voice is as it was or as it was meant to be. Writers take turns by a lock on the folder.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NoReturn

from server.errors import ApiError
from server.voices.aliases import read_aliases
from server.voices.files import exclusive, write_file
from server.voices.folder import FEATURES_FILE, commit, forget, remove_unfinished, tidy, voice_folders
from server.voices.inventory import Entry, Inventory, shared_voices
from server.voices.merge import first_style, merge
from server.voices.stored_voice import (
    VOICE_NAME,
    Recording,
    Reference,
    StoredVoice,
    is_forgotten,
    is_newer,
    read_voice,
    time_after,
)

MAX_STYLES = 64
MAX_NAMED = 20
"""How many of the stored voices an error names."""
ATTEMPTS = 10
"""How often a reader looks again at a voice that changes between its description and its recording."""
_NAME = re.compile(VOICE_NAME)


class VoiceStore:
    """The stored voices of several folders; an earlier folder wins where two have the same name. Thread-safe.

    Every call reads the disk: other processes may change the voices. `writable` is the one of the folders that takes
    new voices (None: no folder does); it holds at most `max_voices` voices and `max_bytes` bytes. `aliases`, by name
    in lower case, are other names to read voices by, before those of the folders; what is stored has its own name.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        writable: Path | None = None,
        *,
        max_voices: int = 1000,
        max_bytes: int = 2**31,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self._folders = tuple(folders)
        self._writable = writable
        self._inventory = None if writable is None else Inventory(writable)
        self._max_voices = max_voices
        self._max_bytes = max_bytes
        self._aliases = aliases or {}

    @property
    def can_write(self) -> bool:
        """Whether voices can be stored."""
        return self._writable is not None

    def all(self) -> list[StoredVoice]:
        """Every well-formed voice, sorted by name."""
        return list(self._voices())

    def get(self, name: str) -> StoredVoice:
        """The voice of that name, else the one that it is an alias of; ApiError 404 names some of the stored voices."""
        return self._find(name) or self._find(self._alias(name)) or self._reject(name)

    def reference(self, name: str, style: str | None, preferred: str | None = None) -> Reference:
        """`StoredVoice.reference` of the voice of that name, consistent even while the voice is being changed."""
        for _ in range(ATTEMPTS):
            voice = self.get(name)
            with suppress(FileNotFoundError):  # replaced or deleted since we read the description
                return voice.reference(style, preferred)
        raise ApiError(404, "unknown_voice", f"voice: {name} is being changed", field="voice")

    def is_read_only(self, voice: StoredVoice) -> bool:
        """Whether the voice cannot be changed: the server stores none, or it is not one that it has stored."""
        return voice.path.parent != self._writable

    def check_writable(self, name: str) -> Path:
        """The directory of a voice of that name.

        ApiError 403 if no voice can be stored, or that one is read-only; 409 if a newer server stored it.
        """
        if self._writable is None:
            raise ApiError(403, "voices_read_only", "this server stores no voices: its setting voices_dir is not set")
        voice = self._find(name)
        if voice is not None and self.is_read_only(voice):
            message = f"voice: {name} belongs to the checkpoint and is read-only; choose another name"
            raise ApiError(403, "voice_read_only", message, field="voice")
        if is_newer(self._writable / name):
            message = f"voice: {name} was stored by a newer version of this server; change it there"
            raise ApiError(409, "newer_voice", message, field="voice")
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
            now = time_after(voice.updated_at)
            file = f"{style}.{hashlib.sha256(flac).hexdigest()}.flac"
            new = Recording(file, text, language, consent, old.created_at if old else now, now)
            changed = replace(
                voice,
                recordings={**voice.recordings, style: new},
                default_style=voice.default_style if voice.recordings else style,
                deleted={key: time for key, time in voice.deleted.items() if key != style},
            )
            self._check_limits(voice, changed, {file: flac})
            commit(voice, changed, {file: flac})
        return old is None

    def delete(self, name: str, style: str | None = None) -> None:
        """Deletes a voice, or one of its styles; deleting the last style deletes it. ApiError 403, 404 or 507."""
        if self._find(name) is None:
            self._reject(name)
        with self._writing(name):
            voice = self._find(name) or self._reject(name)
            self.check_writable(name)  # ours may just have been deleted, and then the checkpoint's is there
            if style is not None and style not in voice.recordings:
                styles = ", ".join(sorted(voice.recordings))
                message = f"style: expected one of {styles} (voice {name}), got {style[:64]!r}"
                raise ApiError(404, "unknown_style", message, field="style")
            gone = {key: item for key, item in voice.recordings.items() if style in (None, key)}
            rest = {key: item for key, item in voice.recordings.items() if key not in gone}
            times = dict.fromkeys(gone, time_after(voice.updated_at))
            default = voice.default_style if voice.default_style in rest else first_style(rest)
            changed = replace(voice, recordings=rest, default_style=default, deleted={**voice.deleted, **times})
            commit(voice, changed, {})

    def index(self) -> dict[str, str]:
        """The digest of each voice that other nodes should have too, deleted ones included."""
        return {} if self._inventory is None else shared_voices(self._inventory.read())

    def latest(self, name: str) -> StoredVoice | None:
        """What is stored of a voice, even if that is only its deletion; None if nothing is, or if it is read-only."""
        return read_voice(self._writable / name) if self._writable is not None and _NAME.fullmatch(name) else None

    def merge(self, theirs: StoredVoice, files: Mapping[str, bytes]) -> bool:
        """Applies what another node has of a voice: of each style the newer recording or deletion stays.

        `files` has the recordings that `new_files` names; KeyError: by now others are needed. True if anything changed.
        ApiError as of `put`.
        """
        with self._writing(theirs.name):
            voice = self._latest(theirs)
            changed = merge(voice, theirs)
            if changed != voice:
                needed = {name: files[name] for name in _added_files(voice, changed)}
                self._check_limits(voice, changed, needed)
                commit(voice, changed, needed)
        return changed != voice

    def new_files(self, theirs: StoredVoice) -> set[str]:
        """Names of the recordings of a voice on another node that are newer than ours."""
        mine = self._latest(theirs)
        return _added_files(mine, merge(mine, theirs))

    def read_features(self, name: str, file: str) -> bytes | None:
        """The prompt features of one of the voice's recordings, by the name of their file; None if there are none."""
        voice = self.latest(name)
        if voice is None or not _has_features(voice, file):
            return None
        with suppress(OSError):
            return (voice.path / file).read_bytes()
        return None

    def write_features(self, name: str, file: str, features: bytes) -> None:
        """Keeps prompt features, if the folder takes voices and has the recording. ApiError as of `put`."""
        if self.latest(name) is None:
            return
        with self._writing(name):
            voice = self.latest(name)
            if voice is not None and _has_features(voice, file):
                self._check_limits(voice, voice, {file: features})
                write_file(voice.path / file, features)

    def _latest(self, voice: StoredVoice) -> StoredVoice:
        """What we have of a voice of that name; it may be nothing."""
        assert self._writable is not None
        return self.latest(voice.name) or StoredVoice(voice.name, {}, "", self._writable / voice.name)

    def _find(self, name: str) -> StoredVoice | None:
        if not _NAME.fullmatch(name):
            return None
        voices = (read_voice(folder / name) for folder in self._folders)
        return next((voice for voice in voices if voice is not None and voice.recordings), None)

    def _alias(self, name: str) -> str:
        """The name of the voice that `name` is an alias of; "" if it is none."""
        sources = (self._aliases, *map(read_aliases, self._folders))
        return next((aliases[name.lower()] for aliases in sources if name.lower() in aliases), "")

    def _reject(self, name: str) -> NoReturn:
        first = [voice.name for voice in islice(self._voices(), MAX_NAMED + 1)]
        names = ", ".join(first[:MAX_NAMED]) + (" …" if len(first) > MAX_NAMED else "") or "none"
        message = f"voice: expected a stored voice ({names}), got {name[:64]!r}"
        raise ApiError(404, "unknown_voice", message, field="voice")

    def _voices(self) -> Iterator[StoredVoice]:
        names = {path.name for folder in self._folders for path in voice_folders(folder)}
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

    def _check_limits(self, old: StoredVoice, new: StoredVoice, files: Mapping[str, bytes]) -> None:
        entries = self._clean_up(old.path.parent)
        voices = {name for name, entry in entries.items() if not entry.deleted_at}
        if new.recordings and len(voices | {new.name}) > max(self._max_voices, len(voices)):
            raise ApiError(409, "too_many_voices", f"voices: expected at most {self._max_voices}, got one more")
        if len(new.recordings) > max(MAX_STYLES, len(old.recordings)):
            raise ApiError(409, "too_many_styles", f"styles: expected at most {MAX_STYLES} per voice, got one more")
        added = sum(map(len, files.values()))
        removed = sum((old.path / file).stat().st_size for file in _added_files(new, old))
        size = sum(entry.size for entry in entries.values()) + added - removed
        if added and size > self._max_bytes:
            raise ApiError(409, "too_many_bytes", f"voices: expected at most {self._max_bytes} bytes, got {size}")

    def _clean_up(self, folder: Path) -> dict[str, Entry]:
        """What is in the folder, after what crashes left was removed, and old or too many deletions forgotten."""
        assert self._inventory is not None
        remove_unfinished(folder)
        entries = self._inventory.read()
        for name, entry in entries.items():
            if entry.untidy_at <= time.time():
                tidy(folder / name)
        deleted = sorted((entry.deleted_at, name) for name, entry in entries.items() if entry.deleted_at)
        for number, (deleted_at, name) in enumerate(reversed(deleted)):
            if number >= self._max_voices or is_forgotten(deleted_at):
                forget(folder / name)
        return self._inventory.read()


def _has_features(voice: StoredVoice, file: str) -> bool:
    """Whether a file of that name has features of one of the voice's recordings."""
    match = FEATURES_FILE.fullmatch(file)
    return match is not None and any(recording.digest == match[1] for recording in voice.recordings.values())


def _added_files(old: StoredVoice, new: StoredVoice) -> set[str]:
    return {item.file for item in new.recordings.values()} - {item.file for item in old.recordings.values()}
