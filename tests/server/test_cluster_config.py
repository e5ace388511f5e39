"""The shared documents: what is valid, and the configuration that follows."""

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
    ("default_style", '{"speed": 4.1}'),
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


def put(config: ClusterConfig, key: Key, document: Any) -> None:
    config.apply(key, json.dumps(document).encode())


def test_without_documents_the_settings_apply() -> None:
    """The settings, then the built-in defaults."""
    assert ClusterConfig(BUILT_IN).style == Style(None, 1.0)
    assert ClusterConfig(STARTED).style == Style("calm", 1.5)
    assert ClusterConfig(STARTED).limits == Limits(1000, 8, 100.0)


def test_a_document_overrides_the_settings_by_field() -> None:
    """A field that the document omits keeps the value of the settings."""
    config = ClusterConfig(STARTED)
    put(config, "default_style", {"emotion": "happy"})
    assert config.style == Style("happy", 1.5)
    put(config, "default_style", {"speed": 1})
    assert config.style == Style("calm", 1.0)
    put(config, "limits", {"max_text_chars": 10})
    assert config.limits == Limits(10, 8, 100.0)


def test_a_request_overrides_the_documents(tmp_path: Path) -> None:
    """The request, the document, then the voice's default style; a shared style that the voice lacks is ignored."""
    store_voice(tmp_path, "anna", {"neutral": "one", "calm": "two", "happy": "three"})
    config = ClusterConfig(BUILT_IN)

    def style(requested: str | None) -> str:
        return VoiceStore([tmp_path]).reference("anna", requested, config.style.emotion).style

    assert style(None) == "neutral"
    put(config, "default_style", {"emotion": "calm"})
    assert (style("happy"), style(None)) == ("happy", "calm")
    put(config, "default_style", {"emotion": "angry"})
    assert style(None) == "neutral"


@given(
    max_text_chars=st.none() | st.integers(1, 10**9),
    max_concurrent_requests=st.none() | st.integers(1, 10**9),
    max_backlog_seconds=st.none() | st.floats(0, 1e300, exclude_min=True),
)
def test_limits_are_only_lowered(
    max_text_chars: int | None, max_concurrent_requests: int | None, max_backlog_seconds: float | None
) -> None:
    """Each is the lower one of the document's and the settings'."""
    config = ClusterConfig(STARTED)
    put(
        config,
        "limits",
        {
            "max_text_chars": max_text_chars,
            "max_concurrent_requests": max_concurrent_requests,
            "max_backlog_seconds": max_backlog_seconds,
        },
    )
    assert config.limits == Limits(
        min(1000, max_text_chars or 1000),
        min(8, max_concurrent_requests or 8),
        min(100.0, max_backlog_seconds or 100.0),
    )


def test_a_deletion_restores_the_settings() -> None:
    """For all documents, the pronunciations included."""
    words: list[Mapping[str, str]] = []
    config = ClusterConfig(STARTED)
    config.set_replacements = words.append
    put(config, "default_style", {"emotion": "happy", "speed": 1})
    put(config, "limits", {"max_text_chars": 10})
    put(config, "g2p_replace", {"弦": "<|X|><|IAN2|>"})
    for key in KEYS:
        config.apply(key, None)
    assert (config.style, config.limits) == (Style("calm", 1.5), Limits(1000, 8, 100.0))
    assert words == [{"弦": "<|X|><|IAN2|>"}, {}]


def values(config: ClusterConfig) -> tuple[Style, Limits]:
    return config.style, config.limits


@pytest.mark.parametrize(("key", "text"), GARBAGE, ids=[f"{key} {text[:20]}" for key, text in GARBAGE])
def test_an_invalid_document_is_refused_as_a_whole(key: Key, text: str) -> None:
    """The configuration does not change, and no part of the document applies."""
    config = ClusterConfig(STARTED)
    config.set_replacements = lambda words: pytest.fail(f"took {words}")
    put(config, "default_style", {"emotion": "happy"})
    put(config, "limits", {"max_text_chars": 10})
    before = values(config)
    with pytest.raises(ValueError, match=r"."):
        config.apply(key, text.encode())
    assert values(config) == before


@given(key=st.sampled_from(KEYS), text=st.binary(max_size=100))
def test_any_bytes_are_applied_or_refused(key: Key, text: bytes) -> None:
    """Whatever the value is: a ValueError, or a valid document."""
    config = ClusterConfig(STARTED)
    try:
        config.apply(key, text)
    except ValueError:
        assert values(config) == values(ClusterConfig(STARTED))


def test_an_error_names_the_invalid_part() -> None:
    """The field, and what it expects."""
    with pytest.raises(ValueError, match=r"speed: .*less than or equal to 4"):
        put(ClusterConfig(STARTED), "default_style", {"speed": 5.0})
    with pytest.raises(ValueError, match=f"at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}"):
        ClusterConfig(STARTED).apply("limits", b" " * (MAX_BYTES + 1))


def test_the_longest_document_is_applied() -> None:
    """512 KB, Consul's own limit."""
    config = ClusterConfig(STARTED)
    config.apply("limits", b'{"max_text_chars": 10}'.ljust(MAX_BYTES))
    assert config.limits.max_text_chars == 10


def test_a_pronunciation_that_the_engine_rejects_is_refused() -> None:
    """The engine's error becomes that of the document."""

    def refuse(_: Mapping[str, str]) -> None:
        raise TextError("expected phonemes, got 'hm'", field="g2p_replace")

    config = ClusterConfig(STARTED)
    config.set_replacements = refuse
    with pytest.raises(ValueError, match="expected phonemes"):
        put(config, "g2p_replace", {"弦": "hm"})
