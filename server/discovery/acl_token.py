"""The ACL token of this node: fixed by a setting, or in a file that is read again when it changes."""

from __future__ import annotations

import logging
import random
import threading
import time

from server.discovery.errors import ConsulError
from server.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = (0.5, 1.5)
"""Range of the seconds between two looks at the file: nodes that share one must not all call Consul at once."""


class AclToken:
    """`value` is the token in use, "" for none. For one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.consul_token_file
        self._static = settings.consul_token.get_secret_value() if settings.consul_token else ""
        self._warned = False
        self._seen: tuple[int, ...] | None = None
        self.value = ""

    def reload(self) -> bool:
        """Reads the token file again. Returns whether the token has changed.

        If the file cannot be used the old token stays; ConsulError `denied` if there is none.
        """
        self._seen = self._signature()
        try:
            token = self._read()
        except ConsulError as error:
            if not self.value:
                raise
            if not self._warned:
                log.warning("%s; using the previous token", error)
            self._warned = True
            return False
        changed = token != self.value
        self.value, self._warned = token, False
        return changed

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Waits until `stop` is set, the token file has changed since it was read, or `seconds` are over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            pause = left if self._file is None else min(left, random.uniform(*POLL_SECONDS))
            if stop.wait(pause) or self._signature() != self._seen:
                return

    def _signature(self) -> tuple[int, ...] | None:
        """Changes when the file is written or replaced; None without a file."""
        try:
            stat = self._file.stat() if self._file else None
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_ino, stat.st_size) if stat else None

    def _read(self) -> str:
        token = self._static
        if self._file:
            try:
                token = self._file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConsulError("denied", f"token file {self._file}: {type(error).__name__}") from None
            if not token:  # a file that is being written, or a secret that was not filled in
                raise ConsulError("denied", f"token file {self._file}: empty")
        if not (token.isascii() and token.isprintable()) or " " in token:
            # requests would put the invalid header, with the token, into its exception.
            raise ConsulError("denied", "the ACL token has characters that are not allowed in an HTTP header")
        return token
