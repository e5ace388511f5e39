"""A checkpoint is checked as a whole, in the loader's words, without its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glmtts.checkpoint.loader import load
from glmtts.checkpoint.manifest import read_manifest, sha256, write_manifest
from glmtts.checkpoint.verify import PUBLISHED, explain, verify
from glmtts.errors import CheckpointError
from tests.helpers.tiny_checkpoint import write_tiny_checkpoint

LLM = "llm/model.safetensors"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("verify") / "tiny")


@pytest.fixture
def own(tree: Path, tmp_path: Path) -> Path:
    """A copy that a test may modify."""
    return shutil.copytree(tree, tmp_path / "own")


def problems(folder: Path, **options: bool) -> list[str]:
    return [check.problem for check in verify(folder, **options) if check.problem]


def change_tensors(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(file)
    change(state)
    save_file(state, file)


def drop_norm(own: Path) -> None:
    change_tensors(own / LLM, lambda state: state.pop("model.norm.weight"))


def reshape_norm(own: Path) -> None:
    change_tensors(own / LLM, lambda state: state.update({"model.norm.weight": torch.ones(7)}))


def quantise_norm(own: Path) -> None:
    change_tensors(own / LLM, lambda state: state.update({"model.norm.weight": torch.ones(32, dtype=torch.int8)}))


def cut_weights(own: Path) -> None:
    data = (own / LLM).read_bytes()
    (own / LLM).write_bytes(data[: len(data) // 2])


def cut_flow(own: Path) -> None:
    data = (own / "flow/flow.pt").read_bytes()
    (own / "flow/flow.pt").write_bytes(data[: len(data) // 2])


def change_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), "utf-8")


def wrong_type(own: Path) -> None:
    change_json(own / "llm/config.json", hidden_size="wide")


def wrong_preprocessor(own: Path) -> None:
    change_json(own / "speech_tokenizer/preprocessor_config.json", feature_size="wide")


def listed_index(own: Path) -> None:
    (own / "llm/model.safetensors.index.json").write_text('{"weight_map": ["model.safetensors"]}', "utf-8")


def few_codes(own: Path) -> None:
    change_json(own / "speech_tokenizer/config.json", quantize_vocab_size=39)


def missing_vocoder(own: Path) -> None:
    (own / "hift/hift.pt").unlink()


def missing_speaker_encoder(own: Path) -> None:
    (own / "frontend/campplus.pt").unlink()


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (drop_norm, "1 missing: model.norm.weight"),
    (reshape_norm, "model.norm.weight: expected (32,), got (7,)"),
    (quantise_norm, "model.norm.weight: expected float32, got"),
    (cut_weights, "model.safetensors: not readable as safetensors"),
    (cut_flow, "flow.pt: not readable as a torch file of tensors"),
    (wrong_type, "expected int, got str"),
    (wrong_preprocessor, "preprocessor_config.json: "),
    (listed_index, "weight_map: expected names mapped to files"),
    (few_codes, "codebook.weight: expected (39, 32), got (40, 32)"),
    (missing_vocoder, "hift.pt"),
    (missing_speaker_encoder, "expected campplus.pt or campplus.onnx, got neither"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_told_by_the_check_and_by_the_loader(own: Path, fault: Callable[[Path], object], words: str) -> None:
    """Both refuse the checkpoint and name the same thing; the check also says what to do."""
    fault(own)
    with pytest.raises(CheckpointError) as caught:
        load(own, device="cpu")
    assert words in str(caught.value)
    assert [problem for problem in problems(own) if words in problem]
    explained = str(explain(own, caught.value))
    assert words in explained
    assert "What to do: " in explained


def test_all_problems_are_reported_not_only_the_first(own: Path) -> None:
    missing_vocoder(own)
    drop_norm(own)
    cut_flow(own)
    assert len(problems(own)) == 3


@pytest.mark.parametrize("options", [{}, {"sharded": True}, {"tied": True}, {"onnx": True, "bare_flow": True}])
def test_what_the_loader_accepts_has_no_problem(tmp_path: Path, options: dict[str, bool]) -> None:
    write_tiny_checkpoint(tmp_path / "tiny", **options)  # type: ignore[arg-type]  # all of these are booleans
    assert problems(tmp_path / "tiny") == []


def test_no_weights_are_read(tree: Path) -> None:
    """Sizes and ids are those of the files, although the tensors stay on the meta device."""
    values = {(check.part, check.what): check.value for check in verify(tree)}
    assert values["llm", "hidden_size"] == "32"
    assert values["special ids", "boa"] == str(256 + 4)
    assert torch.get_default_device().type == "cpu"


def test_changed_bytes_are_found_by_the_manifest_only(own: Path) -> None:
    """Weights of the right shapes load whatever their values; the hash tells."""
    files = [file for file in own.rglob("*") if file.is_file()]
    write_manifest(own, {file.relative_to(own).as_posix(): sha256(file) for file in files})
    assert problems(own) == []
    data = bytearray((own / LLM).read_bytes())
    data[-1] ^= 1
    (own / LLM).write_bytes(data)
    (problem,) = problems(own)
    manifest = read_manifest(own)
    assert manifest is not None
    assert f"{LLM}: expected sha256 {manifest[LLM]}, got {sha256(own / LLM)}" in problem
    assert problems(own, hashes=False) == []


def test_a_manifest_of_something_else_is_a_problem(own: Path) -> None:
    (own / "SHA256SUMS").write_text("no hashes\n", "utf-8")
    assert "SHA256SUMS: expected lines of a sha256" in problems(own)[0]


def test_another_model_differs_from_the_published_one(tree: Path) -> None:
    """Only where that is asked for: the server takes any sizes."""
    different = problems(tree, published=True)
    assert "llm: hidden_size: expected 2048, got 32" in different
    assert len(different) < len(PUBLISHED)  # the tiny one has some of its values


def test_an_error_about_something_else_stays_as_it_is(tree: Path, tmp_path: Path) -> None:
    for folder in (tree, tmp_path / "none"):
        error = CheckpointError("device 'cuda': not there")
        assert explain(folder, error) is error
