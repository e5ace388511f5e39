"""Which nodes lack a stored voice. Nodes have the same voices but for seconds after a change, or if some do not share.

So a request just goes to a node. If that one lacks the voice, all others are asked, and for a while requests with that
voice go only to nodes that have it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from glmtts_client.errors import NodeError, ResponseError, VoiceNotFoundError
from glmtts_client.node import Node

MISS_SECONDS = 10.0
"""How long a node is believed to lack a voice."""
MAX_PARALLEL = 16


class VoiceMisses:
    """`ask(node, voice)` raises VoiceNotFoundError if the node lacks the voice, ClientError if that is unknown."""

    def __init__(self, ask: Callable[[Node, str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._misses: dict[tuple[str, str], tuple[float, VoiceNotFoundError]] = {}

    def nodes_with(self, voice: str | None, nodes: Sequence[Node]) -> list[Node]:
        """Those of `nodes` that may have the voice. Raises the ResponseError of one of them if all lack it."""
        if voice is None:
            return list(nodes)
        now = self._clock()
        with self._lock:
            self._misses = {key: miss for key, miss in self._misses.items() if miss[0] > now}
            misses = [self._misses.get((node.url, voice)) for node in nodes]
        if nodes and all(misses):
            raise next(miss[1].response for miss in misses if miss is not None)
        return [node for node, miss in zip(nodes, misses, strict=True) if miss is None]

    def record(self, error: VoiceNotFoundError, nodes: Sequence[Node]) -> None:
        """Learns from a node's error, and asks those of `nodes` of which nothing is known."""
        with self._lock:
            self._misses[error.url, error.voice] = (self._clock() + MISS_SECONDS, error)
            unknown = [node for node in nodes if (node.url, error.voice) not in self._misses]
        if not unknown:
            return
        with ThreadPoolExecutor(min(MAX_PARALLEL, len(unknown))) as threads:
            results = threads.map(lambda node: self._miss(node, error.voice), unknown)
            misses = {(miss.url, miss.voice): (self._clock() + MISS_SECONDS, miss) for miss in results if miss}
        with self._lock:
            self._misses.update(misses)

    def forget(self, voice: str) -> None:
        """Forgets who lacks the voice: it has just been stored."""
        with self._lock:
            self._misses = {key: miss for key, miss in self._misses.items() if key[1] != voice}

    def _miss(self, node: Node, voice: str) -> VoiceNotFoundError | None:
        try:
            self._ask(node, voice)
        except VoiceNotFoundError as error:
            return error
        except (NodeError, ResponseError):
            pass  # a request will find out
        return None
