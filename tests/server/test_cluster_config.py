"""The shared documents: what they may say, and what then holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmtts.errors import TextError
from server.cluster_config import KEYS, MAX_BYTES, ClusterConfig, Key, Limits, Style
from server.settings import Settings
from server.voices.store import VoiceStore
from tests.helpers.server import store_voice

STARTED = Settings(
    max_text_chars=1000, max_concurrent_requests=8, max_backlog_seconds=100.0, default_emotion="calm", default_speed=1.5
)
BUILT_IN = Settings()
GARBAGE = [
    ("default_style", ""),
    ("default_style", "calm"),
    ("default_style", '{"emotion": "calm"'),
    ("default_style", "[]"),
    ("default_style", "null"),
    ("default_style", '{"emotion": 1}'),
    ("default_style", '{"emotion": ""}'),
    ("default_style", '{"speed": "1.0"}'),
    ("default_style", '{"speed": 2.1}'),
    ("default_style", '{"speed": NaN}'),
    ("default_style", '{"sped": 1.0}'),
    ("default_style", "[" * 100000),
    ("limits", '{"max_text_chars": 0}'),
    ("limits", '{"max_text_chars": 10.5}'),
    ("limits", '{"max_concurrent_requests": -1}'),
    ("limits", '{"max_concurrent_requests": true}'),
    ("limits", '{"max_backlog_seconds": 0}'),
    ("limits", '{"max_backlog_seconds": 1e999}'),
    ("limits", '{"max_texts": 10}'),
    ("g2p_replace", '["弦"]'),
    ("g2p_replace", '{"弦": 1}'),
    ("g2p_replace", '{"": "<|X|>"}'),
    ("g2p_replace", '{"弦": ""}'),
    ("g2p_replace", '{"弦": "%s"}' % ("x" * 201)),
]


def put(shared: ClusterConfig, key: Key, document: Any) -> None:
    shared.apply(key, json.dumps(document).encode())


def test_without_documents_the_settings_hold() -> None:
    """Environment before built-in."""
    assert ClusterConfig(BUILT_IN).style == Style(None, 1.0)
    assert ClusterConfig(STARTED).style == Style("calm", 1.5)
    assert ClusterConfig(STARTED).limits == Limits(1000, 8, 100.0)


def test_a_document_comes_before_the_settings_field_by_field() -> None:
    """KV before environment; what a document leaves out is as the node was started."""
    shared = ClusterConfig(STARTED)
    put(shared, "default_style", {"emotion": "happy"})
    assert shared.style == Style("happy", 1.5)
    put(shared, "default_style", {"speed": 1})
    assert shared.style == Style("calm", 1.0)
    put(shared, "limits", {"max_text_chars": 10})
    assert shared.limits == Limits(10, 8, 100.0)


def test_a_request_comes_before_the_documents(tmp_path: Path) -> None:
    """Request, then KV, then the voice's own default; a shared style that the voice lacks is passed over."""
    store_voice(tmp_path, "anna", {"neutral": "one", "calm": "two", "happy": "three"})
    shared = ClusterConfig(BUILT_IN)

    def style(asked: str | None) -> str:
        return VoiceStore([tmp_path]).reference("anna", asked, shared.style.emotion).style

    assert style(None) == "neutral"
    put(shared, "default_style", {"emotion": "calm"})
    assert (style("happy"), style(None)) == ("happy", "calm")
    put(shared, "default_style", {"emotion": "angry"})
    assert style(None) == "neutral"


@given(
    max_text_chars=st.none() | st.integers(1, 10**9),
    max_concurrent_requests=st.none() | st.integers(1, 10**9),
    max_backlog_seconds=st.none() | st.floats(0, 1e300, exclude_min=True),
)
def test_limits_only_tighten(
    max_text_chars: int | None, max_concurrent_requests: int | None, max_backlog_seconds: float | None
) -> None:
    """Each is the lesser of the document's and of what the node was started with."""
    shared = ClusterConfig(STARTED)
    put(
        shared,
        "limits",
        {
            "max_text_chars": max_text_chars,
            "max_concurrent_requests": max_concurrent_requests,
            "max_backlog_seconds": max_backlog_seconds,
        },
    )
    assert shared.limits == Limits(
        min(1000, max_text_chars or 1000),
        min(8, max_concurrent_requests or 8),
        min(100.0, max_backlog_seconds or 100.0),
    )


def test_a_deletion_is_what_the_node_was_started_with() -> None:
    """The built-in default, in this node's settings."""
    words: list[Mapping[str, str]] = []
    shared = ClusterConfig(STARTED)
    shared.set_replacements = words.append
    put(shared, "default_style", {"emotion": "happy", "speed": 1})
    put(shared, "limits", {"max_text_chars": 10})
    put(shared, "g2p_replace", {"弦": "<|X|><|IAN2|>"})
    for key in KEYS:
        shared.apply(key, None)
    assert (shared.style, shared.limits) == (Style("calm", 1.5), Limits(1000, 8, 100.0))
    assert words == [{"弦": "<|X|><|IAN2|>"}, {}]


def in_force(shared: ClusterConfig) -> tuple[Style, Limits]:
    return shared.style, shared.limits


@pytest.mark.parametrize(("key", "text"), GARBAGE, ids=[f"{key} {text[:20]}" for key, text in GARBAGE])
def test_garbage_is_refused_whole(key: Key, text: str) -> None:
    """What held before holds on, and no document is taken by half."""
    shared = ClusterConfig(STARTED)
    shared.set_replacements = lambda words: pytest.fail(f"took {words}")
    put(shared, "default_style", {"emotion": "happy"})
    put(shared, "limits", {"max_text_chars": 10})
    before = in_force(shared)
    with pytest.raises(ValueError, match=r"."):
        shared.apply(key, text.encode())
    assert in_force(shared) == before


@given(key=st.sampled_from(KEYS), text=st.binary(max_size=100))
def test_no_bytes_do_anything_but_be_refused(key: Key, text: bytes) -> None:
    """Whatever stands in the store: a ValueError, or a document within its ranges."""
    shared = ClusterConfig(STARTED)
    try:
        shared.apply(key, text)
    except ValueError:
        assert in_force(shared) == in_force(ClusterConfig(STARTED))


def test_a_refusal_names_the_part_that_is_wrong() -> None:
    """Field and what is wanted."""
    with pytest.raises(ValueError, match=r"speed: .*less than or equal to 2"):
        put(ClusterConfig(STARTED), "default_style", {"speed": 3.0})
    with pytest.raises(ValueError, match=f"{MAX_BYTES + 1} bytes; at most {MAX_BYTES}"):
        ClusterConfig(STARTED).apply("limits", b" " * (MAX_BYTES + 1))


def test_the_longest_document_is_taken() -> None:
    """512 KB, as much as Consul takes."""
    shared = ClusterConfig(STARTED)
    shared.apply("limits", b'{"max_text_chars": 10}'.ljust(MAX_BYTES))
    assert shared.limits.max_text_chars == 10


def test_what_the_engine_cannot_say_is_refused() -> None:
    """The engine's refusal of a pronunciation is the document's."""

    def refuse(_: Mapping[str, str]) -> None:
        raise TextError("came 'hm'; want phonemes", field="g2p_replace")

    shared = ClusterConfig(STARTED)
    shared.set_replacements = refuse
    with pytest.raises(ValueError, match="want phonemes"):
        put(shared, "g2p_replace", {"弦": "hm"})
