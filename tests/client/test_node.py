"""Nodes from Consul's entries, and the filters."""

from __future__ import annotations

from typing import Any

import pytest
from glmtts_client import Node, Query
from glmtts_client.node import from_consul, version_matches
from hypothesis import given
from hypothesis import strategies as st

FULL = {
    "model": "glm-tts", "model_version": "1.4.0", "language": "zh,en", "sample_rate": "24000,32000",
    "features": "emotion, streaming", "region": "eu", "tier": "large", "max_streams": "16",
}  # fmt: skip


def entry(**service: Any) -> dict[str, Any]:
    own = {"ID": "glm-tts-a-7860", "Address": "10.0.0.5", "Port": 7860, "Meta": FULL, **service}
    return {"Node": {"Node": "a", "Address": "10.0.0.1"}, "Service": own, "Checks": []}


@pytest.mark.parametrize(
    ("query", "language", "expected"),
    [
        (Query(), None, None),
        (Query(), "auto", None),
        (Query(), "zh", "zh"),
        (Query(language="en"), "zh", "en"),
    ],
)
def test_a_query_with_a_language(query: Query, language: str | None, expected: str | None) -> None:
    """A request's language is required of the node, unless it is auto or the query requires another."""
    assert query.with_language(language).language == expected


def test_metadata_is_parsed() -> None:
    """Lists are comma-separated."""
    node = from_consul(entry())
    assert node is not None
    assert (node.id, node.url, node.state) == ("glm-tts-a-7860", "http://10.0.0.5:7860", "passing")
    assert (node.model, node.version, node.region, node.tier) == ("glm-tts", "1.4.0", "eu", "large")
    assert node.languages == {"zh", "en"}
    assert node.features == {"emotion", "streaming"}
    assert node.sample_rates == {24000, 32000}
    assert node.max_streams == 16


@pytest.mark.parametrize(
    ("service", "url"),
    [
        ({"Address": ""}, "http://10.0.0.1:7860"),
        ({"Address": "fd00::1"}, "http://[fd00::1]:7860"),
        ({"Port": 0}, None),
    ],
)
def test_the_address(service: dict[str, Any], url: str | None) -> None:
    """The service's, else its Consul node's; an entry without a port is not a node."""
    node = from_consul(entry(**service))
    assert (node and node.url) == url


def test_state_from_checks() -> None:
    """The worst check counts; failing ones are named."""
    checks = [
        {"Name": "agent", "Status": "passing"},
        {"Name": "slow", "Status": "warning"},
        {"Name": "engine makes progress", "Status": "critical"},
    ]
    node = from_consul({**entry(), "Checks": checks})
    assert node is not None
    assert (node.state, node.failing_checks) == ("critical", "engine makes progress, slow")
    warning_node = from_consul({**entry(), "Checks": checks[:2]})
    assert warning_node is not None
    assert warning_node.state == "warning"


TEXTS = ["", ",", " zh ,en", "24000,x,", "-1", "1e9", "²", "中文", "1.2.3"]
VALUES = st.sampled_from(TEXTS) | st.integers() | st.none()
META = st.none() | st.dictionaries(st.sampled_from(sorted(FULL)), VALUES)


@given(META)
def test_malformed_metadata_is_ignored(meta: dict[str, Any] | None) -> None:
    """With missing keys or odd values a node can still be read and filtered."""
    node = from_consul(entry(Meta=meta))
    assert node is not None
    assert node.max_streams >= 1
    assert Query().matches(node)
    assert not Query("zh", {"emotion"}, 32000, "glm-tts", ">=1.2", "eu").matches(node)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (Query(), True),
        (Query(language="en"), True),
        (Query(language="fr"), False),
        (Query(features={"emotion"}), True),
        (Query(features={"emotion", "kv_cache"}), False),
        (Query(sample_rate=32000), True),
        (Query(sample_rate=48000), False),
        (Query(model="glm-tts"), True),
        (Query(model="glm-tts-nano"), False),
        (Query(version=">=1.2"), True),
        (Query(version=">=1.10"), False),
        (Query(region="eu"), True),
        (Query(region="us"), False),
    ],
)
def test_queries(query: Query, matches: bool) -> None:
    """A node without the metadata matches only the empty query."""
    assert query.matches(Node("a", "http://a", FULL)) is matches
    assert query.matches(Node("b", "http://b")) is (query == Query())


@pytest.mark.parametrize(
    ("version", "expected", "fits"),
    [
        ("1.10.0", ">=1.2", True),
        ("1.1.9", ">=1.2", False),
        ("2.0", ">=1.2,<2", False),
        ("1.3rc1", ">=1.2", True),
        ("ab12cd34ef56", "ab12cd34ef56", True),
        ("ab12cd34ef56", ">=1.2", False),
        ("fake-1", "fake-1", True),
        ("1.2", "what?", False),
        ("", "", False),
    ],
)
def test_version_matches(version: str, expected: str, fits: bool) -> None:
    """Ranges compare numerically, exact versions by text; a fingerprint is in no range."""
    assert version_matches(version, expected) is fits
