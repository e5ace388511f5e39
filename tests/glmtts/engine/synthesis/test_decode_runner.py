"""Tokens for rows in slots: in slices or at once, read at once or one step later."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glmtts.checkpoint.loader import Model
from glmtts.engine.synthesis.decode_runner import DecodeRunner
from glmtts.errors import EngineError
from glmtts.models.llm.decoder import DecodeRequest
from glmtts.models.llm.prompt import LengthBounds

STEPS = 12


def row(seed: int, ids: int = 30, maximum: int = 100) -> DecodeRequest:
    """That does not end by itself within `STEPS`."""
    return DecodeRequest(tuple(5 + (seed + i) % 7 for i in range(ids)), LengthBounds(min(50, maximum), maximum), seed)


def decoded(
    runner: DecodeRunner[str], rows: dict[int, str], steps: int = STEPS
) -> dict[str, list[int | Exception | None]]:
    """What each row decodes in so many steps; what is then still pending is read."""
    results: dict[str, list[int | Exception | None]] = {name: [] for name in rows.values()}
    for step in range(steps + 1):
        for name, token in runner.step(rows if step < steps else {}):
            results[name].append(token)
    assert not runner.has_pending_readback
    return results


def fill(runner: DecodeRunner[str], slot: int, of: DecodeRequest, slices: int) -> None:
    for start in range(0, len(of.ids) - 1, slices):
        runner.prefill(slot, of, start, slices)


@pytest.mark.parametrize("slices", [1, 7, 29])
def test_a_prompt_may_be_fed_in_slices(model: Model, slices: int) -> None:
    """Whatever the size of the slices, and while another row decodes in between, the tokens are the same."""
    whole: DecodeRunner[str] = DecodeRunner(model, 2)
    fill(whole, 0, row(1), 1000)
    expected = decoded(whole, {0: "a"})["a"]
    sliced: DecodeRunner[str] = DecodeRunner(model, 2)
    fill(sliced, 0, row(2), 1000)
    for start in range(0, 29, slices):
        sliced.prefill(1, row(1), start, slices)
        if start + slices < 29:
            sliced.step({0: "other"})
    assert decoded(sliced, {1: "a"})["a"] == expected


def test_tokens_may_be_read_one_step_later(model: Model) -> None:
    """So a device need not wait for its host: each step returns the tokens of the one before, the first none."""
    now, late = (DecodeRunner[str](model, 2, async_readback=late) for late in (False, True))
    for runner in (now, late):
        fill(runner, 0, row(1), 1000)
        fill(runner, 1, row(2), 1000)
    assert late.step({0: "a", 1: "b"}) == []
    assert late.has_pending_readback
    first = dict(late.step({}))
    assert first == dict(now.step({0: "a", 1: "b"}))
    assert decoded(late, {0: "a", 1: "b"}) == decoded(now, {0: "a", 1: "b"})


def test_a_row_that_has_its_maximum_decodes_no_more(model: Model) -> None:
    """At its maximum length a row returns nothing more, and its neighbour goes on."""
    runner: DecodeRunner[str] = DecodeRunner(model, 2)
    fill(runner, 0, row(1, maximum=3), 1000)
    fill(runner, 1, row(2), 1000)
    results = decoded(runner, {0: "short", 1: "long"})
    assert (len(results["short"]), len(results["long"])) == (3, STEPS)


def test_a_released_slot_serves_the_next_row(model: Model) -> None:
    """A released slot decodes nothing; a new row in it decodes what it does in a fresh one."""
    fresh: DecodeRunner[str] = DecodeRunner(model, 1)
    fill(fresh, 0, row(3), 1000)
    expected = decoded(fresh, {0: "a"})
    used: DecodeRunner[str] = DecodeRunner(model, 1)
    fill(used, 0, row(4), 1000)
    used.step({0: "before"})
    used.release(0)
    assert used.step({0: "before"}) == []
    fill(used, 0, row(3), 1000)
    assert decoded(used, {0: "a"}) == expected


@pytest.mark.parametrize("late", [False, True])
def test_a_row_may_be_drawn_again_in_its_slot(model: Model, late: bool) -> None:
    """Its prompt is not fed again, no token of the first draw comes after it, and its neighbour decodes what it does
    anyway."""
    again = replace(row(1), attempt=1)
    fresh: DecodeRunner[str] = DecodeRunner(model, 2)
    fill(fresh, 0, again, 1000)
    fill(fresh, 1, row(2), 1000)
    expected = decoded(fresh, {0: "again", 1: "other"})
    used: DecodeRunner[str] = DecodeRunner(model, 2, async_readback=late)
    fill(used, 0, row(1, maximum=3), 1000)
    first = decoded(used, {0: "first"}, 5)["first"]
    assert len(first) == 3
    assert first != expected["again"][:3]
    used.prefill(0, again, len(again.ids) - 1, 1000)
    fill(used, 1, row(2), 1000)
    assert decoded(used, {0: "again", 1: "other"}) == expected


def test_scores_that_are_not_numbers_are_an_error_of_that_row(model: Model) -> None:
    """The neighbour gets its token in the same step."""
    runner: DecodeRunner[str] = DecodeRunner(model, 2)
    fill(runner, 0, row(1), 1000)
    fill(runner, 1, row(2), 1000)
    runner.decoder.cache.kv[0].fill_(float("nan"))
    results = dict(runner.step({0: "bad", 1: "good"}))
    assert isinstance(results["bad"], EngineError)
    assert isinstance(results["good"], int)
