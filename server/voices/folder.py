"""The folder of the voices that this server stores: how a voice in it changes, and what is cleaned up.

A change is one atomic replacement of a `voice.json`. All functions but `voice_folders` need the folder's lock.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from server.voices.files import UNFINISHED, sync_folder, write_file
from server.voices.stored_voice import DESCRIPTION, VOICE_NAME, StoredVoice, is_forgotten, read_voice

_NAME = re.compile(VOICE_NAME)
FEATURES_FILE = re.compile(r"([0-9a-f]{64})\.[0-9a-f]+\.safetensors")
_OWN_FILE = re.compile(rf"{re.escape(UNFINISHED)}.*|[^.]+\.[0-9a-f]{{64}}\.flac|{FEATURES_FILE.pattern}")
"""Files that the store made: unfinished ones, recordings named after their content, and prompt features."""
FEATURES_KEPT = 30 * 24 * 3600
"""Seconds after which features are removed, and made again if they are used: those of other checkpoints are not."""


def voice_folders(folder: Path) -> list[Path]:
    """Where in a folder of voices there may be one; nowhere if it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return []


def commit(old: StoredVoice, new: StoredVoice, files: Mapping[str, bytes]) -> None:
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
    """Removes files that the description does not name, if they are in `replaced` or the store's own."""
    voice = read_voice(path)
    if voice is None:
        return
    used = {recording.file for recording in voice.recordings.values()}
    digests = {recording.digest for recording in voice.recordings.values()}
    for file in list(path.iterdir()):
        features = FEATURES_FILE.fullmatch(file.name)
        if features and features[1] in digests and time.time() - file.stat().st_mtime < FEATURES_KEPT:
            continue
        if file.name not in used and (file.name in replaced or _OWN_FILE.fullmatch(file.name)):
            file.unlink(missing_ok=True)


def clean_up(folder: Path, max_deleted: int) -> None:
    """Removes what crashes have left, and forgets deletions that are old or more than `max_deleted`."""
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)
    deleted: list[tuple[str, Path]] = []
    for path in voice_folders(folder):
        _remove_unused(path)
        voice = read_voice(path)
        if voice is not None and voice.deleted and not voice.recordings:
            deleted.append((max(voice.deleted.values()), path))
    deleted.sort(reverse=True)
    for number, (deleted_at, path) in enumerate(deleted):
        if number >= max_deleted or is_forgotten(deleted_at):
            # First its name: a crash then leaves nothing that looks like a voice.
            shutil.rmtree(path.rename(folder / f"{UNFINISHED}{path.name}"))
