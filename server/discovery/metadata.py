"""What a node registers in Consul: id, metadata, tags, address and checks. Pure functions, but for `own_service_id`.

Metadata is derived from the loaded engine (EngineInfo), so that a node never advertises what it cannot do.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Sequence
from typing import Any

from glmtts.engine.api import EngineInfo
from server import RELEASE
from server.discovery.advertise import Endpoint, health_url
from server.settings import Settings

log = logging.getLogger(__name__)

API_VERSIONS = "1"
"""Of the HTTP API, comma-separated: clients use nodes that have theirs."""
LARGE_TIER_STREAMS = 16
"""A GPU with at least this many streams at once is of tier `large`."""

# Consul rejects a registration that exceeds these.
MAX_PAIRS, MAX_KEY, MAX_VALUE = 64, 128, 512
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


def service_id(service: str, hostname: str, port: int) -> str:
    """`{service}-{hostname}-{port}`: the same at every start, so that a restart replaces the old registration.

    Consul's filters cannot express every character: others than A-Z a-z 0-9 . _ - become hyphens.
    """
    return f"{service}-{_NOT_IN_A_NAME.sub('-', hostname)}-{port}"


def own_service_id(settings: Settings) -> str:
    """The id of the node with these settings, which has the host's name unless they name it."""
    return service_id(settings.consul_service, settings.node_name or socket.gethostname(), settings.port)


def progress_check_id(node_id: str) -> str:
    """Id of the TTL check that the engine's progress updates."""
    return f"{node_id}:progress"


def life_check_id(node_id: str) -> str:
    """Id of the TTL check that the process updates, whatever the engine does."""
    return f"{node_id}:life"


def health_check_id(node_id: str) -> str:
    """Id of the agent's HTTP check of /health."""
    return f"{node_id}:health"


def check_ids(node_id: str) -> frozenset[str]:
    """Ids of all checks of a node."""
    return frozenset({health_check_id(node_id), life_check_id(node_id), progress_check_id(node_id)})


def default_tier(info: EngineInfo) -> str:
    """`cpu`, `small` or `large`, for clients that send long texts to fast nodes."""
    if info.device.startswith("cpu"):
        return "cpu"
    return "large" if info.max_streams >= LARGE_TIER_STREAMS else "small"


def metadata(info: EngineInfo, settings: Settings) -> dict[str, str]:
    """The service's metadata within Consul's limits. Lists are comma-separated, empty values are omitted."""
    pairs = {
        "model": info.model,
        "model_version": info.model_version,
        "language": comma_separated(info.languages),
        "sample_rate": comma_separated([str(rate) for rate in info.sample_rates]),
        "features": comma_separated(info.features),
        "device": info.device,
        "max_streams": str(info.max_streams),
        "tier": settings.tier or default_tier(info),
        "region": settings.region or "",
        "api_version": API_VERSIONS,
        "release": RELEASE,
        "scheme": "" if settings.scheme == "http" else settings.scheme,
    }
    return truncated_values({key: value for key, value in pairs.items() if value})


def comma_separated(items: Sequence[str]) -> str:
    """`a,b,c`, truncated after a whole item to Consul's limit on values."""
    text = ",".join(items)
    if len(text.encode()) <= MAX_VALUE:
        return text
    kept = text.encode()[: MAX_VALUE + 1].decode(errors="ignore").rpartition(",")[0]
    log.warning("a list of %d items is truncated to %d bytes of Consul metadata", len(items), MAX_VALUE)
    return kept


def truncated_values(pairs: dict[str, str]) -> dict[str, str]:
    """`pairs` with values truncated to Consul's limit. ValueError: a key is invalid, or there are too many pairs."""
    if len(pairs) > MAX_PAIRS:
        raise ValueError(f"metadata: expected at most {MAX_PAIRS} pairs, got {len(pairs)}")
    for key in pairs:
        if len(key) > MAX_KEY or not _KEY.fullmatch(key):
            raise ValueError(f"metadata key: expected 1 to {MAX_KEY} of A-Z a-z 0-9 _ -, got {key!r}")
    short = {key: value.encode()[:MAX_VALUE].decode(errors="ignore") for key, value in pairs.items()}
    for key in pairs:
        if short[key] != pairs[key]:
            log.warning("metadata %s is truncated to %d bytes", key, MAX_VALUE)
    return short


def tags(info: EngineInfo) -> list[str]:
    """Tags for DNS queries: languages, `sr-24000`, features. Underscores become hyphens, as DNS labels require."""
    names = [*info.languages, *(f"sr-{rate}" for rate in info.sample_rates), *info.features]
    return [name.replace("_", "-") for name in names]


def registration_payload(
    node_id: str, endpoint: Endpoint, info: EngineInfo, settings: Settings, *, healthy: bool = False
) -> dict[str, Any]:
    """The payload for the agent's register endpoint, with all checks.

    `healthy`: whether /health passes from the start, without waiting for the agent to ask.
    """
    # The agent asks at `endpoint`, whoever answers there: only `life` shows that this process is gone. A stalled engine
    # must stay visible, as critical, so `progress` does not deregister.
    reap = {"DeregisterCriticalServiceAfter": f"{settings.deregister_after:g}s"}
    ttl = {"TTL": f"{settings.consul_ttl:g}s"}
    http = {
        "CheckID": health_check_id(node_id),
        "Name": "responds to /health",
        "HTTP": health_url(endpoint, settings.host, settings.scheme),
        # The agent asks by address; whether a certificate is one of that address is for clients to check.
        "TLSSkipVerify": settings.scheme == "https",
        "Method": "GET",
        "Interval": f"{settings.health_interval:g}s",
        "Timeout": f"{min(settings.health_timeout, settings.health_interval):g}s",
        "Status": "passing" if healthy else "critical",
        **reap,
    }
    life = {"CheckID": life_check_id(node_id), "Name": "is alive", **ttl, **reap}
    progress = {"CheckID": progress_check_id(node_id), "Name": "engine makes progress", **ttl}
    return {
        "ID": node_id,
        "Name": settings.consul_service,
        "Address": endpoint.address,
        "Port": endpoint.port,
        "Tags": tags(info),
        "Meta": metadata(info, settings),
        "EnableTagOverride": False,
        "Checks": [http, life, progress],
    }
