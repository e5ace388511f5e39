"""The checkpoint loader: strict, for both trees, with errors that name what does not fit."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glmtts.checkpoint.loader import Model, load, pick_device
from glmtts.checkpoint.model_info import fingerprint
from glmtts.checkpoint.speakers import read_speakers
from glmtts.config import GenerationConfig, HiFTConfig
from glmtts.errors import CheckpointError
from glmtts.models.llm.prompt_score import score_prompt
from tests.helpers.tiny_checkpoint import CODES, DIT, write_tiny_checkpoint


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One checkpoint for all tests that only read it."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def own(tree: Path, tmp_path: Path) -> Path:
    """A copy that a test may modify."""
    return shutil.copytree(tree, tmp_path / "own")


@pytest.fixture(scope="module")
def model(tree: Path) -> Model:
    return load(tree, device="cpu")


def states(model: Model) -> dict[str, Tensor]:
    """All weights of all components, by component and name."""
    hift = model.vocoders[24000]
    assert isinstance(hift, nn.Module)
    parts: dict[str, nn.Module] = {
        "llm": model.llm,
        "flow": model.flow,
        "hift": hift,
        "speech": model.speech_tokenizer,
        "speaker": model.speaker_encoder,
    }
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


def error_of(folder: Path, **options: Any) -> str:
    """The message of the loader's CheckpointError."""
    with pytest.raises(CheckpointError) as caught:
        load(folder, device="cpu", **options)
    return str(caught.value)


def test_modules_have_the_weights_of_the_files(tree: Path, model: Model) -> None:
    """Each weight of each component is that in its file, in float32 on the CPU, in eval mode, without gradient."""
    llm = load_file(tree / "llm/model.safetensors")
    assert all(torch.equal(model.llm.state_dict()[name], value) for name, value in llm.items())
    flow = torch.load(tree / "flow/flow.pt", weights_only=True)["model"]
    assert all(torch.equal(model.flow.state_dict()[name], value) for name, value in flow.items())
    speech = load_file(tree / "speech_tokenizer/model.safetensors")
    for name, value in model.speech_tokenizer.state_dict().items():
        assert torch.equal(value, speech[f"model.encoder.{name}"])
    floats = [value for value in states(model).values() if value.is_floating_point()]
    assert floats
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in floats)
    for module in (model.llm, model.flow, model.vocoders[24000], model.speech_tokenizer, model.speaker_encoder):
        assert isinstance(module, nn.Module)
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_model_has_the_parameters_of_the_files(model: Model) -> None:
    """Special ids, sampling parameters, rates and sizes are those of the files."""
    special = model.special
    assert (special.pad, special.eoa, special.boa) == (256, 258, 260)
    assert special.ate - special.ats + 1 == CODES == model.flow.config.dit.text_vocab_size
    assert model.generation == GenerationConfig(min_ratio=1.0, max_ratio=2.0)
    assert model.flow.config.dit == DIT
    assert model.flow.config.n_timesteps == 3
    assert model.sample_rates == (24000,)
    assert model.max_positions == 2048
    assert model.dtype == torch.float32
    assert model.frontend.segments("hello", phoneme=True)[0].ids != model.frontend.segments("hello")[0].ids


def test_limits_of_the_checkpoint_decide_on_prompts(own: Path) -> None:
    """Reference audio with a higher NLL, or a less likely end, does not prompt the model; without limits all does."""
    transcript, speech = "hello", [1, 2, 3, 4]
    model = load(own, device="cpu")
    form = model.voice_maker.check(transcript, speech, [])
    assert (form.tokens, form.text) == (4, model.frontend.prompt_ids(transcript))
    nll, end_nll = score_prompt(model.llm, model.special, form.text, speech)
    for name, value in (("max_prompt_nll", nll), ("max_prompt_end_nll", end_nll)):
        for limit, prompts in ((value + 0.1, True), (value - 0.1, False)):
            generation = replace(model.generation, **{name: limit})
            check = replace(model, generation=generation).voice_maker.check
            assert bool(check(transcript, speech, []).text) is prompts


@pytest.mark.parametrize("variant", ["sharded", "bare_flow", "own_flow_config", "onnx"])
def test_variants_of_a_checkpoint_load_alike(variant: str, model: Model, tmp_path: Path) -> None:
    """Shards, a bare flow.pt, a FlowConfig file and the ONNX speaker encoder give the same weights."""
    other = load(write_tiny_checkpoint(tmp_path / "c", **{variant: True}), device="cpu")
    expected = states(model)
    assert other.flow.config == model.flow.config
    assert states(other).keys() == expected.keys()
    assert [n for n, v in states(other).items() if v.is_floating_point() and not torch.equal(v, expected[n])] == []


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    """With tied embeddings the file has no head, and the head is the embedding."""
    model = load(write_tiny_checkpoint(tmp_path / "c", tied=True), device="cpu")
    assert torch.equal(model.llm.lm_head.weight, model.llm.model.embed_tokens.weight)


