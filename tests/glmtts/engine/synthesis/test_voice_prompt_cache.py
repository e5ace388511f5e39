"""Voice prompts for the flow, and how many of them are cached."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from glmtts.checkpoint.loader import Model
from glmtts.engine.synthesis.voice_prompt_cache import VoicePromptCache, make_voice_prompt, prefill_sequence
from glmtts.models.flow.flow_batch import FlowBatcher
from glmtts.models.flow.flow_cache import FlowKVCache
from tests.helpers.voices import made_up_voice

CPU = torch.device("cpu")
LIMIT = 1000


def entry(size: int) -> FlowKVCache:
    """Of so many bytes."""
    nothing = torch.empty(0)
    return FlowKVCache(torch.empty(size, dtype=torch.uint8), nothing, nothing)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 1200)), max_size=40))
def test_the_cache_never_takes_more_than_its_limit(puts: list[tuple[int, int]]) -> None:
    """However large entries are and in whatever order they come; what was put or got last is there, if it fits."""
    cache = VoicePromptCache(LIMIT)
    held: dict[int, FlowKVCache] = {}
    for name, size in puts:
        key = (str(name), 24000, 0)
        if cache.get(key) is None:
            held[name] = entry(size)
            cache.put(key, held[name])
            assert (cache.get(key) is held[name]) == (size <= LIMIT)
        kept = [one for name, one in held.items() if cache._entries.get((str(name), 24000, 0)) is one]
        assert cache.bytes == sum(one.nbytes for one in kept) <= LIMIT


def test_the_least_recently_used_voice_is_evicted_first() -> None:
    """A lookup counts as use, and as a hit or a miss."""
    cache = VoicePromptCache(LIMIT)
    a, b, c = (("a", 24000, 0), ("b", 24000, 0), ("c", 24000, 0))
    cache.put(a, entry(400))
    cache.put(b, entry(400))
    assert cache.get(a) is not None
    cache.put(c, entry(400))
    assert cache.get(b) is None
    assert cache.get(a) is not None
    assert cache.get(c) is not None
    assert (cache.hits, cache.misses) == (3, 1)


def test_a_long_prompt_is_cut_in_front(model: Model) -> None:
    """Its last tokens and their mel stay; their number is part of the key."""
    voice = made_up_voice(model, 30)
    whole, cut = (make_voice_prompt(voice, 24000, most, CPU) for most in (None, 10))
    assert (whole.frames, cut.frames) == (60, 20)
    torch.testing.assert_close(cut.mel_tm, whole.mel_tm[-20:])
    assert cut.tokens_t.tolist() == voice.prompt_tokens[-10:].repeat_interleave(2).tolist()
    assert cut.key != whole.key
    assert make_voice_prompt(voice, 24000, 30, CPU).key == whole.key


def test_a_voice_without_prompt_has_no_frames(model: Model) -> None:
    """It needs no prefill: the speaker vector alone conditions the flow."""
    assert make_voice_prompt(made_up_voice(model, 0), 24000, None, CPU).frames == 0


def test_a_prefill_depends_on_the_voice_alone(model: Model) -> None:
    """Prefilled twice, a prompt gives the same keys and values, for all its frames: they serve every seed."""
    rows = FlowBatcher(model.flow, CPU)
    results = []
    for _ in range(2):
        row = prefill_sequence(make_voice_prompt(made_up_voice(model), 24000, None, CPU), rows)
        while not rows.is_done(row):
            rows.step([row])
        rows.step([row])  # a step too many changes nothing
        assert row.cache is not None
        results.append(row.cache)
    assert results[0].frames == 40
    torch.testing.assert_close(results[0].keys, results[1].keys, rtol=0, atol=0)
    torch.testing.assert_close(results[0].hidden, results[1].hidden, rtol=0, atol=0)
