"""The client's main interface: a cluster of nodes, used like a single server.

with Cluster() as cluster:
    Path("hello.wav").write_bytes(cluster.synthesize("Hello there.").audio)
    for samples in cluster.stream("A long story …"):
        ...
"""

from __future__ import annotations

import random
import secrets
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import requests

from glmtts_client import long_text, voices
from glmtts_client.api import Api, synthesis_timeout
from glmtts_client.audio_buffer import AudioBuffer
from glmtts_client.balancer import DEFAULT_PREFERENCES, InRegion, LoadBalancer, Preference, RequestHints
from glmtts_client.consul import ConsulAddress
from glmtts_client.discovery import CACHE_SECONDS, ConsulDiscovery, Discovery, StaticDiscovery
from glmtts_client.errors import NodeError, TextTooLongError
from glmtts_client.failover_stream import FailoverStream
from glmtts_client.live_speech import LiveSpeech
from glmtts_client.node import ANY_NODE, Node, Query
from glmtts_client.node_pool import NodePool
from glmtts_client.retry import Deadline, RetryPolicy
from glmtts_client.speech import DEFAULT_OPTIONS, Language, Segment, Speech, SpeechOptions, TimedText
from glmtts_client.stream import MAX_BUFFERED_SECONDS, SpeechStream
from glmtts_client.voice_misses import VoiceMisses


