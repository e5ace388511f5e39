"""What a step asks of a device: nothing is read back, no shape depends on data, and launches do not grow unseen.

On `meta` tensors, which have shapes and no values: there, reading a value is an error, and the published size costs
nothing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from glmtts.models.flow.flow_block import BlockShape
from scripts.benchmarks.launches import LaunchCount
from scripts.benchmarks.stage_launches import (
    ROOT,
    block_launches,
    checkpoint_configs,
    decode_launches,
    prefill_launches,
    published_configs,
    window_launches,
)

CONFIGS = {"nano": checkpoint_configs(ROOT / "checkpoints" / "nano"), "published": published_configs()}
SHAPE = BlockShape(rows=1, frames=64, context=320, kept=64)
VOICE = BlockShape(rows=1, frames=256, context=0, kept=256)
MOST = {"nano": (236, 393, 451, 183), "published": (786, 5036, 563, 799)}
"""Launches of a decode step, a block, a window and a chunk of a prompt: a bound to lower when they become fewer."""


def assert_recordable(count: LaunchCount, most: int) -> None:
    assert count.reads == []
    assert count.data_dependent == []
    assert 0 < count.launches <= most


@pytest.mark.parametrize("name", CONFIGS)
def test_a_decode_step_reads_nothing_back(name: str) -> None:
    """Whatever its rows and positions, it has the same launches."""
    counts = [decode_launches(CONFIGS[name].llm, rows, length) for rows, length in ((1, 256), (8, 1024))]
    assert_recordable(counts[0], MOST[name][0])
    assert counts[0].operations == counts[1].operations


@pytest.mark.parametrize("name", CONFIGS)
def test_a_chunk_of_a_prompt_reads_nothing_back(name: str) -> None:
    """Whatever its ids and positions, it has the same launches; its slot and its first position are data."""
    counts = [prefill_launches(CONFIGS[name].llm, ids, length) for ids, length in ((128, 256), (32, 2048))]
    assert_recordable(counts[0], MOST[name][3])
    assert counts[0].operations == counts[1].operations


@pytest.mark.parametrize("name", CONFIGS)
def test_a_block_of_the_flow_reads_nothing_back(name: str) -> None:
    """All solver steps, both sides of guidance."""
    assert_recordable(block_launches(CONFIGS[name].flow, SHAPE), MOST[name][1])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_block_has_the_same_launches_whatever_its_shape(name: str) -> None:
    """And nearly the same for a voice's prompt, which has no context."""
    config = replace(CONFIGS[name].flow, n_timesteps=1)
    small, large = (block_launches(config, shape) for shape in (SHAPE, BlockShape(8, 256, 576, 64)))
    assert small.operations == large.operations
    assert_recordable(block_launches(config, VOICE), small.launches)


def test_solver_steps_are_nearly_all_of_a_block() -> None:
    """What they share, the text embedding, is done once: two more steps cost as much as two before."""
    counts = [block_launches(replace(CONFIGS["nano"].flow, n_timesteps=steps), SHAPE).launches for steps in (2, 4, 6)]
    assert counts[2] - counts[1] == counts[1] - counts[0]
    assert counts[0] < counts[2] - counts[1] + 150


@pytest.mark.parametrize("name", CONFIGS)
def test_a_vocoder_window_reads_nothing_back(name: str) -> None:
    """Whatever its rows and frames, it has the same launches."""
    counts = [window_launches(CONFIGS[name].vocoder, rows, frames) for rows, frames in ((1, 128), (4, 256))]
    assert_recordable(counts[0], MOST[name][2])
    assert counts[0].operations == counts[1].operations
