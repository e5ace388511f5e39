"""What a node registers in Consul."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from glmtts.engine.api import EngineInfo
from server.discovery.metadata import (
    comma_separated,
    default_tier,
    health_url,
    metadata,
    registration_payload,
    service_id,
    tags,
    truncated_values,
    validate_advertise,
)
from server.settings import Settings

INFO = EngineInfo(
    model="nano",
    model_version="0.3",
    languages=("zh", "en"),
    sample_rates=(24000,),
    features=("kv_cache", "streaming"),
    device="cpu",
    max_streams=1,
)


def test_metadata_is_what_was_loaded() -> None:
    """A node advertises only what it loaded: no 32000 without a 32 kHz vocoder, no region without a region."""
    assert metadata(INFO, Settings()) == {
        "model": "nano",
        "model_version": "0.3",
        "language": "zh,en",
        "sample_rate": "24000",
        "features": "kv_cache,streaming",
        "device": "cpu",
        "max_streams": "1",
        "tier": "cpu",
        "api_version": "1",
    }


def test_settings_override_tier_and_add_region() -> None:
    """The region comes from the settings, and so does the tier if one is set."""
    pairs = metadata(INFO, Settings(region="eu-1", tier="large"))
    assert (pairs["region"], pairs["tier"]) == ("eu-1", "large")


@pytest.mark.parametrize(
    ("device", "streams", "tier"),
    [("cpu", 64, "cpu"), ("cuda:0", 4, "small"), ("cuda:0", 16, "large")],
)
def test_tier_follows_the_device(device: str, streams: int, tier: str) -> None:
    """A CPU is of tier cpu; a GPU is large if it has many streams."""
    assert default_tier(replace(INFO, device=device, max_streams=streams)) == tier


def test_tags_are_dns_labels() -> None:
    """Tags can be queried by DNS: they have no underscore."""
    assert tags(INFO) == ["zh", "en", "sr-24000", "kv-cache", "streaming"]


words = st.text(min_size=1, max_size=200)


@examples(max_examples=50, deadline=None)
@given(model=words, features=st.lists(words, max_size=40), region=st.text(max_size=512))
def test_metadata_stays_within_consuls_limits(model: str, features: list[str], region: str) -> None:
    """Whatever a checkpoint is called: at most 64 pairs, and values of at most 512 bytes of UTF-8."""
    pairs = metadata(replace(INFO, model=model, features=tuple(features)), Settings(region=region))
    assert len(pairs) <= 64
    for key, value in pairs.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key)
        assert len(value.encode()) <= 512


def test_long_lists_lose_whole_items() -> None:
    """A list over the limit is truncated between items: no client sees half a feature."""
    items = [f"feature-{number}" for number in range(100)]
    kept = comma_separated(items).split(",")
    assert kept == items[: len(kept)]
    assert 30 < len(kept) < 100


def test_a_list_of_exactly_the_limit_is_whole() -> None:
    """512 bytes fit."""
    items = ["a" * 255, "b" * 256]
    assert comma_separated(items) == ",".join(items)


def test_invalid_keys_and_too_many_pairs_are_rejected() -> None:
    """What Consul would reject as a whole fails here, with a message that names it."""
    with pytest.raises(ValueError, match="sample rate"):
        truncated_values({"sample rate": "24000"})
    with pytest.raises(ValueError, match="got 65"):
        truncated_values({f"key{number}": "" for number in range(65)})


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1", "127.8.0.1", "::1", "localhost", "224.0.0.1"])
def test_unreachable_addresses_are_rejected(address: str) -> None:
    """A wildcard or loopback address is never registered."""
    with pytest.raises(ValueError, match=re.escape(repr(address))):
        validate_advertise(address, allow_loopback=False)


@pytest.mark.parametrize("address", ["10.0.0.5:7860", "http://node", "a b", "-node", ""])
def test_an_address_is_an_ip_or_a_name(address: str) -> None:
    """A port, a URL or a blank in the advertised address is rejected; an empty one is accepted."""
    if not address:
        assert validate_advertise(address, allow_loopback=False) == ""
        return
    with pytest.raises(ValueError, match="without a port"):
        validate_advertise(address, allow_loopback=False)


@pytest.mark.parametrize("address", ["10.0.0.5", "fd00::5", "node-1.example"])
def test_good_addresses_pass(address: str) -> None:
    """IPv4, IPv6 and names stay unchanged."""
    assert validate_advertise(address, allow_loopback=False) == address


def test_a_setting_allows_loopback() -> None:
    """It allows loopback, but no wildcard."""
    assert validate_advertise("127.0.0.1", allow_loopback=True) == "127.0.0.1"
    with pytest.raises(ValueError, match="other nodes can reach"):
        validate_advertise("0.0.0.0", allow_loopback=True)


@pytest.mark.parametrize(
    ("address", "host", "url"),
    [
        ("10.0.0.5", "0.0.0.0", "http://10.0.0.5:7860/health"),
        ("fd00::5", "::", "http://[fd00::5]:7860/health"),
        ("", "0.0.0.0", "http://127.0.0.1:7860/health"),
        ("", "::", "http://[::1]:7860/health"),
        ("", "10.0.0.6", "http://10.0.0.6:7860/health"),
    ],
)
def test_the_agent_checks_the_address_of_clients(address: str, host: str, url: str) -> None:
    """The HTTP check uses the advertised address, else (the agent is local) the listening address."""
    assert health_url(address, host, 7860) == url


def test_the_payload_has_both_checks() -> None:
    """Check 1 gets /health every 10 s with a timeout of 5 s and deregisters after 30 s; check 2 has a TTL of 15 s."""
    node = service_id("glm-tts", "host-1", 7860)
    payload = json.loads(json.dumps(registration_payload(node, "10.0.0.5", 7860, INFO, Settings())))
    http, ttl = payload["Checks"]
    assert node == "glm-tts-host-1-7860"
    assert (payload["ID"], payload["Name"], payload["Address"], payload["Port"]) == (node, "glm-tts", "10.0.0.5", 7860)
    assert (http["Interval"], http["Timeout"], http["DeregisterCriticalServiceAfter"]) == ("10s", "5s", "30s")
    assert ttl["TTL"] == "15s"
    assert "DeregisterCriticalServiceAfter" not in ttl
