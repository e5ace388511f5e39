"""Speaks with GLM-TTS servers: finds them through Consul, chooses, tries again elsewhere, streams without a gap."""

from glmtts_client.balancer import Ask, InRegion, NativeRate, Preference, TierByLength
from glmtts_client.cluster import Cluster
from glmtts_client.consul import ConsulAddress
from glmtts_client.errors import AnswerError, ClientError, DiscoveryError, GaveUpError, NodeError, NoNodeError
from glmtts_client.failover_stream import SegmentReport
from glmtts_client.node import Node, Query
from glmtts_client.retry import Budget, RetryPolicy
from glmtts_client.speech import Options, Speech
from glmtts_client.splice import Join
from glmtts_client.stream import SpeechStream

__all__ = [
    "AnswerError",
    "Ask",
    "Budget",
    "ClientError",
    "Cluster",
    "ConsulAddress",
    "DiscoveryError",
    "GaveUpError",
    "InRegion",
    "Join",
    "NativeRate",
    "NoNodeError",
    "Node",
    "NodeError",
    "Options",
    "Preference",
    "Query",
    "RetryPolicy",
    "SegmentReport",
    "Speech",
    "SpeechStream",
    "TierByLength",
]