def test_the_vocoder_has_the_published_sizes_without_a_config(tmp_path: Path) -> None:
    """`hift.pt` alone is read with the official sizes."""
    model = load(write_tiny_checkpoint(tmp_path / "c", hift_config=False), device="cpu")
    assert model.vocoders[24000].config == HiFTConfig()  # type: ignore[attr-defined]  # HiFT, not any vocoder


def test_optional_files_have_defaults(own: Path) -> None:
    """Without generation.json, able.json and the lexicon: the published constants, and no English phonemes."""
    for name in ("llm/generation.json", "frontend/able.json", "frontend/lexicon_en.json.gz"):
        (own / name).unlink()
    model = load(own, device="cpu")
    assert model.generation == GenerationConfig()
    assert model.frontend.segments("hello", phoneme=True)[0].ids == model.frontend.segments("hello")[0].ids


def test_dtype_is_that_of_the_ar_model(tree: Path) -> None:
    """Only the AR transformer is in `dtype`; flow and vocoder stay in float32."""
    model = load(tree, device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in model.llm.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.flow.parameters()} == {torch.float32}


def test_replacements_reach_the_front_end(tree: Path) -> None:
    """A pronunciation given at load is used in phoneme mode."""
    ids = load(tree, device="cpu", replace={"你": "<|N|><|I3|>"}).frontend.segments("你", phoneme=True)[0].ids
    names = [256 + 6, 256 + 6 + 1]  # the first two phonemes of the helper's list
    assert list(ids[:2]) == names


def test_all_missing_unexpected_and_misshapen_names_are_reported(own: Path) -> None:
    """The message has the file, and all names that are missing, unexpected or of another shape."""
    file = own / "flow/flow.pt"
    state = torch.load(file, weights_only=True)["model"]
    del state["estimator.proj_out.bias"], state["estimator.time_embed.time_mlp.0.bias"]
    state["estimator.extra"] = torch.zeros(2)
    state["estimator.proj_out.weight"] = torch.zeros(80, 33)
    torch.save({"model": state}, file)
    message = error_of(own)
    assert str(file) in message
    for part in (
        "2 missing",
        "proj_out.bias",
        "time_mlp.0.bias",
        "1 unexpected",
        "estimator.extra",
        "(80, 33)",
        "(80, 32)",
    ):
        assert part in message


def test_an_unknown_name_in_the_speech_tokenizer_is_refused(own: Path) -> None:
    """Only weights known to be unused may be left over."""
    file = own / "speech_tokenizer/model.safetensors"
    save_file({**load_file(file), "model.encoder.surprise": torch.zeros(1)}, file)
    assert "surprise" in error_of(own)


