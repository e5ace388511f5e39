"""What a node says of itself in Consul: id, metadata, tags, address, the registration as a whole. Pure functions.

Everything is derived from what was loaded (EngineInfo), so that a node never claims what it cannot do. Knows nothing
about connections, threads or time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the id is needed before anything heavy is imported
    from glmtts.engine.api import EngineInfo
    from server.settings import Settings

log = logging.getLogger(__name__)

API_VERSION = "1"
LARGE_STREAMS = 16
"""An accelerator that carries at least so many streams at once is of tier `large`."""

# Consul refuses a registration that is over these.
MAX_PAIRS, MAX_KEY, MAX_VALUE = 64, 128, 512
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_ON_THIS_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def service_id(service: str, hostname: str, port: int) -> str:
    """`{service}-{hostname}-{port}`: the same at every start, so that a restart replaces its own ghost."""
    return f"{service}-{hostname}-{port}"


def progress_check(node_id: str) -> str:
    """Id of the TTL check that the engine's progress beats."""
    return f"{node_id}:progress"


def health_check(node_id: str) -> str:
    """Id of the check in which the agent asks /health."""
    return f"{node_id}:health"


def tier_of(info: EngineInfo) -> str:
    """`cpu`, `small` or `large`, for callers that send long texts to strong nodes."""
    if info.device.startswith("cpu"):
        return "cpu"
    return "large" if info.max_streams >= LARGE_STREAMS else "small"


def metadata(info: EngineInfo, settings: Settings) -> dict[str, str]:
    """The service's metadata, within Consul's limits; lists are comma-separated, what is empty is left out."""
    pairs = {
        "model": info.model,
        "model_version": info.model_version,
        "language": listed(info.languages),
        "sample_rate": listed([str(rate) for rate in info.sample_rates]),
        "features": listed(info.features),
        "device": info.device,
        "max_streams": str(info.max_streams),
        "tier": settings.tier or tier_of(info),
        "region": settings.region or "",
        "api_version": API_VERSION,
    }
    return within_limits({key: value for key, value in pairs.items() if value})


def listed(items: Sequence[str]) -> str:
    """`a,b,c`, cut after a whole item where Consul's limit on values asks for it."""
    text = ",".join(items)
    if len(text.encode()) <= MAX_VALUE:
        return text
    kept = text.encode()[: MAX_VALUE + 1].decode(errors="ignore").rpartition(",")[0]
    log.warning("a list of %d items does not fit into %d bytes of Consul metadata: cut", len(items), MAX_VALUE)
    return kept


def within_limits(pairs: dict[str, str]) -> dict[str, str]:
    """`pairs` with values cut to Consul's length. ValueError for keys that Consul refuses, or too many pairs."""
    if len(pairs) > MAX_PAIRS:
        raise ValueError(f"{len(pairs)} metadata pairs, and Consul takes {MAX_PAIRS}")
    for key in pairs:
        if len(key) > MAX_KEY or not _KEY.fullmatch(key):
            raise ValueError(f"metadata key {key!r}: Consul wants 1 to {MAX_KEY} of A-Z a-z 0-9 _ -")
    short = {key: value.encode()[:MAX_VALUE].decode(errors="ignore") for key, value in pairs.items()}
    for key in pairs:
        if short[key] != pairs[key]:
            log.warning("metadata %s is longer than the %d bytes that Consul takes: cut", key, MAX_VALUE)
    return short


def tags(info: EngineInfo) -> list[str]:
    """Tags for DNS users: languages, `sr-24000`, features. A DNS label has no underscore."""
    names = [*info.languages, *(f"sr-{rate}" for rate in info.sample_rates), *info.features]
    return [name.replace("_", "-") for name in names]


def check_advertised(address: str, *, allow_loopback: bool) -> str:
    """An address that others can call, unchanged ("" stays ""). ValueError for a wildcard, loopback or host:port."""
    if not address:
        return address
    try:
        number = ip_address(address)
    except ValueError:
        number = None
        if not _HOSTNAME.fullmatch(address):
            raise ValueError(f"advertise {address!r}: want an IP address or a host name, without a port") from None
    if number is not None and (number.is_unspecified or number.is_multicast):
        raise ValueError(f"advertise {address!r}: nobody can call that; want an address that other nodes reach")
    if is_loopback(address) and not allow_loopback:
        raise ValueError(f"advertise {address!r}: other nodes would call themselves (loopback_cluster permits it)")
    return address


def is_loopback(address: str) -> bool:
    """Whether an address or name means the very host that uses it."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost" or address.endswith(".localhost")


def health_url(address: str, host: str, port: int) -> str:
    """Where the agent asks /health: the address that callers use, else (the agent is on this host) the one bound."""
    target = address or _ON_THIS_HOST.get(host, host)
    return f"http://{f'[{target}]' if ':' in target else target}:{port}/health"


def registration(node_id: str, address: str, port: int, info: EngineInfo, settings: Settings) -> dict[str, Any]:
    """The whole payload for the agent's register endpoint, both checks included. Durations in seconds."""
    http = {
        "CheckID": health_check(node_id),
        "Name": "answers /health",
        "HTTP": health_url(address, settings.host, port),
        "Method": "GET",
        "Interval": f"{settings.health_interval:g}s",
        "Timeout": f"{min(settings.health_timeout, settings.health_interval):g}s",
        "DeregisterCriticalServiceAfter": f"{settings.deregister_after:g}s",
    }
    # No DeregisterCriticalServiceAfter here: a wedged engine shall stay visible, as critical, while /health answers.
    ttl = {"CheckID": progress_check(node_id), "Name": "engine makes progress", "TTL": f"{settings.consul_ttl:g}s"}
    return {
        "ID": node_id,
        "Name": settings.consul_service,
        "Address": address,
        "Port": port,
        "Tags": tags(info),
        "Meta": metadata(info, settings),
        "EnableTagOverride": False,
        "Checks": [http, ttl],
    }
