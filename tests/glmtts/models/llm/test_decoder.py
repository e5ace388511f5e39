"""The decoder: rows in slots, decoded together, each ending by its own bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.llm.decoder import Decoder, DecodeRequest, generate_tokens
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import LengthBounds, SpecialIds, length_bounds, prompt_layout
from tests.helpers.golden import load_case
from tests.helpers.tiny_llama import tiny_llama

SPECIAL = SpecialIds(ats=20, ate=55, boa=10, eoa=11, pad=12)
END = SPECIAL.speech_tokens
SAMPLED = GenerationConfig()
GREEDY = GenerationConfig(top_k=1)


def decoder(
    slots: int = 1, generation: GenerationConfig = SAMPLED, *, length: int = 96, llama: Llama | None = None
) -> Decoder:
    """A decoder whose cache is NaN wherever no row has been added."""
    llama = llama or tiny_llama()
    cache = KVCache(llama.config, slots, length)
    cache.fill_nan()
    return Decoder(llama, SPECIAL, generation, cache)


def row(seed: int, text: int = 4, speech: int = 5, bounds: LengthBounds | None = None) -> DecodeRequest:
    ids = prompt_layout([1, 2, 3], [(seed + i) % 10 for i in range(text)], [i % END for i in range(speech)], SPECIAL)
    return DecodeRequest(ids, bounds or LengthBounds(6, 30), seed)


def draw(decoder: Decoder, steps: int) -> list[list[int]]:
    """The tokens of `steps` steps, one list per slot."""
    return torch.stack([decoder.step() for _ in range(steps)], dim=1).tolist()


def until_end(drawn: list[int]) -> list[int]:
    return [token for token in drawn if 0 <= token < END]


def test_golden_tokens_alone_and_together() -> None:
    """Greedy decoding gives the published tokens and end, one case at a time and all in one batch."""
    info, tensors, state = load_case("llm_greedy")
    config = LlamaConfig(**info["config"])
    llama, special = Llama(config), SpecialIds(**info["special"])
    llama.load_state_dict(state, strict=True)
    llama.fuse()
    rows, expected = [], []
    for index, case in enumerate(info["cases"]):
        prompt_text, text, speech, tokens = (
            tensors[f"case{index}.{name}"][0].tolist() for name in ("prompt_text", "text", "prompt_speech", "tokens")
        )
        bounds = length_bounds(len(text), GREEDY)
        assert bounds == LengthBounds(case["min_len"], case["max_len"])
        rows.append(DecodeRequest(prompt_layout(prompt_text, text, speech, special), bounds, seed=index))
        expected.append(tokens + [special.speech_tokens] * (case["ended"] == "end token"))
    longest = max(len(r.ids) + r.bounds.maximum for r in rows)
    batch = Decoder(llama, special, GREEDY, KVCache(config, len(rows), longest))
    for slot, one in enumerate(rows):
        batch.add(slot, one, chunk=7)
    together = draw(batch, longest)
    for slot, one in enumerate(rows):
        assert [token for token in together[slot] if token >= 0] == expected[slot]
        alone = Decoder(llama, special, GREEDY, KVCache(config, 1, longest))
        assert list(generate_tokens(alone, one)) == [
            token for token in expected[slot] if token != special.speech_tokens
        ]


def test_tokens_do_not_depend_on_slot_or_neighbours() -> None:
    """Same seed, same tokens: alone, in another slot, added late, beside rows that come and go."""
    llama = tiny_llama()
    alone = {seed: list(generate_tokens(decoder(llama=llama), row(seed, text=seed))) for seed in (3, 4, 5)}
    assert all(6 <= len(tokens) <= 30 for tokens in alone.values())
    batch = decoder(4, llama=llama)
    batch.add(2, row(3, text=3))
    first = draw(batch, 4)
    batch.add(0, row(4, text=4))
    second = draw(batch, 5)
    batch.release(0)
    batch.add(0, row(5, text=5))
    batch.add(3, row(4, text=4))
    third = draw(batch, 40)
    assert until_end(first[2] + second[2] + third[2]) == alone[3]
    assert until_end(second[0]) == alone[4][:5]
    assert until_end(third[0]) == alone[5]
    assert until_end(third[3]) == alone[4]
    assert set(first[0] + first[1] + second[1] + third[1]) == {-1}


def test_seed_and_segment_determine_the_tokens() -> None:
    """Another seed or segment of the same prompt gives other tokens; the same ones give the same."""
    bounds = LengthBounds(20, 20)
    base = row(3, bounds=bounds)
    rows = [base, replace(base, seed=4), replace(base, segment=1), replace(base, seed=2**63 - 1), base]
    one, other_seed, other_segment, huge_seed, again = (tuple(generate_tokens(decoder(), r)) for r in rows)
    assert one == again
    assert len({one, other_seed, other_segment, huge_seed}) == 4


def test_prefill_between_the_steps_of_others() -> None:
    """A prompt prefilled in chunks between steps of other rows equals the prompt prefilled at once."""
    llama = tiny_llama()
    long, short = row(1, text=9, speech=30), row(2)
    batch = decoder(2, llama=llama)
    batch.add(0, short)
    batch.reserve(1, long)
    drawn = []
    for start in range(0, len(long.ids) - 1, 8):
        batch.prefill(1, long, start, 8)
        drawn += draw(batch, 1)[0]
    batch.activate(1, long)
    rest = draw(batch, 40)
    assert until_end(rest[1]) == list(generate_tokens(decoder(llama=llama), long))
    assert until_end(drawn + rest[0]) == list(generate_tokens(decoder(llama=llama), short))


@torch.no_grad()
def certain(llama: Llama, special_id: int, weight: float = 100.0) -> Llama:
    """Makes the model prefer `special_id`: no layer acts, and all hidden states are positive."""
    llama.lm_head.weight.zero_()
    llama.lm_head.weight[special_id] = weight
    llama.model.embed_tokens.weight.abs_().add_(1.0)
    for layer in llama.model.decoder_layers():
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    return llama


@pytest.mark.parametrize("generation", [SAMPLED, GREEDY], ids=["sampled", "greedy"])
@pytest.mark.parametrize("minimum", [0, 1, 7])
def test_the_end_is_not_sampled_below_the_minimum(generation: GenerationConfig, minimum: int) -> None:
    """A model that always prefers the end gives exactly the minimum of speech, then the end, then is idle."""
    eager = decoder(generation=generation, llama=certain(tiny_llama(), SPECIAL.eoa))
    eager.add(0, row(1, bounds=LengthBounds(minimum, 30)))
    drawn = draw(eager, minimum + 4)[0]
    assert all(0 <= token < END for token in drawn[:minimum])
    assert drawn[minimum:] == [END, -1, -1, -1]


def test_the_maximum_ends_a_row_without_the_end_token() -> None:
    """A model that never ends gives the maximum, then is idle, without the end token."""
    endless = decoder(llama=certain(tiny_llama(), SPECIAL.ats + 3))
    endless.add(0, row(1, bounds=LengthBounds(2, 9)))
    drawn = draw(endless, 12)[0]
    assert len(until_end(drawn)) == 9
    assert drawn[9:] == [-1, -1, -1]


@pytest.mark.parametrize("tau_r", [0.1, 2.0])
def test_a_row_remembers_its_recent_tokens(tau_r: float) -> None:
    """The nucleus of this model is one token; only the rule against repetition allows others."""
    generation = GenerationConfig(top_p=0.3, tau_r=tau_r)
    liking = decoder(generation=generation, llama=certain(tiny_llama(), SPECIAL.ats + 3, weight=0.125))
    liking.add(0, row(1, bounds=LengthBounds(30, 30)))
    drawn = draw(liking, 30)[0]
    assert drawn[0] == 3
    assert (len(set(drawn)) > 3) if tau_r == 0.1 else (set(drawn) == {3})


def test_only_speech_and_the_end_are_sampled() -> None:
    """However much the model prefers a text id, it is not sampled."""
    stubborn = decoder(llama=certain(tiny_llama(), 5))
    stubborn.add(0, row(1, bounds=LengthBounds(20, 20)))
    assert all(0 <= token < END for token in draw(stubborn, 20)[0])


def test_an_ended_row_stays_in_its_slot_until_released() -> None:
    """Steps after a row has ended neither write beyond its slot nor return tokens."""
    llama = tiny_llama()
    tight = row(1, bounds=LengthBounds(3, 3))
    full = decoder(length=len(tight.ids) + 3, llama=llama)
    full.add(0, tight)
    drawn = draw(full, 60)[0]
    assert len(until_end(drawn)) == 3
    assert set(drawn[3:]) == {-1}
    assert list(generate_tokens(full, tight)) == drawn[:3]


def test_closing_the_iterator_frees_the_slot() -> None:
    """The next row gets the same tokens as in a new decoder."""
    shared = decoder()
    tokens = generate_tokens(shared, row(1))
    next(tokens)
    tokens.close()  # type: ignore[attr-defined]  # a generator is what it is
    assert draw(shared, 2) == [[-1, -1]]
    assert list(generate_tokens(shared, row(2))) == list(generate_tokens(decoder(), row(2)))


def test_logits_are_those_of_the_whole_pass() -> None:
    """The logits of a step are the model's, in this order: speech tokens, end."""
    llama = tiny_llama()
    one = row(1, bounds=LengthBounds(0, 5))
    shared = decoder(llama=llama)
    shared.add(0, one)
    with torch.no_grad():
        whole = llama(torch.tensor([one.ids])).logits[0, -1]
    expected = torch.cat([whole[SPECIAL.ats : SPECIAL.ate + 1], whole[SPECIAL.eoa : SPECIAL.eoa + 1]])
    torch.testing.assert_close(shared.logits()[0], expected, atol=1e-5, rtol=1e-4)


def test_special_ids_beyond_the_vocabulary_are_refused() -> None:
    """A tokenizer that does not fit the model is a CheckpointError, not an index error later."""
    llama = tiny_llama(vocab_size=55)
    with pytest.raises(CheckpointError, match="55"):
        decoder(llama=llama)


@pytest.mark.parametrize("fixed_shape", [True, False])
def test_a_step_waits_for_nothing(fixed_shape: bool) -> None:
    """It is drawn here on tensors that have no values, where whoever reads one fails: so the host waits for no device,
    be it for sampling, for the rules by which a row ends, or for the masks of what it must not draw."""
    llama = tiny_llama().to("meta")
    cache = KVCache(llama.config, 3, 96, device="meta")
    valueless = Decoder(llama, SPECIAL, SAMPLED, cache, fixed_shape=fixed_shape)
    for slot in range(2):
        valueless.add(slot, row(slot))
    for _ in range(3):
        drawn = valueless.step()
    assert drawn.shape == (3,)
    with pytest.raises(RuntimeError):
        drawn.tolist()
