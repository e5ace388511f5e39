"""Client for a cluster of GLM-TTS servers: discovery through Consul, load balancing, retries, streams with failover."""

from glmtts_client.balancer import (
    DEFAULT_PREFERENCES,
    InRegion,
    NativeRate,
    OnVersion,
    Preference,
    RequestHints,
    TierByLength,
)
from glmtts_client.cluster import Cluster
from glmtts_client.consul import ConsulAddress
from glmtts_client.errors import (
    ClientError,
    DiscoveryError,
    NodeError,
    NoNodeAvailableError,
    ResponseError,
    RetriesExhaustedError,
)
from glmtts_client.failover_stream import SegmentReport
from glmtts_client.live_speech import LiveSpeech
from glmtts_client.node import Node, Query
from glmtts_client.retry import RetryBudget, RetryPolicy
from glmtts_client.speech import Segment, Speech, SpeechOptions
from glmtts_client.splice import SplicePoint
from glmtts_client.stream import SpeechStream

__all__ = [
    "DEFAULT_PREFERENCES",
    "ClientError",
    "Cluster",
    "ConsulAddress",
    "DiscoveryError",
    "InRegion",
    "LiveSpeech",
    "NativeRate",
    "NoNodeAvailableError",
    "Node",
    "NodeError",
    "OnVersion",
    "Preference",
    "Query",
    "RequestHints",
    "ResponseError",
    "RetriesExhaustedError",
    "RetryBudget",
    "RetryPolicy",
    "Segment",
    "SegmentReport",
    "Speech",
    "SpeechOptions",
    "SpeechStream",
    "SplicePoint",
    "TierByLength",
]
