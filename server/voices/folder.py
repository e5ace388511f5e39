"""The folder of the voices that this server stores: how a voice in it changes, and what is cleaned up.

A change is one atomic replacement of a `voice.json`. All functions but `voice_folders` need the folder's lock.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from server.voices.files import UNFINISHED, sync_folder, write_file
from server.voices.stored_voice import DESCRIPTION, VOICE_NAME, StoredVoice, read_voice

_NAME = re.compile(VOICE_NAME)
FEATURES_FILE = re.compile(r"([0-9a-f]{64})\.[0-9a-f]+\.safetensors")
_OWN_FILE = re.compile(rf"{re.escape(UNFINISHED)}.*|[^.]+\.[0-9a-f]{{64}}\.flac|{FEATURES_FILE.pattern}")
"""Files that the store made: unfinished ones, recordings named after their content, and prompt features."""
FEATURES_KEPT = 30 * 24 * 3600
"""Seconds after which features are removed, and made again if they are used: those of other checkpoints are not."""


def voice_folders(folder: Path) -> list[Path]:
    """Where in a folder of voices there may be one; nowhere if it is not there."""
    # scandir knows what is a directory without a look at each.
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if _NAME.fullmatch(entry.name) and entry.is_dir()]
    return []


def commit(old: StoredVoice, new: StoredVoice, files: Mapping[str, bytes]) -> None:
    """Writes `files`, then a description that takes the place of `old`; removes what it needs no more."""
    if not new.path.is_dir():
        return _create(new, files)
    try:
        _write(new.path, new, files)
    finally:
        with suppress(OSError):
            tidy(new.path, {recording.file for recording in old.recordings.values()})
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


def features_of(voice: StoredVoice) -> list[Path]:
    """The files of prompt features that belong to a recording of the voice."""
    digests = {recording.digest for recording in voice.recordings.values()}
    matches = {file: FEATURES_FILE.fullmatch(file.name) for file in voice.path.iterdir()}
    return [file for file, match in matches.items() if match is not None and match[1] in digests]


def unused_files(voice: StoredVoice, replaced: Collection[str] = ()) -> list[Path]:
    """The files that belong to no recording of the voice, if they are in `replaced` or the store's own."""
    used = {recording.file for recording in voice.recordings.values()} | {file.name for file in features_of(voice)}
    files = [file for file in voice.path.iterdir() if file.name not in used]
    return [file for file in files if file.name in replaced or _OWN_FILE.fullmatch(file.name)]


def tidy(path: Path, replaced: Collection[str] = ()) -> None:
    """Removes the unused files of a voice, and features that are old."""
    voice = read_voice(path)
    if voice is None:
        return
    features = [file for file in features_of(voice) if time.time() - file.stat().st_mtime >= FEATURES_KEPT]
    for file in unused_files(voice, replaced) + features:
        file.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes the directories that crashes have left."""
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)


def forget(path: Path) -> None:
    """Removes the directory of a voice."""
    # First its name: a crash then leaves nothing that looks like a voice.
    shutil.rmtree(path.rename(path.with_name(f"{UNFINISHED}{path.name}")))
