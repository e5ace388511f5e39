"""The current list of nodes, from Consul or fixed.

The list from Consul is cached for seconds or kept current by a watch; while Consul is down, the last list is used. Who
has a list never waits for long: an agent, or a node, that accepts connections and says nothing is left to a thread.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import requests
from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from glmtts_client.consul import ConsulAddress, ConsulClient, needs
from glmtts_client.errors import DiscoveryError
from glmtts_client.node import Node

log = logging.getLogger(__name__)

CACHE_SECONDS = 10.0
WATCH_WAIT = 60.0
"""Seconds that a blocking query may last."""
MAX_RETRY_DELAY = 10.0
MIN_INTERVAL = 0.5
"""Seconds between two queries of a watch, so that a list that changes constantly does not keep the client busy."""
RETURN_SECONDS = 30.0
"""After Consul has lost its nodes: within which they register again, and their checks pass."""
REFRESH_PATIENCE = 0.3
"""Seconds after which what is known is used, while Consul or a node is asked again."""
LOOKUP_PATIENCE, LOOKUP_INTERVAL = 1.5, 1.0
"""The same, for the first question to a node; seconds until a node that did not give its metadata is asked again."""


class _Run:
    """An action that runs in a thread."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._start = time.monotonic()

    def wait(self, patience: float) -> None:
        """Returns when it is done or has run for `patience` seconds."""
        self.done.wait(max(0.0, self._start + patience - time.monotonic()))


class _Background:
    """Runs `action` in a thread of its own, one at a time."""

    def __init__(self, action: Callable[[], None], name: str) -> None:
        self._action, self._name = action, name
        self._lock = threading.Lock()
        self._current: _Run | None = None

    def start(self) -> _Run:
        """The run that is going on, or else a new one."""
        with self._lock:
            if self._current is None:
                self._current = _Run()
                threading.Thread(target=self._run, args=(self._current,), name=self._name, daemon=True).start()
            return self._current

    def _run(self, run: _Run) -> None:
        try:
            self._action()
        finally:
            with self._lock:
                self._current = None
            run.done.set()


class Discovery(Protocol):
    """A source of nodes."""

    @property
    def stale(self) -> bool:
        """Whether the node list is outdated because Consul does not respond."""
        ...

    def nodes(self) -> Sequence[Node]:
        """The nodes whose checks pass. Raises DiscoveryError if no list was ever received."""
        ...

    def all_nodes(self) -> Sequence[Node]:
        """All registered nodes, including failing ones; never cached. Raises DiscoveryError."""
        ...

    def close(self) -> None: ...