class Cluster:
    """Nodes discovered through Consul, or those at `urls`. Thread-safe; create one and keep it.

    Args:
        consul: the agent, as host, host:port or URL; None uses Consul's environment variables, then 127.0.0.1:8500.
        urls: addresses of nodes, or of a proxy in front of them; Consul is not used then.
        service: name of the service in Consul.
        scheme: http or https, for requests to discovered nodes that do not say that they serve https.
        ca: file of the CA certificates that signed those of the nodes; None: well-known ones.
        query: requirements on a node, for requests without a query of their own.
        region: nodes in it are preferred.
        preferences: soft preferences, the most important first.
        retry: how long and how often to try.
        api_key: sent to every node.
        watch: keep the node list current with a blocking query, instead of querying every `cache_seconds` s.
        rng: chooses among nodes.

    Raises ValueError for a malformed address.
    """

    def __init__(
        self,
        consul: str | ConsulAddress | None = None,
        *,
        urls: Sequence[str] = (),
        service: str = "glm-tts",
        scheme: str = "http",
        ca: str | None = None,
        query: Query = ANY_NODE,
        region: str | None = None,
        preferences: Sequence[Preference] = DEFAULT_PREFERENCES,
        retry: RetryPolicy | None = None,
        api_key: str | None = None,
        watch: bool = False,
        cache_seconds: float = CACHE_SECONDS,
        rng: random.Random | None = None,
    ) -> None:
        api = Api(api_key=api_key, discovered=not urls, ca=ca)
        self._discovery: Discovery
        if urls:
            self._discovery = StaticDiscovery(urls, headers=api.headers)
        else:
            address = consul if isinstance(consul, ConsulAddress) else ConsulAddress.from_env(consul)
            self._discovery = ConsulDiscovery(address, service, scheme=scheme, watch=watch, cache_seconds=cache_seconds)
        all_preferences = (InRegion(region), *preferences) if region else tuple(preferences)
        balancer, retry = LoadBalancer(all_preferences, rng=rng), retry or RetryPolicy()
        self._pool = NodePool(self._discovery, balancer, api, retry, VoiceMisses(api.voice))
        self._query = query

    @property
    def stale(self) -> bool:
        """Whether the node list is outdated because Consul does not respond."""
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
        """The passing nodes that match the cluster's query and these requirements; see `Query`."""
        query = Query(language, frozenset(features), sample_rate, model, version, region)
        return [node for node in self._pool.nodes(self._query) if query.matches(node)]

    def synthesize(
        self,
        text: str,
        options: SpeechOptions = DEFAULT_OPTIONS,
        *,
        query: Query | None = None,
        traceparent: str | None = None,
        timing: bool = False,
    ) -> Speech:
        """The complete speech for `text`, from one node; from another one if that fails. Raises ClientError.

        A text that is longer than a server takes is spoken in parts, which are joined (not flac and opus). `timing`:
        also ask the node where the segments are in the audio (`Speech.timing`).
        """
        query = (query or self._query).with_language(options.language).with_voice(options.voice)
        options = replace(options, seed=_seed(options))
        try:
            return self._synthesize(text, options, query, traceparent, timing=timing)
        except TextTooLongError as error:
            limit = error.limit
        long_text.check_joinable(options.format)

        def speak(part: str) -> Speech:
            nonlocal options
            speech = self.synthesize(part, options, query=query, traceparent=traceparent, timing=timing)
            options = replace(options, sample_rate=speech.sample_rate)  # the same for all parts
            return speech

        return long_text.join(list(long_text.for_each_part(text, limit, speak)))

    def _synthesize(
        self, text: str, options: SpeechOptions, query: Query, traceparent: str | None, *, timing: bool
    ) -> Speech:
        policy = self._pool.retry
        body = {"text": text, **options.to_json(), "timeout": policy.queue_timeout}
        deadline, used = Deadline(policy.timeout + synthesis_timeout(text)), list[str]()
        request_id = uuid.uuid4().hex
        speech: Speech | None = None
        for attempt in policy.retrying(deadline):
            with attempt:
                node = self._pool.pick(query, RequestHints(len(text), options.sample_rate), used)
                used.append(node.url)
                headers = {**_trace_headers(traceparent), "X-Request-Id": f"{request_id}-{len(used)}"}
                start = time.monotonic()
                with self._pool.track_request(node):
                    response = self._pool.api.synthesize(node, body, headers, timeout=deadline.remaining())
                    speech = _speech(node, options, response, time.monotonic() - start, len(used))
                    if timing:
                        speech = replace(speech, timing=self._timing(node, speech.request_id))
        assert speech is not None
        return speech

    def _timing(self, node: Node, request_id: str) -> tuple[TimedText, ...]:
        """Where the segments of a request to `node` are in its audio."""
        record = self._pool.api.get(node, f"/requests/{request_id}")
        try:
            return tuple(map(TimedText.from_json, record["timing"]))
        except (LookupError, TypeError, ValueError) as error:
            raise NodeError(node.url, "expected the timing of a request, got none") from error

    def stream(
        self,
        text: str,
        options: SpeechOptions = DEFAULT_OPTIONS,
        *,
        query: Query | None = None,
        traceparent: str | None = None,
        max_buffered_seconds: float = MAX_BUFFERED_SECONDS,
    ) -> SpeechStream:
        """Speech as samples while it is synthesized; see `SpeechStream`. A node that fails is replaced.

        No segment is requested while more than `max_buffered_seconds` of audio are unread.
        """
        seed = _seed(options)
        options = replace(options, format="pcm", seed=seed)
        buffer = AudioBuffer(max_buffered_seconds)
        source = FailoverStream(
            self._pool,
            text,
            options,
            (query or self._query).with_language(options.language).with_voice(options.voice),
            buffer,
            headers=_trace_headers(traceparent),
        )
        return SpeechStream(source, buffer, seed=seed)

    def follow(
        self, pieces: Iterable[str], options: SpeechOptions = DEFAULT_OPTIONS, *, query: Query | None = None
    ) -> LiveSpeech:
        """Speaks a text while it is being written, such as by a language model; see `LiveSpeech`.

        `pieces`: the text, cut anywhere; a sentence is spoken once it is complete, or after a second without more.
        """
        query = (query or self._query).with_language(options.language).with_voice(options.voice)
        return LiveSpeech(self._pool, pieces, replace(options, seed=_seed(options)), query)

    def segments(
        self,
        text: str,
        *,
        language: Language | None = None,
        voice: str | None = None,
        phoneme: bool | None = None,
        query: Query | None = None,
    ) -> list[str]:
        """The segments in which a server would speak `text`. Raises ClientError.

        `voice`: the stored voice whose language counts for a text without letters.
        """
        options = SpeechOptions(language=language, voice=voice, phoneme=phoneme)
        query = (query or self._query).with_language(language).with_voice(voice)
        return [segment.text for segment in self._pool.segments(text, options, query, {})]

    def pronunciation(
        self, text: str, *, language: Language | None = None, voice: str | None = None, query: Query | None = None
    ) -> list[Segment]:
        """The segments as `segments` has them, with what will be said of each character and word."""
        options = SpeechOptions(language=language, voice=voice)
        query = (query or self._query).with_language(language).with_voice(voice)
        return self._pool.segments(text, options, query, {}, pronunciation=True)

    def add_voice(self, name: str, reference_audio: bytes, **fields: str) -> dict[str, Any]:
        """Stores an encoded recording as a style of a voice, and returns the voice as GET /voices/<name> does.

        `fields`: reference_text, style, language, consent, as in POST /voices/<name>. Raises ClientError.
        """
        return voices.add_voice(self._pool, self._query, name, reference_audio, fields)

    def delete_voice(self, name: str, style: str | None = None) -> None:
        """Deletes a stored voice, or one style of it. Raises ClientError."""
        voices.delete_voice(self._pool, self._query, name, style)

    def all_nodes(self) -> list[Node]:
        """All registered nodes, including failing ones, whatever the query; never cached. Raises DiscoveryError."""
        return list(self._discovery.all_nodes())

    def get(self, node: Node, path: str) -> dict[str, Any]:
        """GET a JSON object from one node, such as /info or /voices. Raises NodeError or ResponseError."""
        return self._pool.api.get(node, path)

    def get_text(self, node: Node, path: str) -> str:
        """GET text from one node, such as /metrics. Raises NodeError or ResponseError."""
        return self._pool.api.get_text(node, path)

    def close(self) -> None:
        """Ends the watch and closes idle connections; does not wait for open streams."""
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


def _trace_headers(traceparent: str | None) -> Mapping[str, str]:
    return {} if traceparent is None else {"traceparent": traceparent}


def _speech(node: Node, options: SpeechOptions, response: requests.Response, elapsed: float, attempts: int) -> Speech:
    try:
        headers = response.headers
        return Speech(
            audio=response.content,
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
            skipped_characters=int(headers.get("X-Skipped-Characters", 0)),
        )
    except (KeyError, ValueError) as error:
        raise NodeError(node.url, f"missing or invalid response header: {error}") from error
