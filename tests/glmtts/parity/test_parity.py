"""The comparison with golden cases: it passes on them, and fails on wrong ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from glmtts.parity.__main__ import main, read_case, run, table
from glmtts.parity.cases import CaseResult, Sources
from tests.helpers.golden import golden_dir, needs_reference, reference_data

REFERENCE = reference_data()
NOTHING = Sources(campplus=None, reference=REFERENCE)


def copied(name: str, folder: Path, as_name: str | None = None) -> Path:
    """A golden case copied to `folder`, optionally under another name; the path of its JSON."""
    for suffix in (".json", ".safetensors"):
        source = golden_dir() / f"{name}{suffix}"
        if source.exists():
            # Not copy2: golden files may be read-only.
            shutil.copyfile(source, folder / f"{as_name or name}{suffix}")
    return folder / f"{as_name or name}.json"


def spoiled(path: Path, tensor: str, *, by: float = 0.01) -> None:
    """Changes one number of a case's tensor."""
    file = path.with_suffix(".safetensors")
    tensors = load_file(file)
    flat = tensors[tensor].flatten()
    flat[0] += by if flat.is_floating_point() else 1
    tensors[tensor] = flat.view_as(tensors[tensor])
    save_file(tensors, file)


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


@torch.inference_mode()
def rows_of(folder: Path) -> list[CaseResult]:
    return run(folder, NOTHING)


def test_every_golden_case_is_within_its_limit() -> None:
    """All golden cases pass; those of the speaker encoder only if its weights exist."""
    weights = Path(os.environ.get("GLMTTS_CAMPPLUS", "checkpoints/nano/frontend/campplus.pt"))
    with torch.inference_mode():
        rows = run(golden_dir(), Sources(weights if weights.exists() else None, REFERENCE))
    names = {path.stem for path in golden_dir().glob("*.json")}
    assert names == {name for name in names if any(row.case.startswith(name) for row in rows)}
    over = [row for row in rows if not row.passed]
    without_files = [row for row in over if row.case.startswith("campplus") and not weights.exists()]
    assert over == without_files, table(over)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("flow_adaln", "mel"),
        ("flow_concat", "est_out_causal"),
        ("hift", "wav"),
        ("llm_greedy", "case0.tokens"),
        ("llm_greedy", "case1.first_logits"),
        ("mel_24000", "mel"),
        ("ras_sampling", "freq.repeated"),
        ("speech_tokenizer_max4", "tokens"),
    ],
)
def test_one_wrong_number_is_over(name: str, tensor: str, tmp_path: Path) -> None:
    """A case of any kind, under any name that begins with its kind, fails if one number is wrong."""
    path = copied(name, tmp_path, f"{name}_of_another_seed")
    assert all(row.passed for row in rows_of(tmp_path))
    spoiled(path, tensor, by=0.05)
    assert not all(row.passed for row in rows_of(tmp_path))


def test_other_sizes_are_read_from_the_case(tmp_path: Path) -> None:
    """A case whose configuration does not fit its weights fails, with their names."""
    path = copied("mel_24000", tmp_path)
    changed(path, hop=240)
    assert [row.passed for row in rows_of(tmp_path)] == [False]
    path = copied("hift", tmp_path)
    changed(path, f0_cond_channels=16)
    assert "another shape" in next(row.note for row in rows_of(tmp_path) if row.case == "hift")


def test_information_is_printed_and_not_judged(tmp_path: Path) -> None:
    """A case marked as information never fails, whatever its numbers or its kind."""
    spoiled(copied("streaming", tmp_path), "wav", by=100.0)
    changed(copied("mel_24000", tmp_path), kind="information", hop=240)
    (tmp_path / "novelty.json").write_text('{"kind": "information"}', "utf-8")
    rows = rows_of(tmp_path)
    assert {row.verdict for row in rows} == {"information"}
    assert {row.case for row in rows} == {"streaming", "mel_24000", "novelty"}


def test_what_cannot_be_compared_fails(tmp_path: Path) -> None:
    """Unknown kinds, damaged files and missing tensors are failed results; other cases are still compared."""
    copied("mel_32000", tmp_path)
    (tmp_path / "novelty.json").write_text("{}", "utf-8")
    (tmp_path / "flow_broken.json").write_text("{", "utf-8")
    (tmp_path / "hift_alone.json").write_text((golden_dir() / "hift.json").read_text("utf-8"), "utf-8")
    verdicts = {row.case: row.verdict for row in rows_of(tmp_path)}
    assert verdicts == {"mel_32000": "ok", "novelty": "OVER", "flow_broken": "OVER", "hift_alone": "OVER"}


def test_missing_speaker_weights_fail_and_say_so(tmp_path: Path) -> None:
    """The speaker encoder's cases have no weights: without them, the table says how to give them."""
    copied("campplus", tmp_path)
    (row,) = rows_of(tmp_path)
    assert not row.passed
    assert "--campplus" in row.note


def test_without_the_published_data_files_text_is_not_compared(tmp_path: Path) -> None:
    """The result says which files are missing, and has no limit."""
    copied("text_frontend", tmp_path)
    rows = run(tmp_path, Sources(campplus=None, reference=tmp_path / "nowhere"))
    assert [(row.verdict, row.passed) for row in rows] == [("not compared", True)]
    assert "--reference" in rows[0].note


@needs_reference
def test_a_bug_of_the_published_code_is_an_intended_difference(tmp_path: Path) -> None:
    """A line that the published code misreads is shown with the reason; one that it reads correctly must agree."""
    minus = {
        "text": "今天-3℃。",
        "normalized": "今天三摄氏度。",
        "segments": ["今天三摄氏度。"],
        "segments_normalized": ["今天三摄氏度。"],
        "phoneme": ["今天三摄氏度。"],
    }
    wrong = {key: "坏" if key in ("text", "normalized") else ["坏"] for key in minus}
    (tmp_path / "text_frontend_2.json").write_text(json.dumps([minus, wrong]), "utf-8")
    summary, purpose, judged = rows_of(tmp_path)
    assert "0 of 2" in summary.note
    assert (purpose.verdict, judged.verdict) == ("differs on purpose", "OVER")
    assert "minus" in purpose.note
    assert minus["text"] in purpose.note


def test_not_a_number_is_over() -> None:
    """A NaN fails."""
    assert not CaseResult("x", float("nan"), 1.0).passed
    assert "nan" in table([CaseResult("x", float("nan"), 1.0)])


def test_a_case_is_read_with_its_weights_apart() -> None:
    """Names of weights lose `state.`; inputs and outputs keep theirs."""
    case = read_case(golden_dir() / "hift.json")
    assert "conv_post.bias" in case.state
    assert set(case.tensors) == {"f0", "mel", "source", "wav"}


def test_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 if all are within limits, 1 if one is not, 2 if there are no cases or no such folder."""
    assert main([str(tmp_path)]) == 2
    path = copied("mel_24000", tmp_path)
    assert main([str(tmp_path)]) == 0
    assert "mel_24000" in capsys.readouterr().out
    spoiled(path, "mel")
    assert main([str(tmp_path)]) == 1
    assert "OVER" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "nowhere")])
