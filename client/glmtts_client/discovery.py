"""The list of nodes, fresh enough: cached for seconds, kept fresh by a watch where wanted, and the last one when
Consul is away. Knows nothing about which of its nodes is good for what.
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

from glmtts_client.consul import ConsulAddress, ConsulClient
from glmtts_client.errors import DiscoveryError
from glmtts_client.node import Node

log = logging.getLogger(__name__)

CACHE_SECONDS = 10.0
WAIT = 60.0
MAX_RETRY_DELAY = 30.0
MIN_INTERVAL = 0.5
"""Seconds between two answers of a watch: a cluster in turmoil must not keep us busy."""


class Discovery(Protocol):
    """Where nodes are found."""

    @property
    def stale(self) -> bool:
        """Whether the last list is older than it should be, because nobody could be asked."""
        ...

    def nodes(self) -> Sequence[Node]:
        """Those that may be used; DiscoveryError when nothing is known at all."""
        ...

    def all_nodes(self) -> Sequence[Node]:
        """All that are registered, failing ones too; asked anew. DiscoveryError."""
        ...

    def close(self) -> None: ...


class ConsulDiscovery:
    """The passing nodes of a service. Thread-safe. With `watch` a thread of its own keeps the list fresh."""

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
        self._asking = threading.Lock()
        self._telling = threading.Lock()
        self._consul = ConsulClient(address, scheme=scheme)
        self._known: Sequence[Node] | None = None
        self._due = clock()
        self._stale = False
        self._watching = False
        self._closed = threading.Event()
        if watch:
            watcher = ConsulClient(address, scheme=scheme)
            threading.Thread(target=self._watch, args=(watcher,), name="consul-watch", daemon=True).start()

    @property
    def stale(self) -> bool:
        return self._stale

    def nodes(self) -> Sequence[Node]:
        if self._known is not None and (self._watching or self._clock() < self._due):
            return self._known
        # Whoever comes while another asks takes the old list, if there is one.
        if self._asking.acquire(blocking=self._known is None):
            try:
                if self._known is None or self._clock() >= self._due:
                    self._ask()
            finally:
                self._asking.release()
        assert self._known is not None
        return self._known

    def all_nodes(self) -> Sequence[Node]:
        with self._asking:
            return self._consul.nodes(self._service, passing=False)[1]

    def _ask(self) -> None:
        try:
            _, found = self._consul.nodes(self._service)
        except DiscoveryError as error:
            if self._known is None:
                raise
            self._missed(error)
        else:
            self._found(found)
        self._due = self._clock() + self._cache_seconds

    def _found(self, nodes: Sequence[Node]) -> None:
        with self._telling:
            if self._stale:
                log.warning("Consul answers again")
            self._known, self._stale = nodes, False

    def _missed(self, error: BaseException | None) -> None:
        with self._telling:
            self._watching = False
            if not self._stale and self._known is not None:
                log.warning("%s: the last list of nodes is used", error)
            self._stale = self._known is not None

    def _watch(self, consul: ConsulClient) -> None:
        """Until closed. After a failure later and later, and from index 0."""
        while not self._closed.is_set():
            attempts = Retrying(
                retry=retry_if_exception_type(DiscoveryError),
                wait=wait_random_exponential(multiplier=1, max=MAX_RETRY_DELAY),
                before_sleep=lambda state: self._missed(state.outcome.exception() if state.outcome else None),
                sleep=self._pause,
            )
            attempts(self._follow, consul)
        consul.close()

    def _follow(self, consul: ConsulClient) -> None:
        """Takes each new list, until closed or Consul stops answering; DiscoveryError when it never did."""
        index = 0
        while not self._closed.is_set():
            try:
                newer, found = consul.nodes(self._service, index=index, wait=WAIT)
            except DiscoveryError as error:
                if not self._watching:
                    raise
                return self._missed(error)
            # An index that goes backwards belongs to another life of Consul's, and 0 would not wait.
            index = 0 if newer < index else max(1, newer)
            self._found(found)
            self._watching = True
            self._pause(MIN_INTERVAL)
        return None

    def _pause(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def close(self) -> None:
        """Ends the watch, at the latest when its question is answered."""
        self._closed.set()
        self._consul.close()


class StaticDiscovery:
    """The nodes at given addresses, without Consul. What each can do is asked once, and again while it did not say."""

    def __init__(self, urls: Sequence[str], *, headers: dict[str, str] | None = None, timeout: float = 5.0) -> None:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"address {url!r}: want http://host:port or https://…")
        self._headers = headers or {}
        self._timeout = timeout
        self._nodes = [Node(url, url.rstrip("/")) for url in urls]

    @property
    def stale(self) -> bool:
        return False

    def nodes(self) -> Sequence[Node]:
        self._nodes = [node if node.meta else self._described(node) for node in self._nodes]
        return self._nodes

    def all_nodes(self) -> Sequence[Node]:
        return self.nodes()

    def _described(self, node: Node) -> Node:
        """With the metadata that /info says; without, if it cannot be asked: that is for the request to find out."""
        try:
            answer = requests.get(node.url + "/info", headers=self._headers, timeout=self._timeout)
            meta = json.loads(answer.content)["metadata"]
            return Node(node.id, node.url, {str(key): str(value) for key, value in meta.items()})
        except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError):
            return node

    def close(self) -> None:
        pass
