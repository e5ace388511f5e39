"""From settings to an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmtts.engine.runtime.engine import BatchEngine
from glmtts.errors import CheckpointError
from server.settings import Settings
from server.wsgi import command
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint


def test_the_loader_applies_the_settings(tmp_path: Path) -> None:
    """Checkpoint, device, slots, determinism and pronunciations, of which the cluster's override the node's own."""
    words = tmp_path / "words.jsonl"
    words.write_text('{"弦": "<|H|><|AO3|>"}', "utf-8")  # not what a dictionary says
    write_tiny_checkpoint(tmp_path / "tiny")
    values = {"checkpoint": str(tmp_path / "tiny"), "device": "cpu", "g2p_replace": words, "max_num_seqs": 3}
    load, voices = command.loader(Settings(**values, deterministic=True))
    assert voices == tmp_path / "tiny" / "voices"
    engine = load()
    try:
        assert engine.info.device == "cpu"
        assert engine.stats().slots_total == 3
        assert isinstance(engine, BatchEngine)
        assert engine._options.deterministic

        def ids(text: str) -> tuple[int, ...]:
            return engine.segments(text, phoneme=True)[0].ids[:2]  # without the full stop, which differs

        assert ids("弦") == ids("<|H|><|AO3|>")
        engine.set_replacements({"弦": "<|N|><|I3|>"})
        assert ids("弦") == ids("<|N|><|I3|>") != ids("<|H|><|AO3|>")
    finally:
        engine.close()


def test_unreadable_pronunciations_are_an_error(tmp_path: Path) -> None:
    """It names the file: a node without its pronunciations must not serve."""
    write_tiny_checkpoint(tmp_path)
    load, _ = command.loader(Settings(checkpoint=str(tmp_path), device="cpu", g2p_replace=tmp_path / "none.jsonl"))
    with pytest.raises(CheckpointError, match=r"none\.jsonl"):
        load()
