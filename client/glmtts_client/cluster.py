"""The front door: a cluster of nodes as one thing that speaks.

    with Cluster() as cluster:
        Path("hello.wav").write_bytes(cluster.synthesize("Hello there.").audio)
        for samples in cluster.stream("A long story …"):
            ...

Knows how the parts fit together; what each does is theirs.
"""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import requests

from glmtts_client.api import Api, synthesis_timeout
from glmtts_client.balancer import DEFAULT_PREFERENCES, InRegion, LoadBalancer, Preference, RequestHints
from glmtts_client.consul import ConsulAddress
from glmtts_client.discovery import CACHE_SECONDS, ConsulDiscovery, Discovery, StaticDiscovery
from glmtts_client.errors import NodeError
from glmtts_client.failover_stream import FailoverStream
from glmtts_client.node import ANY_NODE, Node, Query
from glmtts_client.node_pool import NodePool
from glmtts_client.retry import Deadline, RetryPolicy
from glmtts_client.speech import DEFAULT_OPTIONS, Speech, SpeechOptions
from glmtts_client.stream import MAX_BUFFERED_SECONDS, SpeechStream


class Cluster:
    """Nodes found through Consul, or those at `urls`. Thread-safe; make one and keep it.

    Args:
        consul: the agent, as host, host:port or URL; None takes Consul's own variables, then 127.0.0.1:8500.
        urls: addresses of nodes, or of a proxy before them; then Consul is not asked.
        service: name of the service in Consul.
        scheme: how discovered nodes are spoken to, http or https.
        query: what a node must be, for every request that does not say otherwise.
        region: nodes there are preferred.
        preferences: soft wishes in order, the strongest first.
        api_key: sent to every node.
        watch: keep the list of nodes fresh by a blocking query, instead of asking anew every `cache_seconds` seconds.
    """

    def __init__(
        self,
        consul: str | ConsulAddress | None = None,
        *,
        urls: Sequence[str] = (),
        service: str = "glm-tts",
        scheme: str = "http",
        query: Query = ANY_NODE,
        region: str | None = None,
        preferences: Sequence[Preference] = DEFAULT_PREFERENCES,
        retry: RetryPolicy | None = None,
        api_key: str | None = None,
        watch: bool = False,
        cache_seconds: float = CACHE_SECONDS,
        rng: random.Random | None = None,
    ) -> None:
        api = Api(api_key=api_key, discovered=not urls)
        self._discovery: Discovery
        if urls:
            self._discovery = StaticDiscovery(urls, headers=api.headers)
        else:
            address = consul if isinstance(consul, ConsulAddress) else ConsulAddress.from_env(consul)
            self._discovery = ConsulDiscovery(address, service, scheme=scheme, watch=watch, cache_seconds=cache_seconds)
        wishes = (InRegion(region), *preferences) if region else tuple(preferences)
        self._pool = NodePool(self._discovery, LoadBalancer(wishes, rng=rng), api, retry or RetryPolicy())
        self._query = query

    @property
    def stale(self) -> bool:
        """Whether the list of nodes is an old one, because Consul does not answer."""
        return self._discovery.stale

    def nodes(
        self,
        *,
        language: str | None = None,
        features: Collection[str] = (),
        sample_rate: int | None = None,
        model: str | None = None,
        version: str | None = None,
        region: str | None = None,
    ) -> list[Node]:
        """The nodes that are passing and are all this; see `Query`."""
        wanted = Query(language, frozenset(features), sample_rate, model, version, region)
        return [node for node in self._pool.nodes(self._query) if wanted.matches(node)]

    def synthesize(
        self,
        text: str,
        options: SpeechOptions = DEFAULT_OPTIONS,
        *,
        query: Query | None = None,
        traceparent: str | None = None,
    ) -> Speech:
        """The whole of `text` from one node; from another one, when that fails."""
        query, policy = query or self._query, self._pool.retry
        options = replace(options, seed=_seed(options))
        body = {"text": text, **options.to_json(), "timeout": policy.queue_timeout}
        deadline, tried = Deadline(policy.deadline + synthesis_timeout(text)), list[str]()
        request_id = uuid.uuid4().hex
        speech: Speech | None = None
        for attempt in policy.retrying(deadline):
            with attempt:
                node = self._pool.pick(query, RequestHints(len(text), options.sample_rate), tried)
                tried.append(node.url)
                headers = {**_trace(traceparent), "X-Request-Id": f"{request_id}-{len(tried)}"}
                began = time.monotonic()
                with self._pool.track_request(node):
                    answer = self._pool.api.synthesize(node, body, headers, left=deadline.remaining())
                    speech = _speech(node, options, answer, time.monotonic() - began, len(tried))
        assert speech is not None
        return speech

    def stream(
        self,
        text: str,
        options: SpeechOptions = DEFAULT_OPTIONS,
        *,
        query: Query | None = None,
        traceparent: str | None = None,
        max_buffered_seconds: float = MAX_BUFFERED_SECONDS,
    ) -> SpeechStream:
        """`text` as samples, while it is being made; see `SpeechStream`. A node that is lost meanwhile is replaced.

        No segment is begun while more than `max_buffered_seconds` seconds wait for the listener.
        """
        options = replace(options, format="pcm", seed=_seed(options))

        def make(
            started: Callable[[int], None], emit: Callable[[bytes], None], room: Callable[[], None]
        ) -> FailoverStream:
            return FailoverStream(
                self._pool,
                text,
                options,
                query or self._query,
                headers=_trace(traceparent),
                started=started,
                emit=emit,
                room=room,
            )

        return SpeechStream(make, seed=_seed(options), max_buffered_seconds=max_buffered_seconds)

    def segments(self, text: str, *, phoneme: bool | None = None, query: Query | None = None) -> list[str]:
        """`text` in the pieces in which it would be spoken."""
        return self._pool.segments(text, SpeechOptions(phoneme=phoneme), query or self._query, {})

    def all_nodes(self) -> list[Node]:
        """All registered nodes, failing ones too, whatever the query; asked anew."""
        return list(self._discovery.all_nodes())

    def get(self, node: Node, path: str) -> dict[str, Any]:
        """A node's own answer to a GET, such as /info or /voices; NodeError or ResponseError."""
        return self._pool.api.get(node, path)

    def text(self, node: Node, path: str) -> str:
        """The same for an answer that is no JSON, such as /metrics."""
        return self._pool.api.text(node, path)

    def close(self) -> None:
        """Ends the watch and the kept connections; streams that run are not waited for."""
        self._discovery.close()
        self._pool.api.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _seed(options: SpeechOptions) -> int:
    return secrets.randbits(32) if options.seed is None else options.seed


def _trace(traceparent: str | None) -> Mapping[str, str]:
    return {} if traceparent is None else {"traceparent": traceparent}


def _speech(node: Node, options: SpeechOptions, answer: requests.Response, elapsed: float, attempts: int) -> Speech:
    try:
        headers = answer.headers
        return Speech(
            audio=answer.content,
            format=options.format,
            sample_rate=int(headers["X-Sample-Rate"]),
            audio_seconds=float(headers["X-Audio-Seconds"]),
            elapsed_seconds=elapsed,
            seed=int(headers["X-Seed"]),
            finish_reason=headers["X-Finish-Reason"],
            node=node.url,
            model_version=headers.get("X-Model-Version", ""),
            request_id=headers.get("X-Request-Id", ""),
            attempts=attempts,
        )
    except (KeyError, ValueError) as error:
        raise NodeError(node.url, f"an answer without a proper {error}") from error
