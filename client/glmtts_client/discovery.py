"""The current list of nodes, from Consul or fixed.

The list from Consul is cached for seconds or kept current by a watch; while Consul is down, the last list is used.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
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
"""After Consul has lost its data: within which the nodes register again."""


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

    After Consul was restarted with empty data, the first node to register again would get all requests. So the nodes
    of the list before are kept for RETURN_SECONDS; one that is dead is found out by its first request.
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
        if self._nodes is not None and (self._watching or self._clock() < self._expires_at):
            return self._with_kept(self._nodes)
        # While another thread queries Consul, use the old list if there is one.
        if self._query_lock.acquire(blocking=self._nodes is None):
            try:
                if self._nodes is None or self._clock() >= self._expires_at:
                    self._refresh()
            finally:
                self._query_lock.release()
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
        """`source`: the queries by turns and the watch may each be behind the other."""
        with self._state_lock:
            if index < self._indices[source] and self._nodes:
                log.warning("Consul has lost its data; keeping the last nodes for %g s", RETURN_SECONDS)
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
            self._watching = True
            self._sleep(MIN_INTERVAL)
        return None

    def _sleep(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def close(self) -> None:
        """Stops the watch, at the latest when its current query ends."""
        self._closed.set()
        self._consul.close()


class StaticDiscovery:
    """The nodes at fixed addresses, without Consul. Their metadata comes from /info, requested until it is known."""

    def __init__(self, urls: Sequence[str], *, headers: dict[str, str] | None = None, timeout: float = 5.0) -> None:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"url: expected http://host:port or https://…, got {url!r}")
        self._headers = headers or {}
        self._timeout = timeout
        self._nodes = [Node(url, url.rstrip("/")) for url in urls]

    @property
    def stale(self) -> bool:
        return False

    def nodes(self) -> Sequence[Node]:
        self._nodes = [node if node.meta else self._with_metadata(node) for node in self._nodes]
        return self._nodes

    def all_nodes(self) -> Sequence[Node]:
        return self.nodes()

    def _with_metadata(self, node: Node) -> Node:
        """The node with metadata from /info; unchanged if that fails: the next request reports the error."""
        try:
            response = requests.get(node.url + "/info", headers=self._headers, timeout=self._timeout)
            meta = json.loads(response.content)["metadata"]
            return Node(node.id, node.url, {str(key): str(value) for key, value in meta.items()})
        except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError):
            return node

    def close(self) -> None:
        pass
