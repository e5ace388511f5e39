"""Watches the shared configuration in Consul's KV store: one thread with one blocking query over all keys.

Each change is applied or refused, and reported once. While Consul is unreachable or a document is invalid, the last
good configuration stays in force.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping

from server.cluster_config import KEYS, ClusterConfig, Key
from server.discovery.consul import AgentClient
from server.discovery.errors import ConsulError
from server.settings import Settings

log = logging.getLogger(__name__)

WAIT = 10.0
"""Seconds that a query blocks for a change. A new token, or an index that went backwards, is noticed only after it."""
MIN_INTERVAL = 0.5
"""Seconds between two queries: of a burst of changes only the last is applied."""
BACKOFF_CAP = 10.0
"""Seconds."""


def next_index(last: int, received: int) -> int:
    """The index for the next blocking query: 0 (do not block) if Consul's index went backwards or is missing (0),
    else at least 1."""
    return 0 if received < max(1, last) else received


class ConfigWatcher:
    """Keeps `config` up to date with the KV store.

    `on_change(key, result)` is called for each changed document; `result` is applied or refused.
    """

    def __init__(self, settings: Settings, config: ClusterConfig, on_change: Callable[[str, str], None]) -> None:
        self._config = config
        self._on_change = on_change
        self._prefix = settings.kv_prefix
        # Consul adds up to a sixteenth to the wait.
        self._client = AgentClient(settings, blocking_seconds=WAIT * 17 / 16)
        self._documents: dict[Key, bytes | None] = dict.fromkeys(KEYS)
        self._index = 0
        self._failures = 0
        self._error_kind = ""
        self._queried = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kv", daemon=True)

    def start(self, timeout: float) -> None:
        """Starts watching, and waits at most `timeout` seconds for the first query."""
        self._thread.start()
        self._queried.wait(timeout)

    def stop(self) -> None:
        """Applies no further change. A query that blocks is not interrupted."""
        self._stopped.set()

    @property
    def failures(self) -> int:
        """Number of failed queries in a row."""
        return self._failures

    def _run(self) -> None:
        while not self._stopped.is_set():
            delay = self._query()
            self._queried.set()
            self._client.acl_token.wait(self._stopped, delay)
        self._client.close()

    def _query(self) -> float:
        """Queries once and applies what has changed. Returns the seconds to wait before the next query."""
        try:
            self._client.acl_token.reload()
            index, values = self._client.list_kv(self._prefix, self._index, WAIT)
            self._index = next_index(self._index, index)
            documents = {key: self._document(values, key) for key in KEYS}
        except ConsulError as error:
            return self._record_failure(error.kind, str(error))
        except Exception as error:  # without this thread no change would ever be applied again
            log.debug("while reading the shared configuration", exc_info=True)
            return self._record_failure("internal", f"internal error: {error!r}")
        if self._failures:
            log.info("shared configuration: Consul's KV store is readable again")
        self._failures, self._error_kind = 0, ""
        for key, text in documents.items():
            if text != self._documents[key] and not self._stopped.is_set():
                self._apply(key, text)
        # Without an index (a proxy may remove it) a query does not block.
        return MIN_INTERVAL if index else WAIT

    def _document(self, values: Mapping[str, bytes], key: Key) -> bytes | None:
        name = f"{self._prefix}/{key}"
        # A list omits keys that the token may not read, as if they were deleted. A query for the key itself is denied.
        return values[name] if name in values else self._client.get_kv(name)

    def _record_failure(self, kind: str, reason: str) -> float:
        """Logs the first failure of a kind. Returns the seconds to wait before the next query."""
        if kind != self._error_kind:
            hint = f'; the token needs key_prefix "{self._prefix}/" read' if kind == "denied" else ""
            log.warning("shared configuration: not readable, the last good one stays: %s%s", reason, hint)
        # An agent that lost its data starts again at a low index: a query for the old one would block in vain.
        self._index = 0
        self._failures += 1
        self._error_kind = kind
        return max(MIN_INTERVAL, random.uniform(0.0, min(BACKOFF_CAP, 2.0 ** min(self._failures, 16))))

    def _apply(self, key: Key, text: bytes | None) -> None:
        self._documents[key] = text
        name = f"{self._prefix}/{key}"
        try:
            fields = self._config.apply(key, text)
        except Exception as error:  # one document must not stop the others, or this thread
            reason = str(error) if isinstance(error, ValueError) else f"internal error: {error!r}"
            log.warning("shared configuration: %s refused, the last good one stays: %s", name, reason)
            self._on_change(key, "refused")
            return
        action = "deleted" if text is None else "applied"
        log.info("shared configuration: %s %s", name, action, extra={"fields": fields})
        self._on_change(key, "applied")
