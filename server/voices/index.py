"""What a folder of voices holds, in a form that nodes can compare cheaply."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

from server.voices.folder import voice_folders
from server.voices.merge import state_digest
from server.voices.stored_voice import DESCRIPTION, read_voice

UNSETTLED_SECONDS = 2.0
"""A description that is newer is read again: its next change may leave time, size and inode as they are."""


class VoiceIndex:
    """The digests of the voices in a folder; each description is read again only if it changed. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: Mapping[str, tuple[tuple[float, int, int], str]] = {}

    def read(self) -> dict[str, str]:
        """The `state_digest` of each voice that other nodes should know of, by name."""
        entries = {}
        old = self._entries
        for path in voice_folders(self._folder):
            try:
                stat = (path / DESCRIPTION).stat()
            except OSError:
                continue
            stamp = (stat.st_mtime, stat.st_size, stat.st_ino)
            if old.get(path.name, ((), ""))[0] == stamp and time.time() - stat.st_mtime > UNSETTLED_SECONDS:
                entries[path.name] = old[path.name]
            elif (voice := read_voice(path)) is not None:
                entries[path.name] = (stamp, state_digest(voice))
        self._entries = entries
        return {name: digest for name, (_, digest) in sorted(entries.items()) if digest}


def index_digest(index: Mapping[str, str]) -> str:
    """A hash of an index: that of two nodes with the same voices is the same."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
