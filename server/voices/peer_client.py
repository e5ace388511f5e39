"""Reads the voices of another node. Every answer is bounded in size, and checked before it is used."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import requests

from server.voices.inventory import index_digest
from server.voices.stored_voice import VOICE_NAME, StoredVoice, parse_time, parse_voice

TIMEOUT = (1.0, 3.0)
"""Seconds to connect, and between two reads."""
MAX_JSON_BYTES = 16 * 2**20
MAX_RECORDING_BYTES = 32 * 2**20
MAX_TEXT_CHARS = 5000
CLOCK_TOLERANCE = timedelta(days=30)
"""A change from further in the future is refused. Less is a clock that was wrong for a while: the change did happen."""


class PeerError(Exception):
    """Another node cannot be read, or sends what it should not."""


class PeerClient:
    """Reads from other nodes, with the API key in `key_file` if there is one. For one thread at a time.

    `ca`: the certificates that theirs are checked with; None: well-known ones.
    """

    def __init__(self, key_file: Path | None, ca: Path | None = None) -> None:
        self._key_file = key_file
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = True if ca is None else str(ca)

    def index(self, url: str, known: Mapping[str, str]) -> dict[str, str] | None:
        """The node's index; None if it is `known`. Raises PeerError."""
        data = self._get(f"{url}/sync/voices", MAX_JSON_BYTES, {"If-None-Match": f'"{index_digest(known)}"'})
        if data is None:
            return None
        try:
            index = json.loads(data)["voices"]
            return {str(name): str(digest) for name, digest in index.items() if re.fullmatch(VOICE_NAME, name)}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise PeerError(f"{url}: expected an index of voices, got another ({error!r})") from error

    def voice(self, url: str, name: str) -> StoredVoice:
        """What the node has of a voice. Raises PeerError."""
        data = self._get(f"{url}/sync/voices/{name}", MAX_JSON_BYTES)
        try:
            voice = parse_voice(data or b"", Path(name))
            _check(voice)
        except (ValueError, OverflowError) as error:
            raise PeerError(f"{url}: {error}") from error
        return voice

    def recording(self, url: str, name: str, file: str) -> bytes:
        """A recording of a voice, which is what the name of its file says. Raises PeerError."""
        data = self._get(f"{url}/sync/voices/{name}/{file}", MAX_RECORDING_BYTES) or b""
        if hashlib.sha256(data).hexdigest() != file.split(".")[1]:
            raise PeerError(f"{url}: expected the recording {file}, got one with another hash")
        return data

    def features(self, url: str, name: str, file: str) -> bytes | None:
        """Prompt features of a recording, if the node has them. Raises PeerError."""
        return self._get(f"{url}/sync/voices/{name}/{file}", MAX_RECORDING_BYTES)

    def _get(self, url: str, max_bytes: int, headers: Mapping[str, str] | None = None) -> bytes | None:
        """The body of the response; None if it has not changed, or is not there."""
        try:
            key = self._key_file.read_text("utf-8").strip() if self._key_file is not None else ""
            all_headers = {**(headers or {}), **({"Authorization": f"Bearer {key}"} if key else {})}
            with self._session.get(
                url, headers=all_headers, timeout=TIMEOUT, stream=True, allow_redirects=False
            ) as response:
                if response.status_code in (304, 404):
                    return None
                if response.status_code != 200:
                    raise PeerError(f"{url}: expected status 200, got {response.status_code}")
                body = b""
                for chunk in response.iter_content(2**16):
                    body += chunk
                    if len(body) > max_bytes:
                        raise PeerError(f"{url}: expected at most {max_bytes} bytes, got more")
                return body
        except (requests.RequestException, OSError, UnicodeError) as error:
            raise PeerError(f"{url}: no response ({type(error).__name__})") from error


def _check(voice: StoredVoice) -> None:
    """ValueError: the voice has what this server would not store."""
    latest = datetime.now(timezone.utc) + CLOCK_TOLERANCE
    for style, recording in voice.recordings.items():
        if recording.file != f"{style}.{recording.sha256}.flac":
            raise ValueError(f"voice {voice.name}: expected a recording named after style and hash, got another")
        if max(len(recording.text), len(recording.consent)) > MAX_TEXT_CHARS or recording.language not in ("en", "zh"):
            raise ValueError(f"voice {voice.name}: expected a text, a consent and a language, got others")
        parse_time(recording.created_at)
    times = [*voice.deleted.values(), *(recording.updated_at for recording in voice.recordings.values())]
    if any(parse_time(time) > latest for time in times):
        raise ValueError(f"voice {voice.name}: expected changes of the past, got one of the future")
