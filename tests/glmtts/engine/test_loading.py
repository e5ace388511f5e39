"""From the files of a checkpoint to an engine that is warm."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from glmtts.checkpoint import precision
from glmtts.engine.config import EngineOptions
from glmtts.engine.runtime import loading
from glmtts.engine.runtime.engine import BatchEngine
from glmtts.engine.runtime.loading import load_engine
from glmtts.errors import CheckpointError, EngineError
from glmtts.models.flow.dit_layers import DiTBlock
from tests.helpers.consul import eventually
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("loading") / "tiny")


def flow_dtype(engine: BatchEngine) -> torch.dtype:
    block = engine._model.flow.estimator.transformer_blocks[0]
    assert isinstance(block, DiTBlock)
    return block.attn.to_q.weight.dtype


def test_a_loaded_engine_is_warm_and_idle(tiny: Path) -> None:
    """It is warm, idle, and knows its own speed before the first caller comes."""
    engine = load_engine(tiny, device="cpu")
    try:
        # The last chunk is read before its thread has written down the work and released the slot.
        stats = eventually(lambda: None if engine.stats().slots_used else engine.stats())
        assert stats.step_rows.total > 0
        assert stats.realtime_ratio is not None
        assert (engine.num_running(), engine.num_waiting(), stats.buffered_seconds) == (0, 0, 0.0)
    finally:
        engine.close()


@pytest.mark.parametrize("pays", [True, False])
def test_the_flow_is_in_the_format_that_the_cpu_is_fast_in(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    """bfloat16 where that pays, and never where equal tokens are promised."""
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda device: pays)
    for deterministic, want in ((False, torch.bfloat16 if pays else torch.float32), (True, torch.float32)):
        engine = load_engine(tiny, device="cpu", options=EngineOptions(max_num_seqs=2, deterministic=deterministic))
        try:
            assert flow_dtype(engine) == want
            assert engine._model.dtype == torch.float32
            assert engine._options.deterministic == deterministic
        finally:
            engine.close()


def test_pronunciations_that_cannot_be_read_are_refused_before_the_model_is(tmp_path: Path) -> None:
    """The error names the file; a checkpoint that is not there has not been looked for."""
    wrong = tmp_path / "replace.jsonl"
    wrong.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"replace\.jsonl"):
        load_engine(tmp_path / "none", replacements=wrong)


def test_an_engine_that_cannot_speak_leaves_no_thread(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the warm-up fails, so does the loading, and the engine is closed."""
    before = set(threading.enumerate())

    def fail(*_: object) -> None:
        raise EngineError("no sound")

    monkeypatch.setattr(loading, "warm_up", fail)
    with pytest.raises(EngineError, match="no sound"):
        load_engine(tiny, device="cpu")
    assert set(threading.enumerate()) <= before
