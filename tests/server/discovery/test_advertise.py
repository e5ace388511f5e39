"""Which addresses a node may give to clients, and where the agent asks for its health."""

from __future__ import annotations

import re

import pytest

from server.discovery.advertise import Endpoint, health_url, is_loopback, is_reachable, validate_advertise


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "::", "0.1.2.3"),
        *("127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1", "localhost"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1"),
        *("fe80::1", "fe80::1%eth0", "169.254.1.1"),
    ],
)
def test_unreachable_addresses_are_rejected(address: str) -> None:
    """Wildcard, loopback, multicast, broadcast, reserved and link-local addresses are never registered."""
    with pytest.raises(ValueError, match=re.escape(repr(address))):
        validate_advertise(address, allow_loopback=False)


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.5:7860", "http://node", "a b", "-node", "a..b", f"{'a' * 64}.example", "x." * 127 + "example"),
        *("10.1.2.300", "1.2.3", "127.1", "2130706433", "0x7f.1"),
    ],
)
def test_an_address_is_an_ip_or_a_name(address: str) -> None:
    """Neither a port, a URL or a blank, nor a number that resolvers would read in their own way."""
    with pytest.raises(ValueError, match="without a port"):
        validate_advertise(address, allow_loopback=False)


@pytest.mark.parametrize(
    "address", ["", "10.0.0.5", "fd00::5", "::ffff:10.0.0.5", "node-1.example", "my_node", "3com.com"]
)
def test_good_addresses_pass(address: str) -> None:
    """IPv4, IPv6, names and the empty address stay unchanged."""
    assert validate_advertise(address, allow_loopback=False) == address


def test_a_setting_allows_loopback() -> None:
    """It allows loopback, but no wildcard."""
    assert validate_advertise("127.0.0.1", allow_loopback=True) == "127.0.0.1"
    with pytest.raises(ValueError, match="other nodes can reach"):
        validate_advertise("0.0.0.0", allow_loopback=True)


def test_loopback_is_reachable_on_its_own_host() -> None:
    """A cluster on one host uses it; an unknown address is not judged."""
    assert is_reachable("127.0.0.1")
    assert is_reachable("")
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("")


@pytest.mark.parametrize(
    ("reached_at", "host", "url"),
    [
        ("10.0.0.5", "0.0.0.0", "http://10.0.0.5:7860/health"),
        ("10.0.0.5", "127.0.0.1", "http://10.0.0.5:7860/health"),
        ("fd00::5", "::", "http://[fd00::5]:7860/health"),
        ("", "0.0.0.0", "http://127.0.0.1:7860/health"),
        ("", "::", "http://[::1]:7860/health"),
        ("", "10.0.0.6", "http://10.0.0.6:7860/health"),
    ],
)
def test_the_agent_asks_where_clients_go(reached_at: str, host: str, url: str) -> None:
    """The HTTP check uses the address of clients, and the listening address only if that is unknown."""
    assert health_url(Endpoint("", 7860, reached_at), host) == url
