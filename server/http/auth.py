"""API keys: read from a file, one per line (`#` starts a comment), and checked against each request.

The file is read again when it changes. Only digests of the keys are kept, so that every comparison takes equally long.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

from flask import Request

from server.errors import ApiError

log = logging.getLogger(__name__)

PUBLIC_PATHS = ("/health", "/ready", "/metrics")
"""Paths that need no API key: the cluster's own probes."""


class ApiKeys:
    """The valid keys. An unreadable file leaves the last ones valid; at startup it raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stat()
        self._digests = self._load()

    def allows(self, key: str) -> bool:
        """Whether `key` is valid. Compares it with every key, in constant time."""
        self._reload_if_changed()
        digest = _digest(key)
        valid = False
        for known in self._digests:
            valid |= hmac.compare_digest(known, digest)
        return valid

    def _reload_if_changed(self) -> None:
        try:
            stamp = self._stat()
            if stamp != self._stamp:
                self._digests = self._load()
                self._stamp = stamp
                log.info("API keys reloaded: %d", len(self._digests))
        except (OSError, UnicodeDecodeError) as error:
            if self._stamp != ():
                log.warning("API keys unreadable, keeping the last ones: %s", error)
            self._stamp = ()

    def _stat(self) -> tuple[int, ...]:
        stat = self._path.stat()
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _load(self) -> tuple[bytes, ...]:
        lines = (line.split("#")[0].strip() for line in self._path.read_text("utf-8").splitlines())
        return tuple(_digest(line) for line in lines if line)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def check_api_key(request: Request, api_keys: ApiKeys | None) -> None:
    """ApiError 401 unless the request has a valid key, its path is public, or no keys are configured."""
    if api_keys is None or request.path in PUBLIC_PATHS:
        return
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = request.headers.get("X-Api-Key", "")
    if not key.strip():
        message = "API key: expected Authorization: Bearer KEY or X-API-Key: KEY, got none"
        raise ApiError(401, "missing_api_key", message)
    if not api_keys.allows(key.strip()):
        raise ApiError(401, "invalid_api_key", "API key: expected one of this server's keys, got another")
