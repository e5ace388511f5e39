"""What a node says of itself in Consul."""

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
    check_advertised,
    health_url,
    listed,
    metadata,
    registration,
    service_id,
    tags,
    tier_of,
    within_limits,
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
    """A node claims what it loaded and no more: without a 32 kHz vocoder no 32000, without a region no region."""
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
    """The region comes from the settings, and so does the tier where one is set."""
    pairs = metadata(INFO, Settings(region="eu-1", tier="large"))
    assert (pairs["region"], pairs["tier"]) == ("eu-1", "large")


@pytest.mark.parametrize(
    ("device", "streams", "tier"),
    [("cpu", 64, "cpu"), ("cuda:0", 4, "small"), ("cuda:0", 16, "large")],
)
def test_tier_follows_the_device(device: str, streams: int, tier: str) -> None:
    """A CPU is of tier cpu; an accelerator is large when it carries many streams."""
    assert tier_of(replace(INFO, device=device, max_streams=streams)) == tier


def test_tags_are_dns_labels() -> None:
    """Tags can be asked for by DNS: no underscore."""
    assert tags(INFO) == ["zh", "en", "sr-24000", "kv-cache", "streaming"]


words = st.text(min_size=1, max_size=200)


@examples(max_examples=50, deadline=None)
@given(model=words, features=st.lists(words, max_size=40), region=st.text(max_size=512))
def test_metadata_stays_within_consuls_limits(model: str, features: list[str], region: str) -> None:
    """Whatever a checkpoint is called, Consul takes the metadata: ≤ 64 pairs, values ≤ 512 bytes of UTF-8."""
    pairs = metadata(replace(INFO, model=model, features=tuple(features)), Settings(region=region))
    assert len(pairs) <= 64
    for key, value in pairs.items():
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key)
        assert len(value.encode()) <= 512


def test_long_lists_lose_whole_items() -> None:
    """A list over the limit is cut between items: a caller never meets half a feature."""
    items = [f"feature-{number}" for number in range(100)]
    kept = listed(items).split(",")
    assert kept == items[: len(kept)]
    assert 30 < len(kept) < 100


def test_a_list_of_exactly_the_limit_is_whole() -> None:
    """512 bytes fit."""
    items = ["a" * 255, "b" * 256]
    assert listed(items) == ",".join(items)


def test_bad_keys_and_too_many_pairs_are_refused() -> None:
    """What Consul would refuse as a whole fails here, and is named."""
    with pytest.raises(ValueError, match="sample rate"):
        within_limits({"sample rate": "24000"})
    with pytest.raises(ValueError, match="65 metadata pairs"):
        within_limits({f"key{number}": "" for number in range(65)})


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1", "127.8.0.1", "::1", "localhost", "224.0.0.1"])
def test_addresses_that_nobody_can_call_are_refused(address: str) -> None:
    """A wildcard or loopback address never gets into Consul."""
    with pytest.raises(ValueError, match=re.escape(repr(address))):
        check_advertised(address, allow_loopback=False)


@pytest.mark.parametrize("address", ["10.0.0.5:7860", "http://node", "a b", "-node", ""])
def test_an_address_is_an_ip_or_a_name(address: str) -> None:
    """A port, a URL or a blank in the advertised address is refused; none at all is fine."""
    if not address:
        assert check_advertised(address, allow_loopback=False) == ""
        return
    with pytest.raises(ValueError, match="without a port"):
        check_advertised(address, allow_loopback=False)


@pytest.mark.parametrize("address", ["10.0.0.5", "fd00::5", "node-1.example"])
def test_good_addresses_pass(address: str) -> None:
    """IPv4, IPv6 and names are taken as they are."""
    assert check_advertised(address, allow_loopback=False) == address


def test_a_cluster_on_loopback_is_a_choice() -> None:
    """A setting permits loopback, but never a wildcard."""
    assert check_advertised("127.0.0.1", allow_loopback=True) == "127.0.0.1"
    with pytest.raises(ValueError, match="nobody can call"):
        check_advertised("0.0.0.0", allow_loopback=True)


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
def test_the_agent_asks_where_callers_ask(address: str, host: str, url: str) -> None:
    """The HTTP check goes to the advertised address, else (the agent is on this host) to the bound one."""
    assert health_url(address, host, 7860) == url


def test_registration_carries_both_checks_in_consuls_spelling() -> None:
    """Check 1 asks /health every 10 s for 5 s at most and reaps after 30 s; check 2 is a TTL of 15 s."""
    node = service_id("glm-tts", "host-1", 7860)
    payload = json.loads(json.dumps(registration(node, "10.0.0.5", 7860, INFO, Settings())))
    http, ttl = payload["Checks"]
    assert node == "glm-tts-host-1-7860"
    assert (payload["ID"], payload["Name"], payload["Address"], payload["Port"]) == (node, "glm-tts", "10.0.0.5", 7860)
    assert (http["Interval"], http["Timeout"], http["DeregisterCriticalServiceAfter"]) == ("10s", "5s", "30s")
    assert ttl["TTL"] == "15s"
    assert "DeregisterCriticalServiceAfter" not in ttl
