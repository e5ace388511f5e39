"""The address that clients get for this node, and whether they can come to it. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
# What resolvers take for a number: 10.1.2.300, 127.1, 2130706433, 0x7f000001.
_ENDS_IN_A_NUMBER = re.compile(r"(.*\.)?(\d+|0[xX][0-9a-fA-F]*)")
_ON_THIS_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Endpoint:
    """Where clients find this node.

    `address` is what it registers, "" for the agent's own. `reached_at` is where clients then go; "" if the agent's
    address is not known. `node` is the agent's name if `address` is "" and the name is known.
    """

    address: str
    port: int
    reached_at: str
    node: str = ""

    def __str__(self) -> str:
        return f"{self.reached_at or 'the address of the agent'}:{self.port}"


def validate_advertise(address: str, *, allow_loopback: bool) -> str:
    """Returns `address` if other nodes can reach it, or if it is "". ValueError: they can't, or it has a port."""
    if not address:
        return address
    if _as_ip(address) is None and (not _HOSTNAME.fullmatch(address) or _ENDS_IN_A_NUMBER.fullmatch(address)):
        raise ValueError(f"advertise: expected an IP address or a host name without a port, got {address!r}")
    if not is_reachable(address):
        raise ValueError(f"advertise: expected an address that other nodes can reach, got {address!r}")
    if is_loopback(address) and not allow_loopback:
        raise ValueError(f"advertise: expected no loopback address without loopback_cluster, got {address!r}")
    return address


def is_reachable(address: str) -> bool:
    """False for a wildcard, a multicast, broadcast or reserved address, and one of a single link. Loopback counts as
    reachable, a name too."""
    ip = _as_ip(address)
    if ip is None or ip.is_loopback:
        return True
    this_network = ip.version == 4 and int(ip) < 1 << 24  # 0.0.0.0/8
    return not (ip.is_unspecified or ip.is_multicast or ip.is_reserved or ip.is_link_local or this_network)


def is_loopback(address: str) -> bool:
    """Whether an address or name refers to the host that uses it."""
    ip = _as_ip(address)
    if ip is None:
        return address == "localhost" or address.endswith(".localhost")
    return ip.is_loopback


def health_url(endpoint: Endpoint, host: str, scheme: str = "http") -> str:
    """The URL of the agent's HTTP check: where clients go; if that is not known (the agent is local), `host`, where
    the server listens."""
    target = endpoint.reached_at or _ON_THIS_HOST.get(host, host)
    return f"{node_url(target, endpoint.port, scheme)}/health"


def node_url(address: str, port: int, scheme: str = "http") -> str:
    """The URL of a node's API."""
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"


def _as_ip(address: str) -> IPv4Address | IPv6Address | None:
    """The address, an IPv4 one if it is mapped into IPv6; None for a name."""
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    return (ip.ipv4_mapped if isinstance(ip, IPv6Address) else None) or ip
