"""A stored voice, as its folder's `voice.json` describes it.

    {"version", "name", "language", "default_style",
     "transcripts": {style: text},
     "recordings": {style: {"file", "language", "consent", "created_at", "updated_at"}},
     "deleted": {style: time}}

A voice made by hand needs no `version`, `recordings` and `deleted`: the recording of a style is then `<style>.flac`.
Those of the server are named after their content, so that a change of voice.json changes recording and text at once.
`deleted` says when a style was removed, for nodes that do not know yet. Times are UTC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from glmtts.errors import UnsupportedError
from glmtts.text.language import LANGUAGES, Language, language_of
from glmtts.voice.digest import digest_of_hash

VOICE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""Names of voices and of styles. They become file names: no dot, no slash."""
DESCRIPTION = "voice.json"
DESCRIPTION_VERSION = 1
"""Of what `voice.json` has; 1 if it does not say. Increase it for what an older server must not take for a voice."""
DELETIONS_KEPT = timedelta(days=30)
"""A node that was away for longer brings back what was deleted meanwhile."""
_NAME = re.compile(VOICE_NAME)
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[0-9a-f]{64})?\.flac")
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class NewerVersionError(ValueError):
    """A description was written by a newer version of this server."""


class Reference(NamedTuple):
    """What a voice is cloned from: an encoded recording, the text spoken in it, the style that it stands for, the
    language in which the text is read (None leaves that to its characters), and the name of the stored voice."""

    audio: bytes
    text: str
    style: str
    language: Language | None
    voice: str


@dataclass(frozen=True)
class Recording:
    """One recording of a voice. `text` is spoken in it, `consent` says who agreed to its use.

    `created_at`: when the style was first enrolled; `updated_at`: when this recording was. Both "" if made by hand.
    """

    file: str
    text: str
    language: str
    consent: str = ""
    created_at: str = ""
    updated_at: str = ""

    @property
    def sha256(self) -> str:
        """Of the file's content; "" if the recording was made by hand."""
        return self.file.split(".")[1] if self.file.count(".") == 2 else ""

    @property
    def digest(self) -> str:
        """`voice_digest` of recording and text; "" if the recording was made by hand."""
        language = transcript_language(self.text, self.language)
        return digest_of_hash(self.sha256, self.text, language) if self.sha256 else ""


@dataclass(frozen=True)
class StoredVoice:
    """One voice on disk: its recordings by style, and when other styles were deleted."""

    name: str
    recordings: Mapping[str, Recording]
    default_style: str
    path: Path
    deleted: Mapping[str, str] = field(default_factory=dict)

    @property
    def updated_at(self) -> str:
        """When it last changed; "" if it was made by hand."""
        return max((*self.deleted.values(), *(item.updated_at for item in self.recordings.values())), default="")

    @property
    def language(self) -> str:
        """That of the newest recording."""
        return max(self.recordings.values(), key=lambda recording: recording.updated_at).language

    @property
    def transcripts(self) -> dict[str, str]:
        """The text spoken in the recording of each style."""
        return {style: recording.text for style, recording in self.recordings.items()}

    def reference(self, style: str | None, preferred: str | None = None) -> Reference:
        """The reference of `style`, else of `preferred`, else of the default style.

        UnsupportedError: the voice lacks `style`. A missing `preferred` style falls back to the default.
        """
        if style is not None and style not in self.recordings:
            styles = ", ".join(sorted(self.recordings))
            raise UnsupportedError(f"style: expected one of {styles} (voice {self.name}), got {style!r}", field="style")
        candidates = (style, preferred, self.default_style, next(iter(self.recordings)))
        chosen = next(name for name in candidates if name is not None and name in self.recordings)
        recording = self.recordings[chosen]
        audio = (self.path / recording.file).read_bytes()
        language = transcript_language(recording.text, recording.language)
        return Reference(audio, recording.text, chosen, language, self.name)

    def to_json(self) -> bytes:
        """The content of voice.json."""
        details = ("file", "language", "consent", "created_at", "updated_at")
        description = {
            "version": DESCRIPTION_VERSION,
            "name": self.name,
            "language": self.language if self.recordings else "",
            "default_style": self.default_style,
            "transcripts": self.transcripts,
            "recordings": {
                style: {name: getattr(recording, name) for name in details}
                for style, recording in self.recordings.items()
            },
            "deleted": dict(self.deleted),
        }
        return json.dumps(description, ensure_ascii=False, indent=1).encode()


