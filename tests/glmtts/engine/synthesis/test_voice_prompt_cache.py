"""What the flow knows of voices, and how much of it is kept."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from glmtts.checkpoint.loader import Model
from glmtts.engine.synthesis.voice_prompt_cache import VoiceMemories, condition, rehearse
from glmtts.models.flow.flow_batch import FlowBatcher
from glmtts.models.flow.flow_cache import FlowKVCache
from tests.helpers.voices import made_up_voice

CPU = torch.device("cpu")
LIMIT = 1000


def memory(size: int) -> FlowKVCache:
    """Of so many bytes."""
    nothing = torch.empty(0)
    return FlowKVCache(torch.empty(size, dtype=torch.uint8), nothing, nothing)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 1200)), max_size=40))
def test_memories_never_take_more_than_their_limit(puts: list[tuple[int, int]]) -> None:
    """However large they are and in whatever order they come; what was put or asked for last is there, if it fits."""
    memories = VoiceMemories(LIMIT)
    held: dict[int, FlowKVCache] = {}
    for name, size in puts:
        key = (str(name), 24000, 0)
        if memories.get(key) is None:
            held[name] = memory(size)
            memories.put(key, held[name])
            assert (memories.get(key) is held[name]) == (size <= LIMIT)
        kept = [one for name, one in held.items() if memories._kept.get((str(name), 24000, 0)) is one]
        assert memories.bytes == sum(one.nbytes for one in kept) <= LIMIT


def test_the_voice_that_was_used_longest_ago_goes_first() -> None:
    """Asking for a voice is using it; and each asking counts as a hit or a miss."""
    memories = VoiceMemories(LIMIT)
    a, b, c = (("a", 24000, 0), ("b", 24000, 0), ("c", 24000, 0))
    memories.put(a, memory(400))
    memories.put(b, memory(400))
    assert memories.get(a) is not None
    memories.put(c, memory(400))
    assert memories.get(b) is None
    assert memories.get(a) is not None
    assert memories.get(c) is not None
    assert (memories.hits, memories.misses) == (3, 1)


def test_a_long_prompt_is_cut_in_front(model: Model) -> None:
    """Its last tokens and their mel stay; how much stays is part of what it is remembered by."""
    voice = made_up_voice(model, 30)
    whole, cut = (condition(voice, 24000, most, CPU) for most in (None, 10))
    assert (whole.frames, cut.frames) == (60, 20)
    torch.testing.assert_close(cut.mel_tm, whole.mel_tm[-20:])
    assert cut.tokens_t.tolist() == voice.prompt_tokens[-10:].repeat_interleave(2).tolist()
    assert cut.key != whole.key
    assert condition(voice, 24000, 30, CPU).key == whole.key


def test_a_voice_without_prompt_has_no_frames(model: Model) -> None:
    """Nothing is spoken for it, and its speaker is all that conditions the flow."""
    assert condition(made_up_voice(model, 0), 24000, None, CPU).frames == 0


def test_what_is_remembered_depends_on_the_voice_alone(model: Model) -> None:
    """Spoken twice, a prompt leaves the same memory, of all its frames: it serves every seed."""
    rows = FlowBatcher(model.flow, CPU)
    found = []
    for _ in range(2):
        row = rehearse(condition(made_up_voice(model), 24000, None, CPU), rows)
        while not rows.is_done(row):
            rows.step([row])
        rows.step([row])  # whoever comes late changes nothing
        assert row.cache is not None
        found.append(row.cache)
    assert found[0].frames == 40
    torch.testing.assert_close(found[0].keys, found[1].keys, rtol=0, atol=0)
    torch.testing.assert_close(found[0].hidden, found[1].hidden, rtol=0, atol=0)
