"""How the voices of two nodes are merged."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given

from server.voices.merge import first_style, merge, state_digest
from server.voices.stored_voice import DELETIONS_KEPT, Recording, StoredVoice

NOW = datetime.now(timezone.utc)
HASH = "0" * 64


def moment(days_ago: float) -> str:
    return (NOW - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def recording(style: str, updated: str, created: str, text: str = "x") -> Recording:
    return Recording(f"{style}.{HASH}.flac", text, "en", "", created, updated)


def voice(recordings: dict[str, Recording], deleted: dict[str, str] | None = None) -> StoredVoice:
    return StoredVoice("bob", recordings, first_style(recordings), Path("bob"), deleted or {})


@st.composite
def voices(draw: st.DrawFn) -> StoredVoice:
    """Few styles, texts and times, so that they meet."""
    times = st.sampled_from([moment(days) for days in (1, 2, 3)])
    recordings, deleted = {}, {}
    for style in draw(st.sets(st.sampled_from("abc"))):
        created, updated = sorted((draw(times), draw(times)))
        if draw(st.booleans()):
            recordings[style] = recording(style, updated, created, draw(st.sampled_from("xy")))
        else:
            deleted[style] = updated
    return voice(recordings, deleted)


@given(voices(), voices(), voices())
def test_nodes_agree_in_whichever_order_they_ask(a: StoredVoice, b: StoredVoice, c: StoredVoice) -> None:
    """Merging is commutative, associative and idempotent, and equal states have equal digests."""
    both = merge(a, b)
    assert both == merge(b, a)
    assert merge(both, c) == merge(a, merge(b, c))
    assert merge(both, a) == both == merge(both, both)
    assert state_digest(both) == state_digest(merge(b, a))


@given(voices(), voices())
def test_the_digest_differs_where_a_merge_would_change_something(a: StoredVoice, b: StoredVoice) -> None:
    """So nodes with equal digests need not ask each other."""
    if merge(a, b) != merge(a, a):
        assert state_digest(a) != state_digest(b)


def test_the_newer_of_enrolment_and_deletion_stays() -> None:
    """A later deletion removes a recording, a later recording replaces one and outlives a deletion."""
    old, new = (voice({"a": recording("a", moment(days), moment(9))}) for days in (3, 1))
    deletion = voice({}, {"a": moment(2)})
    assert merge(old, new) == new
    assert merge(old, deletion) == deletion
    assert merge(new, deletion) == new


def test_styles_enrolled_on_two_nodes_are_both_kept() -> None:
    """The default is the one that was enrolled first, on every node."""
    first = voice({"b": recording("b", moment(2), moment(2))})
    second = voice({"a": recording("a", moment(1), moment(1))})
    merged = merge(first, second)
    assert (set(merged.recordings), merged.default_style) == ({"a", "b"}, "b")


def test_a_voice_made_by_hand_stays_on_its_node() -> None:
    """Nobody knows when it was made: it is neither changed by others nor shown to them."""
    by_hand = StoredVoice("bob", {"a": Recording("a.flac", "x", "en")}, "a", Path("bob"))
    other = voice({"a": recording("a", moment(1), moment(1))})
    assert merge(by_hand, other) == by_hand
    assert merge(other, by_hand) == other
    assert state_digest(by_hand) == ""


def test_an_old_deletion_is_forgotten() -> None:
    """It takes no room for ever, and nodes that still know it do not bring it back."""
    ancient = voice({}, {"a": moment(DELETIONS_KEPT.days + 1)})
    assert state_digest(ancient) == ""
    assert merge(voice({}), ancient) == voice({})