class ConsulDiscovery:
    """The passing nodes of a service. Thread-safe. With `watch`, a thread keeps the list current.

    After Consul was restarted with empty data, the first node to register again would get all requests; and after an
    agent was restarted with its data, none of its nodes passes until it has been checked. So the nodes of the list
    before are kept for RETURN_SECONDS; they are asked before they get requests.
    """

    def __init__(
        self,
        address: ConsulAddress,
        service: str = "glm-tts",
        *,
        scheme: str = "http",
        cache_seconds: float = CACHE_SECONDS,
        watch: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._query_lock = threading.Lock()
        self._refreshing = _Background(self._refresh, "consul-refresh")
        self._state_lock = threading.Lock()
        self._consul = ConsulClient(address, scheme=scheme)
        self._nodes: Sequence[Node] | None = None
        self._expires_at = clock()
        self._indices = {"query": 0, "watch": 0}
        self._kept: Sequence[Node] = ()
        self._kept_until = clock()
        self._stale = False
        self._warned_of_acls = False
        self._watching = False
        self._closed = threading.Event()
        if watch:
            watcher = ConsulClient(address, scheme=scheme)
            threading.Thread(target=self._watch, args=(watcher,), name="consul-watch", daemon=True).start()

    @property
    def stale(self) -> bool:
        return self._stale

    def nodes(self) -> Sequence[Node]:
        if self._nodes is None:
            self._refresh()
        elif not self._watching and self._clock() >= self._expires_at:
            self._refreshing.start().wait(REFRESH_PATIENCE)
        assert self._nodes is not None
        return self._with_kept(self._nodes)

    def _with_kept(self, nodes: Sequence[Node]) -> Sequence[Node]:
        if not self._kept or self._clock() >= self._kept_until:
            return nodes
        listed = {node.url for node in nodes}
        return [*nodes, *(node for node in self._kept if node.url not in listed)]

    def all_nodes(self) -> Sequence[Node]:
        with self._query_lock:
            nodes = self._consul.nodes(self._service, passing=False)[1]
            self._warn_of_acls(self._consul, nodes)
            return nodes

    def _refresh(self) -> None:
        """Replaces a list that has expired. Raises DiscoveryError if there is none."""
        with self._query_lock:
            if self._nodes is not None and self._clock() < self._expires_at:
                return  # another thread was faster
            try:
                index, nodes = self._consul.nodes(self._service)
                self._warn_of_acls(self._consul, nodes)
            except DiscoveryError as error:
                if self._nodes is None:
                    raise
                self._on_error(error)
            else:
                self._on_nodes("query", index, nodes)
            self._expires_at = self._clock() + self._cache_seconds

    def _warn_of_acls(self, consul: ConsulClient, nodes: Sequence[Node]) -> None:
        """Consul omits what a token may not read, as if it did not exist: warns once while a list is empty."""
        if not nodes and not self._warned_of_acls and consul.has_acls():
            log.warning("Consul shows no node of %s, and may hide them: %s", self._service, needs(self._service))
        self._warned_of_acls = not nodes

    def _on_nodes(self, source: str, index: int, nodes: Sequence[Node]) -> None:
        """`source`: the queries by turns and the watch may each be behind the other. The watch hears of changes."""
        with self._state_lock:
            if source == "query" and self._watching:
                return
            self._watching = source == "watch"
            if self._nodes and (index < self._indices[source] or not nodes):
                log.warning("Consul has lost its nodes; keeping the last list for %g s", RETURN_SECONDS)
                self._kept, self._kept_until = self._with_kept(self._nodes), self._clock() + RETURN_SECONDS
            self._indices[source] = index
            if self._stale:
                log.warning("Consul responds again")
            self._nodes, self._stale = nodes, False

    def _on_error(self, error: BaseException | None) -> None:
        with self._state_lock:
            self._watching = False
            if not self._stale and self._nodes is not None:
                log.warning("%s; using the last node list", error)
            self._stale = self._nodes is not None

    def _watch(self, consul: ConsulClient) -> None:
        """Watches until closed. After a failure it starts again from index 0, with growing delays."""
        while not self._closed.is_set():
            attempts = Retrying(
                retry=retry_if_exception_type(DiscoveryError),
                wait=wait_random_exponential(multiplier=1, max=MAX_RETRY_DELAY),
                before_sleep=lambda state: self._on_error(state.outcome.exception() if state.outcome else None),
                sleep=self._sleep,
            )
            attempts(self._follow, consul)
        consul.close()

    def _follow(self, consul: ConsulClient) -> None:
        """Applies each new list until closed or Consul fails. Raises DiscoveryError if the first query fails."""
        index = 0
        while not self._closed.is_set():
            try:
                new_index, nodes = consul.nodes(self._service, index=index, wait=WATCH_WAIT)
                self._warn_of_acls(consul, nodes)
            except DiscoveryError as error:
                if not self._watching:
                    raise
                return self._on_error(error)
            # An index goes backwards after a restart or a restored snapshot: start over. At 0 Consul would not block.
            index = 0 if new_index < index else max(1, new_index)
            self._on_nodes("watch", new_index, nodes)
            self._sleep(MIN_INTERVAL)
        return None

    def _sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def close(self) -> None:
        """Stops the watch, at the latest when its current query ends."""
        self._closed.set()
        self._consul.close()


class StaticDiscovery:
    """The nodes at fixed addresses, without Consul. Their metadata comes from /info, requested until it is known.

    Thread-safe. A node that does not give it is used without.
    """

    def __init__(self, urls: Sequence[str], *, headers: dict[str, str] | None = None, timeout: float = 5.0) -> None:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"url: expected http://host:port or https://…, got {url!r}")
        self._headers = headers or {}
        self._timeout = timeout
        self._nodes = [Node(url, url.rstrip("/")) for url in urls]
        self._due_at = [0.0] * len(urls)
        self._lookups = [_Background(partial(self._look_up, n), "node-lookup") for n in range(len(urls))]

    @property
    def stale(self) -> bool:
        return False

    def nodes(self) -> Sequence[Node]:
        now = time.monotonic()
        due = [n for n, node in enumerate(self._nodes) if not node.meta and now >= self._due_at[n]]
        for number, run in [(number, self._lookups[number].start()) for number in due]:
            run.wait(REFRESH_PATIENCE if self._due_at[number] else LOOKUP_PATIENCE)
        return list(self._nodes)

    def all_nodes(self) -> Sequence[Node]:
        return self.nodes()

    def _look_up(self, number: int) -> None:
        """Gets the node's metadata from /info; if that fails, the next request reports the error."""
        node = self._nodes[number]
        try:
            response = requests.get(node.url + "/info", headers=self._headers, timeout=self._timeout)
            meta = json.loads(response.content)["metadata"]
            self._nodes[number] = Node(node.id, node.url, {str(key): str(value) for key, value in meta.items()})
        except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError):
            self._due_at[number] = time.monotonic() + LOOKUP_INTERVAL

    def close(self) -> None:
        pass
