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
from server import RELEASE
from server.discovery.advertise import Endpoint
from server.discovery.metadata import (
    check_ids,
    comma_separated,
    default_tier,
    metadata,
    registration_payload,
    service_id,
    tags,
    truncated_values,
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
        "release": RELEASE,
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


@examples(max_examples=50)
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


def test_an_id_has_only_what_consuls_filters_can_express() -> None:
    """A host may be called anything; a quote in an id could not be looked up."""
    assert service_id("glm-tts", 'a"b c', 7860) == "glm-tts-a-b-c-7860"


def test_the_payload_has_all_checks() -> None:
    """/health every 10 s, at most 5 s each; two TTLs of 15 s. A silent process is reaped, a stalled engine is not."""
    node = service_id("glm-tts", "host-1", 7860)
    endpoint = Endpoint("10.0.0.5", 7860, "10.0.0.5")
    payload = json.loads(json.dumps(registration_payload(node, endpoint, INFO, Settings())))
    http, life, progress = payload["Checks"]
    assert node == "glm-tts-host-1-7860"
    assert (payload["ID"], payload["Name"], payload["Address"], payload["Port"]) == (node, "glm-tts", "10.0.0.5", 7860)
    assert (http["Interval"], http["Timeout"], http["Status"]) == ("10s", "5s", "critical")
    assert life["TTL"] == progress["TTL"] == "15s"
    assert http["DeregisterCriticalServiceAfter"] == life["DeregisterCriticalServiceAfter"] == "30s"
    assert "DeregisterCriticalServiceAfter" not in progress
    assert {check["CheckID"] for check in payload["Checks"]} == check_ids(node)
