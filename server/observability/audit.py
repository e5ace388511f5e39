"""The audit log: who cloned or deleted which voice, and when. It has hashes of recordings, never what was said."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from server.errors import ApiError

log = logging.getLogger("server.audit")

Event = Literal["clone", "enrol", "delete"]
"""Speaking with a recording that the request brought; storing one; deleting a voice or a style."""


class AuditLog:
    """Writes one JSON line per event to the server's log and, if there is one, to a file of its own. Thread-safe.

    The file is opened for every line, so that it may be moved away at any time. OSError: it cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        if path is not None:
            self._append("")

    def write(self, event: Event, **fields: str | None) -> None:
        """Writes the event and those of its fields that are known. ApiError 507: the file cannot be written.

        So the caller, who writes before the act, does not act without a line.
        """
        known = {name: value for name, value in fields.items() if value}
        log.info("audit", extra={"fields": {"event": event, **known}})
        if self._path is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        try:
            self._append(json.dumps({"time": now, "event": event, **known}, ensure_ascii=False) + "\n")
        except OSError as error:
            log.error("the audit log cannot be written: %s", error)
            raise ApiError(507, "storage", "the audit log cannot be written, so the voice is not used") from None

    def _append(self, line: str) -> None:
        assert self._path is not None
        with self._lock:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(line)


def recording_hash(recording: bytes) -> str:
    """The SHA-256 of a recording as it was sent."""
    return hashlib.sha256(recording).hexdigest()