def read_voice(path: Path) -> StoredVoice | None:
    """The voice in a folder, with those recordings that are there; None if its description cannot be read."""
    try:
        voice = parse_voice((path / DESCRIPTION).read_bytes(), path)
    except (OSError, ValueError):
        return None
    recordings = {style: item for style, item in voice.recordings.items() if (path / item.file).is_file()}
    return replace(voice, recordings=recordings)


def is_newer(path: Path) -> bool:
    """Whether a newer version of this server wrote the description in a folder."""
    try:
        parse_voice((path / DESCRIPTION).read_bytes(), path)
    except NewerVersionError:
        return True
    except (OSError, ValueError):
        return False
    return False


def parse_voice(text: bytes, path: Path) -> StoredVoice:
    """The voice in the folder `path` that a description describes. ValueError: it is none, or NewerVersionError."""
    try:
        description = json.loads(text)
        if (version := int(description.get("version", 1))) > DESCRIPTION_VERSION:
            expected = f"version {DESCRIPTION_VERSION} or less"
            raise NewerVersionError(f"{DESCRIPTION} of voice {path.name}: expected {expected}, got {version}")
        details: Mapping[str, Mapping[str, Any]] = description.get("recordings", {})
        recordings = {
            style: _recording(style, str(text), str(description["language"]), details.get(style, {}))
            for style, text in description["transcripts"].items()
            if _NAME.fullmatch(style)
        }
        deleted = {style: str(time) for style, time in description.get("deleted", {}).items() if _NAME.fullmatch(style)}
        return StoredVoice(path.name, recordings, str(description.get("default_style", "")), path, deleted)
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{DESCRIPTION}: expected a description of a voice, got another ({error!r})") from error


def _recording(style: str, text: str, language: str, details: Mapping[str, Any]) -> Recording:
    file = str(details.get("file", f"{style}.flac"))
    if not _FILE.fullmatch(file):
        raise ValueError("file: expected a name without a path")
    values = {name: str(details.get(name, "")) for name in ("consent", "created_at", "updated_at")}
    return Recording(file, text, str(details.get("language", language)), **values)


def transcript_language(text: str, language: str) -> Language | None:
    """In which language the text of a recording is read: that of the voice if its characters don't tell ("1, 2, 3").

    Where they do, the voice's may be another: a Mandarin voice can be recorded in English.
    """
    if not text.strip() or language_of(text) is not None:
        return None
    return next((name for name in LANGUAGES if name == language), None)


def features_file(digest: str, fingerprint: str) -> str:
    """Name of the file with what a checkpoint made of a recording and its text, by their `voice_digest`."""
    return f"{digest}.{fingerprint}.safetensors"


def is_forgotten(deleted_at: str) -> bool:
    """Whether a deletion is so long ago that no other node needs to be told."""
    try:
        return datetime.now(timezone.utc) - parse_time(deleted_at) > DELETIONS_KEPT
    except ValueError:
        return True


def time_after(earlier: str) -> str:
    """Now, but later than the time `earlier` ("" is the oldest): a change that knows of another one wins over it."""
    now = datetime.now(timezone.utc)
    if earlier:
        now = max(now, parse_time(earlier) + timedelta(microseconds=1))
    return now.strftime(_TIME)


def parse_time(text: str) -> datetime:
    """A time as voice.json has it. ValueError: it is none."""
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)