@pytest.mark.parametrize(
    "name",
    [
        "llm/config.json",
        "llm/model.safetensors",
        "flow/config.yaml",
        "flow/flow.pt",
        "hift/hift.pt",
        "speech_tokenizer/config.json",
        "speech_tokenizer/preprocessor_config.json",
        "speech_tokenizer/model.safetensors",
        "vq32k-phoneme-tokenizer/tokenizer.model",
        "frontend/campplus.pt",
    ],
)
def test_a_missing_or_damaged_file_is_named(name: str, own: Path) -> None:
    """A file that is damaged or missing is a CheckpointError with its folder."""
    file = own / name
    file.write_bytes(b"{garbage")
    assert str(file.parent) in error_of(own)
    file.unlink()
    assert str(file.parent) in error_of(own)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """With an index, each shard that it lists must exist."""
    folder = write_tiny_checkpoint(tmp_path / "c", sharded=True)
    (folder / "llm/model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002" in error_of(folder)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    """A path that is not a folder is an error that says so."""
    assert "no such folder" in error_of(tmp_path / "nowhere")


def test_an_unknown_key_is_refused(own: Path) -> None:
    """A misspelt key in generation.json is an error, not ignored."""
    (own / "llm/generation.json").write_text('{"top_q": 0.8}', encoding="utf-8")
    assert "top_q" in error_of(own)


def test_heads_that_the_model_does_not_have_are_refused(own: Path) -> None:
    (own / "llm/generation.json").write_text('{"alignment_heads": [[0, 0], [0, 99]]}', encoding="utf-8")
    assert "alignment_heads: expected [layer, head]" in error_of(own)


def test_speakers_are_those_of_the_file(own: Path) -> None:
    """Ids by name, `unknown` for others; ids that the model does not have are refused. Without the file, none."""
    assert load(own, device="cpu").speaker_ids("tongtong") == ()
    file = own / "llm" / "spk_prompt_dict.yaml"
    file.write_text('{"unknown": [5, 6], "tongtong": [5, 7, 8],}', "utf-8")
    model = load(own, device="cpu")
    assert (model.speaker_ids("tongtong"), model.speaker_ids("someone")) == ((5, 7, 8), (5, 6))
    for wrong in ('{"a": [1, 999999]}', '{"a": 3}', '{"a": [true]}', "[1]", '{"a": ['):
        file.write_text(wrong, "utf-8")
        with pytest.raises(CheckpointError, match=r"spk_prompt_dict\.yaml"):
            read_speakers(own / "llm", 320)


def test_too_few_rows_for_the_tokenizer_are_refused(own: Path) -> None:
    """A tokenizer with ids for which the AR model has no row is an error."""
    file = own / "vq32k-phoneme-tokenizer/tokenizer_config.json"
    values = json.loads(file.read_text("utf-8"))
    values["added_tokens_decoder"]["999"] = {"content": "<|late|>", "special": True}
    file.write_text(json.dumps(values), "utf-8")
    assert "999" in error_of(own)


def test_a_flow_with_fewer_codes_is_refused(tmp_path: Path) -> None:
    """Each speech token must have a row in the flow's embedding."""
    folder = write_tiny_checkpoint(tmp_path / "c", dit=replace(DIT, text_vocab_size=CODES - 2))
    assert f"{CODES} speech tokens" in error_of(folder)


def test_speech_ids_must_be_consecutive(own: Path) -> None:
    """The speech tokens have consecutive ids, as many as codes, and no special id is below the padding's."""
    file = own / "vq32k-phoneme-tokenizer/tokenizer_config.json"
    text = file.read_text("utf-8")
    last = f"<|audio_{CODES - 1}|>"
    file.write_text(text.replace(f'"{last}"', '"<|audio_999|>"'), "utf-8")
    assert last in error_of(own)
    file.write_text(text.replace('"309"', '"308"').replace('"308"', '"309"', 1), "utf-8")
    assert "in a row" in error_of(own)
    file.write_text(
        text.replace("<|user|>", "<|x|>").replace("<|endoftext|>", "<|user|>").replace("<|x|>", "<|endoftext|>"),
        "utf-8",
    )
    assert "<|user|>" in error_of(own)


def test_another_architecture_is_refused(own: Path) -> None:
    """llm/config.json must describe a Llama."""
    values = json.loads((own / "llm/config.json").read_text("utf-8"))
    (own / "llm/config.json").write_text(json.dumps({**values, "model_type": "gpt2"}), "utf-8")
    assert "gpt2" in error_of(own)


def test_the_version_follows_the_weights(own: Path) -> None:
    """Without model.json the version is a fingerprint: the same for equal files, another for other weights."""
    before = load(own, device="cpu").info
    assert (before.name, before.languages) == ("own", ("zh", "en"))
    assert fingerprint(own) == before.version
    state = torch.load(own / "hift/hift.pt", weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, own / "hift/hift.pt")
    assert fingerprint(own) != before.version


def test_model_json_names_the_checkpoint(own: Path) -> None:
    """Name, version and languages are those of model.json; an unknown key or a wrong type is an error."""
    (own / "model.json").write_text('{"name": "n", "version": "1.2", "languages": ["en"]}', "utf-8")
    info = load(own, device="cpu").info
    assert (info.name, info.version, info.languages) == ("n", "1.2", ("en",))
    for wrong in ('{"nom": "n"}', '{"version": 1}', '{"languages": "en"}', "[]"):
        (own / "model.json").write_text(wrong, "utf-8")
        assert "model.json" in error_of(own)


def test_the_32_khz_vocoder_needs_its_hash(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A TorchScript vocoder is loaded with its sha256, refused with another, and skipped with a warning without."""
    file = own / "vocos2d/generator_jit.ckpt"
    file.parent.mkdir()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.(script|save)` is deprecated")
        torch.jit.save(torch.jit.script(_Held()), file)
    with caplog.at_level(logging.WARNING):
        assert load(own, device="cpu").sample_rates == (24000,)
    assert "generator_jit.ckpt" in caplog.text
    digest = sha256(file.read_bytes()).hexdigest()
    assert load(own, device="cpu", vocos_sha256=digest).sample_rates == (24000, 32000)
    assert "sha256" in error_of(own, vocos_sha256="0" * 64)


class _Held(nn.Module):
    """Mel (b, t, c) to a constant waveform of 640 samples per frame."""

    def forward(self, mel: Tensor) -> Tensor:
        return mel.mean(2).repeat_interleave(640, 1)


def test_an_absent_device_is_refused() -> None:
    """A device that this machine does not have, or that does not exist, is an error with its name."""
    assert pick_device("cpu") == torch.device("cpu")
    for name in ("cuda:99", "toaster"):
        with pytest.raises(CheckpointError, match=name):
            pick_device(name)
