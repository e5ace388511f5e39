"""API keys from a file, one a line (`#` starts a comment), read again when the file changes.

Knows nothing about HTTP. Keys are held as digests, so that comparing takes the same time for each.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

log = logging.getLogger(__name__)


class ApiKeys:
    """The keys in force. A file that cannot be read leaves the last good keys standing; at start it raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stat()
        self._digests = self._load()

    def allows(self, key: str) -> bool:
        """Whether `key` is one of the keys; every one is compared, in constant time."""
        self._refresh()
        digest = _digest(key)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found

    def _refresh(self) -> None:
        try:
            stamp = self._stat()
            if stamp != self._stamp:
                self._digests = self._load()
                self._stamp = stamp
                log.info("API keys read again: %d", len(self._digests))
        except (OSError, UnicodeDecodeError) as error:
            if self._stamp != ():
                log.warning("API keys not readable, the last ones stay: %s", error)
            self._stamp = ()

    def _stat(self) -> tuple[int, ...]:
        stat = self._path.stat()
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _load(self) -> tuple[bytes, ...]:
        lines = (line.split("#")[0].strip() for line in self._path.read_text("utf-8").splitlines())
        return tuple(_digest(line) for line in lines if line)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
