"""How two nodes come to have the same voices: of each style, the newer of their recordings or deletions stays.

The result is the same in whichever order, and however often, voices are merged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from server.voices.stored_voice import Recording, StoredVoice, is_forgotten


def merge(mine: StoredVoice, theirs: StoredVoice) -> StoredVoice:
    """`mine` with what is newer in `theirs`. A voice with recordings that were made by hand stays as it is."""
    if not (is_shared(mine) and is_shared(theirs)):
        return mine
    recordings: dict[str, Recording] = {}
    deleted: dict[str, str] = {}
    for style in sorted({*mine.recordings, *mine.deleted, *theirs.recordings, *theirs.deleted}):
        # At the same moment a deletion wins, then the greater value: any rule will do that all nodes have.
        time, is_deletion, _, recording = max(_versions(mine, style) + _versions(theirs, style))
        if not is_deletion:
            recordings[style] = recording
        elif not is_forgotten(time):
            deleted[style] = time
    return replace(mine, recordings=recordings, default_style=first_style(recordings), deleted=deleted)


def _versions(voice: StoredVoice, style: str) -> list[tuple[str, bool, str, Recording]]:
    """What a voice has of a style, in a form that can be compared."""
    nothing = Recording("", "", "")
    versions = []
    if (time := voice.deleted.get(style)) is not None:
        versions.append((time, True, "", nothing))
    if (recording := voice.recordings.get(style)) is not None:
        versions.append((recording.updated_at, False, repr(recording), recording))
    return versions


def is_shared(voice: StoredVoice) -> bool:
    """Whether all recordings were enrolled, so that it is known when, and what is in them."""
    return all(recording.sha256 and recording.updated_at for recording in voice.recordings.values())


def first_style(recordings: Mapping[str, Recording]) -> str:
    """The style that was enrolled first; "" if there is none."""
    return min(recordings, key=lambda style: (recordings[style].created_at, style), default="")


def state_digest(voice: StoredVoice) -> str:
    """A hash of all that `merge` looks at; "" if there is nothing that other nodes should know."""
    deleted = {style: time for style, time in voice.deleted.items() if not is_forgotten(time)}
    if not is_shared(voice) or not (voice.recordings or deleted):
        return ""
    recordings = {style: repr(recording) for style, recording in voice.recordings.items()}
    return hashlib.sha256(json.dumps([recordings, deleted], sort_keys=True).encode()).hexdigest()
