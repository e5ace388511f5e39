"""Repetition-aware sampling: its distribution is as defined, its random numbers are arguments."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from glmtts.config import GenerationConfig
from glmtts.models.llm.sampling import NO_TOKEN, ras_sample
from glmtts.models.rng import stream_keys, uniforms
from tests.helpers.golden import load_case

DRAWS = 20_000
LARGEST = 1 - 2.0**-24
"""The largest number that `uniforms` returns."""


def numbers(count: int, seed: int = 0) -> Tensor:
    """(count, 2) uniforms of as many steps of one row."""
    keys = stream_keys(torch.full((count,), seed), torch.zeros(count, dtype=torch.int64))
    return uniforms(keys, torch.arange(count))


def window(ids: list[int], config: GenerationConfig, rows: int) -> Tensor:
    recent = [NO_TOKEN] * config.win_size + ids
    return torch.tensor([recent[len(recent) - config.win_size :]]).expand(rows, -1)


def frequencies(logits: Tensor, recent: list[int], config: GenerationConfig, seed: int = 0) -> Tensor:
    rows = logits.expand(DRAWS, -1)
    ids = ras_sample(rows, window(recent, config, DRAWS), numbers(DRAWS, seed), config)
    return torch.bincount(ids, minlength=len(logits)) / DRAWS


def defined(logits: Tensor, recent: list[int], config: GenerationConfig) -> Tensor:
    """The distribution by its definition, one candidate after the other."""
    probs = (logits.double() / config.temperature).softmax(0)
    order = probs.argsort(descending=True).tolist()
    nucleus: list[int] = []
    while order and len(nucleus) < config.top_k and sum(float(probs[i]) for i in nucleus) < config.top_p:
        nucleus.append(order.pop(0))
    result = torch.zeros_like(probs)
    for i in nucleus:
        share = probs[i] / probs[nucleus].sum()
        if recent[-config.win_size :].count(i) >= config.win_size * config.tau_r:
            result += share * probs
        else:
            result[i] += share
    return result


def assert_close(got: Tensor, expected: Tensor, draws_expected: float = math.inf) -> None:
    """Within 4 standard errors, and at least 4 samples, of the expected frequencies."""
    p = expected.clamp(min=4 / DRAWS)
    error = (p * (1 - p) * (1 / DRAWS + 1 / draws_expected)).sqrt()
    assert ((got - expected).abs() <= 4 * error).all(), (got - expected).abs().div(error).max()


def test_golden_frequencies() -> None:
    """For each history of the golden case, ids are as frequent as in the published code."""
    info, tensors, _ = load_case("ras_sampling")
    names = ("top_p", "top_k", "win_size", "tau_r", "temperature")
    config = GenerationConfig(**{name: info[name] for name in names})
    histories = [name.removeprefix("history.") for name in tensors if name.startswith("history.")]
    assert histories
    for name in histories:
        got = frequencies(tensors["logits"], tensors[f"history.{name}"].tolist(), config)
        assert_close(got, tensors[f"freq.{name}"], info["draws"])


@pytest.mark.parametrize(
    ("config", "recent"),
    [
        (GenerationConfig(), []),
        (GenerationConfig(top_k=3, top_p=1.0), []),
        (GenerationConfig(top_p=0.3), []),
        (GenerationConfig(temperature=0.5), [2]),
        (GenerationConfig(), [2, 5, 5]),
        (GenerationConfig(), [2] + [7] * 10),
        (GenerationConfig(tau_r=0.2), [2, 5, 5]),
        (GenerationConfig(win_size=4, tau_r=0.3), [2, 2, 5, 2]),
    ],
    ids=str,
)
def test_the_distribution_is_the_defined_one(config: GenerationConfig, recent: list[int]) -> None:
    """Nucleus, candidate limit, temperature and repetition act as defined, for any values."""
    torch.manual_seed(3)
    logits = 1.5 * torch.randn(12)
    logits[2] = logits.max() + 0.2
    assert_close(frequencies(logits, recent, config), defined(logits, recent, config).float())


def test_the_id_that_crosses_top_p_is_in() -> None:
    """The nucleus is the shortest prefix that reaches top_p: the crossing id can be sampled, the next one cannot."""
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    got = frequencies(logits, [], GenerationConfig(top_p=0.6))
    assert_close(got, torch.tensor([0.625, 0.375, 0.0, 0.0]))
    assert got[2:].sum() == 0


def test_top_k_1_is_greedy_whatever_the_window() -> None:
    """With top_k = 1 the best id is chosen, even if it fills the window."""
    config = GenerationConfig(top_k=1)
    logits = torch.randn(DRAWS, 9)
    ids = ras_sample(logits, logits.argmax(1, keepdim=True).expand(-1, 10), numbers(DRAWS), config)
    assert torch.equal(ids, logits.argmax(1))


@pytest.mark.parametrize("number", [0.0, 0.5, LARGEST, 1.0])
@pytest.mark.parametrize("allowed", [[0], [8], [3, 4]])
def test_a_masked_id_is_never_sampled(number: float, allowed: list[int]) -> None:
    """−inf means never: at the ends of the unit interval and beyond, in the first sample and in the second."""
    rows = 200
    logits = torch.full((rows, 9), -torch.inf)
    logits[:, allowed] = 3 * torch.randn(rows, len(allowed))
    repeated = torch.tensor(allowed).repeat(10)[:10].expand(rows, -1)
    ids = ras_sample(logits, repeated, torch.full((rows, 2), number), GenerationConfig())
    assert set(ids.tolist()) <= set(allowed)


def test_a_row_of_nan_gives_a_valid_id() -> None:
    """Its neighbours get their own ids."""
    logits = torch.randn(3, 30)
    recent, u = window([], GenerationConfig(), 3), numbers(3)
    expected = ras_sample(logits, recent, u, GenerationConfig())
    logits[1] = torch.nan
    got = ras_sample(logits, recent, u, GenerationConfig())
    assert 0 <= got[1] < 30
    assert torch.equal(got[[0, 2]], expected[[0, 2]])


def test_a_sample_never_depends_on_the_neighbours() -> None:
    """Each row of a batch gets the id that it gets alone, from the numbers of its own counter."""
    config = GenerationConfig()
    seeds, segments, steps = torch.arange(40) % 7, torch.arange(40) % 3, torch.arange(40) % 11
    logits, recent = torch.randn(40, 50), torch.randint(0, 50, (40, 10))
    u = uniforms(stream_keys(seeds, segments), steps)
    together = ras_sample(logits, recent, u, config)
    for i in range(40):
        one = slice(i, i + 1)
        alone = uniforms(stream_keys(seeds[one], segments[one]), steps[one])
        assert torch.equal(alone, u[one])
        assert ras_sample(logits[one], recent[one], alone, config) == together[i]
