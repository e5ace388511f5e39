"""Thresholds measured on a checkpoint's own voices."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glmtts.checkpoint.loader import Model, load
from scripts.benchmarks.eval_cases import load_prompts
from scripts.calibrate_checkpoint import main
from scripts.calibration.lengths import Draw, fit, measure_lengths
from scripts.calibration.measurement import without_thresholds
from scripts.calibration.prompts import measure_prompts
from server.voices.builtin_voices import BUILTIN_VOICES
from tests.helpers.server import ROOT
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

TEXTS = {
    "en": ["My aunt has sold the old boat to her neighbours.", "The train leaves at noon."],
    "zh": ["他们正在讨论明天的计划。", "这本书很有意思。"],
}


@pytest.fixture(scope="module")
def nano() -> Model:
    return without_thresholds(load(ROOT / "checkpoints" / "nano", device="cpu"))


@pytest.mark.slow
def test_measured_limits_tell_right_texts_from_wrong_ones(nano: Model) -> None:
    """Until they are there, a recording prompts with whatever text; then with its own alone, or what fits of it."""
    prompts = {prompt.name: prompt for prompt in load_prompts(ROOT / "checkpoints" / "nano" / "voices")}
    audio, right = prompts["hibari"].short()
    longer, wrong = (f"{right} {TEXTS['en'][1]}", TEXTS["en"][0])
    with torch.inference_mode():
        measured = measure_prompts(nano, [prompts["michael"], prompts["songhe"]], TEXTS)
        limits = {key: value for key, value, _ in measured}
        careful = replace(nano, generation=replace(nano.generation, **limits, tokens_per_id=1.0))
        assert (nano.generation.calibrated, careful.generation.calibrated) == (False, True)
        for text, left in ((right, right), (longer, right), (wrong, "")):
            ids = nano.voice_maker.make_voice(audio, text).prompt_text
            assert ids == nano.frontend.prompt_ids(text), "nothing is dropped by a guess"
            ids = careful.voice_maker.make_voice(audio, text).prompt_text
            assert ids == (nano.frontend.prompt_ids(left) if left else ())


def test_the_line_of_lengths_is_not_moved_by_wild_draws() -> None:
    """Two tokens an id and five besides, with a tenth that is far off; what was cut or ended at once does not count."""
    draws = [Draw(ids, 2 * ids + 5 + ids % 2, True) for ids in range(4, 44)]
    wild = [Draw(10, 400, True), Draw(20, 1, True), Draw(30, 500, True)]
    slope, base = fit(draws + wild)
    assert slope == pytest.approx(2, abs=0.1)
    assert base == pytest.approx(5.5, abs=2)
    values = {key: value for key, value, _ in measure_lengths([*draws, Draw(5, 900, False)], draws + wild)}
    least, most = values["min_length_ratio"], values["max_length_ratio"]
    assert least is not None
    assert most is not None
    assert 0.7 < least < 1 < most < 1.4
    [nothing] = measure_lengths([Draw(5, 900, False)] * 20, [])
    assert (nothing.key, nothing.value) == ("tokens_per_id", None)


@pytest.mark.slow
def test_stated_values_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is stated is kept, with what belongs to it, and overwritten by force; the list of hashes follows."""
    folder = write_tiny_checkpoint(tmp_path / "tiny", generation={"min_ratio": 0.1, "max_ratio": 8.0, "max_speed": 1.5})
    file, hashes = folder / "llm" / "generation.json", folder / "SHA256SUMS"
    hashes.write_text(f"{'0' * 64}  llm/generation.json\n", "utf-8")
    (tmp_path / "voices").mkdir()
    for name in ("michael", "songhe"):
        (tmp_path / "voices" / name).symlink_to(BUILTIN_VOICES / name)
    arguments = [str(folder), "--quick", "--device", "cpu", "--voices", str(tmp_path / "voices")]
    main(arguments)
    first = json.loads(file.read_bytes())
    assert first.items() >= {"min_ratio": 0.1, "max_ratio": 8.0, "max_speed": 1.5}.items()
    assert "tokens_per_id" in first
    assert "min_speed" not in first
    assert hashes.read_text("utf-8").startswith(hashlib.sha256(file.read_bytes()).hexdigest())
    assert "tokens_per_id" in capsys.readouterr().out
    file.write_text(json.dumps({**first, "tokens_per_id": 99.0}), "utf-8")
    main(arguments)
    assert json.loads(file.read_bytes())["tokens_per_id"] == 99.0
    main([*arguments, "--force"])
    forced = json.loads(file.read_bytes())
    assert forced["tokens_per_id"] == first["tokens_per_id"]
    assert forced["max_speed"] != 1.5
    load(folder, device="cpu")
