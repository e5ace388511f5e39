"""The file of API keys: a YAML list, read again when it changes.

It has hashes only; `python -m server.keys new` adds keys. They are 256 random bits, so that a plain SHA-256 hides them:
there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from server import validation

log = logging.getLogger(__name__)

Scope = Literal["speak", "voices", "admin"]
"""What a key may do: speak and read; store and delete voices; drain the node and see everybody's requests."""
PREFIX = "glm_"
"""Every key begins with it, so that scanners for leaked secrets can find keys."""
NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class ApiKey(BaseModel):
    """One entry of the file. A limit that is None is not set."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=NAME)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    max_concurrent_requests: int | None = Field(None, ge=1)
    characters_per_minute: int | None = Field(None, ge=1)


_ENTRIES = TypeAdapter(tuple[ApiKey, ...])


class KeyFile:
    """The valid keys. OSError, ValueError: the file is unreadable or invalid; later this leaves the last keys valid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stat()
        self._keys = self._load()

    def find(self, secret: str) -> ApiKey | None:
        """The key that `secret` is; None if it is none of them.

        A look-up by hash: what its timing could tell is about the hash, from which nobody finds a key.
        """
        self._reload_if_changed()
        return self._keys.get(digest(secret))

    def _reload_if_changed(self) -> None:
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._load()
            log.info("API keys reloaded: %d", len(self._keys))
        except (OSError, ValueError) as error:
            log.warning("API keys unreadable, keeping the last ones: %s", error)

    def _stat(self) -> tuple[int, ...]:
        """Changes whenever the file does; empty while there is none."""
        try:
            stat = self._path.stat()
        except OSError:
            return ()
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _load(self) -> dict[str, ApiKey]:
        return {key.sha256: key for key in parse(self._path.read_text("utf-8"))}


def parse(text: str) -> tuple[ApiKey, ...]:
    """The entries of a file. ValueError names the first that is wrong, without its value."""
    try:
        keys = _ENTRIES.validate_python(yaml.safe_load(text) or ())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"API keys: expected YAML, got an error{where}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = " ".join(f"entry {part + 1}" if isinstance(part, int) else part for part in first["loc"])
        expected = f"API keys: {place or 'file'}: expected {validation.expected(first)}, got something else"
        raise ValueError(f"{expected}; `python -m server.keys new` makes entries") from None
    for field in ("name", "sha256"):
        value, count = Counter(getattr(key, field) for key in keys).most_common(1)[0] if keys else ("", 0)
        if count > 1:
            raise ValueError(f"API keys: {field}: expected different ones, got {value} {count} times")
    return keys


def digest(secret: str) -> str:
    """The SHA-256 of a key, as in the file."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def generate() -> str:
    """A new key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)
