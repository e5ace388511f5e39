"""Consul's KV store to the configuration in force: one blocking query over all keys, one thread.

Each change is applied or refused, and either is told once. While Consul is away, or what it has is wrong, the last good
configuration stays. Knows nothing about what the documents mean.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping

from server.cluster_config import KEYS, ClusterConfig, Key
from server.discovery.consul import AgentClient, ConsulError
from server.settings import Settings

log = logging.getLogger(__name__)

WAIT = 10.0
"""Seconds that the agent may keep us waiting for a change: so late, at worst, we see another token or a step back."""
MIN_INTERVAL = 0.5
"""Seconds between two queries: a burst of changes is taken as its last."""
BACKOFF_CAP = 60.0


def next_index(last: int, answered: int) -> int:
    """The index to wait behind: 0, so not to wait at all, when Consul's went backwards; else 1 at least."""
    return 0 if answered < last else max(1, answered)


class ConfigWatcher:
    """Keeps `shared` as the KV store has it. `changed(key, result)` is told of each document: applied or refused."""

    def __init__(self, settings: Settings, shared: ClusterConfig, changed: Callable[[str, str], None]) -> None:
        self._shared = shared
        self._changed = changed
        self._prefix = settings.kv_prefix
        self._client = AgentClient(settings, patience=WAIT * 17 / 16)  # Consul adds up to a sixteenth
        self._seen: dict[Key, bytes | None] = dict.fromkeys(KEYS)
        self._index = 0
        self._failures = 0
        self._trouble = ""
        self._reached = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kv", daemon=True)

    def start(self, patience: float) -> None:
        """Begins to watch, and waits at most `patience` s for what is there already."""
        self._thread.start()
        self._reached.wait(patience)

    def stop(self) -> None:
        """No change is applied any more; a query that waits is left to its end."""
        self._stopped.set()

    @property
    def failures(self) -> int:
        """Queries that failed in a row; 0 while the store answers."""
        return self._failures

    def _run(self) -> None:
        while not self._stopped.is_set():
            pause = self._query()
            self._reached.set()
            self._stopped.wait(pause)
        self._client.close()

    def _query(self) -> float:
        """One query and what follows from it. Gives how long to wait before the next (s)."""
        try:
            self._client.reload_token()
            answered, listed = self._client.list_kv(self._prefix, self._index, WAIT)
            self._index = next_index(self._index, answered)
            values = {key: self._value(listed, key) for key in KEYS}
        except ConsulError as error:
            return self._failed(error.kind, str(error))
        except Exception as error:  # this thread must outlive every surprise: without it nothing changes any more
            log.debug("while reading the shared configuration", exc_info=True)
            return self._failed("fault", f"a fault of ours: {error!r}")
        if self._failures:
            log.info("shared configuration: Consul's KV store answers again")
        self._failures, self._trouble = 0, ""
        for key, text in values.items():
            if text != self._seen[key] and not self._stopped.is_set():
                self._take(key, text)
        return MIN_INTERVAL

    def _value(self, listed: Mapping[str, bytes], key: Key) -> bytes | None:
        name = f"{self._prefix}/{key}"
        # A list leaves out what the token may not read, as if it were deleted. Asked for by itself it is denied.
        return listed[name] if name in listed else self._client.get_kv(name)

    def _failed(self, trouble: str, reason: str) -> float:
        if trouble != self._trouble:
            hint = f'; the token needs key_prefix "{self._prefix}/" read' if trouble == "denied" else ""
            log.warning("shared configuration: not readable, the last good one stays: %s%s", reason, hint)
        # An agent that lost its data counts from the start again, and would let an old index wait in vain.
        self._index = 0
        self._failures += 1
        self._trouble = trouble
        return max(MIN_INTERVAL, random.uniform(0.0, min(BACKOFF_CAP, 2.0 ** min(self._failures, 16))))

    def _take(self, key: Key, text: bytes | None) -> None:
        self._seen[key] = text
        name = f"{self._prefix}/{key}"
        try:
            facts = self._shared.apply(key, text)
        except Exception as error:  # neither the other documents nor this thread shall suffer from one
            reason = str(error) if isinstance(error, ValueError) else f"a fault of ours: {error!r}"
            log.warning("shared configuration: %s refused, the last good one stays: %s", name, reason)
            self._changed(key, "refused")
            return
        what = "deleted" if text is None else "applied"
        log.info("shared configuration: %s %s", name, what, extra={"fields": facts})
        self._changed(key, "applied")
