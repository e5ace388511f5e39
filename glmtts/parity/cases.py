"""What each kind of golden case compares, and how far it may be off.

A kind is the beginning of a case's name. All sizes come from the case itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig

from glmtts.checkpoint.loader import read_speaker_encoder
from glmtts.checkpoint.weights import load_strict
from glmtts.config import DiTConfig, FlowConfig, GenerationConfig, MelConfig, from_mapping
from glmtts.dsp.audio import hop_length
from glmtts.dsp.features import fbank, log_mel
from glmtts.errors import CheckpointError
from glmtts.models.encoders.speech_tokenizer import WhisperVQ, WhisperVQConfig
from glmtts.models.flow.dit import DiTInputs, block_mask
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.decoder import Decoder, DecodeRequest, generate_tokens
from glmtts.models.llm.kv_cache import KVCache
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import LengthBounds, SpecialIds, length_bounds, prompt_layout
from glmtts.models.llm.sampling import NO_TOKEN, ras_sample
from glmtts.models.vocoder.hift import HiFT, hift_config_from_reference
from glmtts.parity.known_differences import DIFFERENT, FIELDS, INTENDED, parity_lines

TOLERANCE = 2e-4
STANDARD_ERRORS = 4.0


@dataclass(frozen=True)
class Case:
    """A golden case: its name, its JSON, its inputs and outputs, and the weights without their prefix."""

    name: str
    info: Any
    tensors: dict[str, Tensor]
    state: dict[str, Tensor]

    @property
    def information(self) -> bool:
        """Whether the case is only printed, as its JSON says."""
        return isinstance(self.info, dict) and self.info.get("kind") == "information"


@dataclass(frozen=True)
class CaseResult:
    """One comparison. `difference` None: there is no number. `limit` None: printed only; `status` says why."""

    case: str
    difference: float | None
    limit: float | None
    note: str = ""
    status: str = "information"

    @property
    def passed(self) -> bool:
        """Without a limit, or within it. NaN is not."""
        return self.limit is None or (self.difference is not None and self.difference <= self.limit)

    @property
    def verdict(self) -> str:
        """The verdict in the table: `status` without a limit, else ok or OVER."""
        return self.status if self.limit is None else "ok" if self.passed else "OVER"


@dataclass(frozen=True)
class Sources:
    """Files that some kinds need in addition: the speaker encoder's weights, the published code's data files."""

    campplus: Path | None
    reference: Path


def max_difference(ours: Tensor, golden: Tensor) -> float:
    """The largest absolute difference; infinite if the shapes differ."""
    if ours.shape != golden.shape:
        return float("inf")
    return float((ours.double() - golden.double()).abs().max()) if golden.numel() else 0.0


def mismatches(ours: Tensor, golden: Tensor) -> float:
    """The number of ids that differ; each missing or additional id counts."""
    shared = min(len(ours), len(golden))
    return float((ours[:shared] != golden[:shared]).sum() + abs(len(ours) - len(golden)))


def _mel(case: Case, _sources: Sources) -> Iterator[CaseResult]:
    info = case.info
    config = MelConfig(info["sample_rate"], info["n_fft"], info["hop"], info["n_mels"], info["fmin"], info["fmax"])
    yield CaseResult(case.name, max_difference(log_mel(case.tensors["wav"], config), case.tensors["mel"]), TOLERANCE)


def _hift(case: Case, _sources: Sources) -> Iterator[CaseResult]:
    values = {**case.info["config"], "f0_cond_channels": case.info["f0_cond_channels"]}
    model = HiFT(hift_config_from_reference(values, where=case.name)).eval()
    load_strict(model, case.state, where=case.name)
    t = case.tensors
    yield CaseResult(f"{case.name} f0", max_difference(model.f0(t["mel"]), t["f0"]), TOLERANCE)
    yield CaseResult(f"{case.name} wav", max_difference(model.decode(t["mel"], t["source"]), t["wav"]), TOLERANCE)
    model.fold_weight_norm()
    yield CaseResult(
        f"{case.name} wav, weight norm folded", max_difference(model.decode(t["mel"], t["source"]), t["wav"]), TOLERANCE
    )


def _flow(case: Case, _sources: Sources) -> Iterator[CaseResult]:
    info, t = case.info, case.tensors
    shared = ("t_scheduler", "inference_cfg_rate", "speech_token_cfg", "input_frame_rate", "mel_framerate")
    config = FlowConfig(
        dit=from_mapping(DiTConfig, info["dit"], where=case.name),
        remove_spkr_concat_condition="spk_embed_affine_layer.weight" not in case.state,
        **{key: info[key] for key in shared},
    )
    model = Flow(config).eval()
    load_strict(model, case.state, where=case.name)
    for name, steps in info["n_timesteps"].items():
        ours = model.sample(t["token"], t["prompt_token"], t["prompt_feat"], t["embedding"], t["noise"], steps=steps)
        yield CaseResult(f"{case.name} {name}, {steps} steps", max_difference(ours, t[name]), TOLERANCE)
    frames = t["est_x"].shape[1]
    tokens_bt = model.frame_tokens(t["token"], t["prompt_token"], t["prompt_feat"].shape[1])
    tokens_btd = model.estimator.text_emb_layer(tokens_bt)
    inputs = DiTInputs(t["est_x"], tokens_btd, t["est_cond"], t["est_t"], t["embedding"])
    yield CaseResult(
        f"{case.name} estimator", max_difference(model.estimator(inputs).velocity_btm, t["est_out"]), TOLERANCE
    )
    blocks = [int(tokens / 12.5 * 22050 / 256) for tokens in info["est_block_pattern_tokens"]]
    masked = replace(inputs, attention_bias_tt=block_mask(frames, blocks))
    ours = model.estimator(masked).velocity_btm
    yield CaseResult(f"{case.name} estimator, block mask", max_difference(ours, t["est_out_causal"]), TOLERANCE)


def _speech_tokenizer(case: Case, _sources: Sources) -> Iterator[CaseResult]:
    t = case.tensors
    model = WhisperVQ(WhisperVQConfig.from_hf(case.info["config"])).eval()
    load_strict(model, case.state, where=case.name)
    tokens, mask = model.encode(t["input_features"], t["attention_mask"])
    golden = t["token_mask"].bool()
    yield CaseResult(f"{case.name} mask", max_difference(mask, golden), 0.0)
    yield CaseResult(f"{case.name} tokens", mismatches(tokens[golden], t["tokens"][golden]), 0.0, "ids that differ")


def _campplus(case: Case, sources: Sources) -> Iterator[CaseResult]:
    if sources.campplus is None:
        raise CheckpointError(
            "campplus: expected weights of the speaker encoder by --campplus or GLMTTS_CAMPPLUS, got none"
        )
    encoder = read_speaker_encoder(sources.campplus)
    for number in _numbered(case, "wav"):
        difference = fbank_difference(fbank(case.tensors[f"wav{number}"][0]), case.tensors[f"fbank{number}"])
        yield CaseResult(f"{case.name} fbank {number}", difference, TOLERANCE)
        embedding = encoder.embed(case.tensors[f"wav{number}"][0])
        yield CaseResult(
            f"{case.name} embedding {number}",
            max_difference(embedding, case.tensors[f"embedding{number}"][0]),
            TOLERANCE,
        )


def fbank_difference(features: Tensor, golden: Tensor) -> float:
    """The largest difference of filter banks (t, 80), minus their mean over time, beyond float32 rounding.

    An FFT rounds by about 1e-7 of the frame's loudest amplitude, differently on each processor, which shows in the
    logarithm of a bin that is a million times weaker.
    """
    below_peak = features.amax(-1, keepdim=True) - features
    rounding = torch.finfo(torch.float32).eps * (below_peak / 2).exp()
    difference = (features - features.mean(0) - golden).abs()
    return max_difference((difference - rounding).clamp_min(0), torch.zeros_like(golden))


def _numbered(case: Case, prefix: str) -> list[int]:
    return sorted(int(name.removeprefix(prefix)) for name in case.tensors if name.startswith(prefix))


def _llm_greedy(case: Case, _sources: Sources) -> Iterator[CaseResult]:
    llama = Llama(LlamaConfig.from_dict(case.info["config"])).eval()
    load_strict(llama, case.state, where=case.name)
    llama.requires_grad_(False)
    special = SpecialIds(**case.info["special"])
    greedy = GenerationConfig(top_k=1)
    for number, expected in enumerate(case.info["cases"]):
        prompt_text, text, prompt_speech, tokens = (
            case.tensors[f"case{number}.{name}"][0].tolist()
            for name in ("prompt_text", "text", "prompt_speech", "tokens")
        )
        ids = prompt_layout(prompt_text, text, prompt_speech, special)
        bounds = length_bounds(len(text), greedy)
        label = f"{case.name} {number}"
        golden = LengthBounds(expected["min_len"], expected["max_len"])
        yield CaseResult(
            f"{label} bounds", float(bounds != golden), 0.0, f"{bounds.minimum} to {bounds.maximum} tokens"
        )
        logits = llama(torch.tensor([ids])).logits[:, -1]
        yield CaseResult(
            f"{label} first logits", max_difference(logits, case.tensors[f"case{number}.first_logits"]), TOLERANCE
        )
        cache = KVCache(llama.config, 1, len(ids) + bounds.maximum)
        generated = list(generate_tokens(Decoder(llama, special, greedy, cache), DecodeRequest(ids, bounds, seed=0)))
        ended = "maximum" if len(generated) == bounds.maximum else "end token"
        note = f"{len(generated)} tokens, then the {ended}; published: {len(tokens)}, then the {expected['ended']}"
        yield CaseResult(f"{label} tokens", mismatches(torch.tensor(generated), torch.tensor(tokens)), 0.0, note)


def _ras_sampling(case: Case, _sources: Sources) -> Iterator[CaseResult]:
    names = {field.name for field in fields(GenerationConfig)}
    config = GenerationConfig(**{key: value for key, value in case.info.items() if key in names})
    logits, draws = case.tensors["logits"], case.info["draws"]
    ours = 10 * draws
    generator = torch.Generator().manual_seed(0)
    for key in sorted(name for name in case.tensors if name.startswith("history.")):
        name = key.removeprefix("history.")
        recent = torch.full((config.win_size,), NO_TOKEN)
        history = case.tensors[key][-config.win_size :]
        recent[: len(history)] = history
        ids = ras_sample(
            logits.expand(ours, -1), recent.expand(ours, -1), torch.rand(ours, 2, generator=generator), config
        )
        frequency = torch.bincount(ids, minlength=len(logits)).double() / ours
        golden = case.tensors[f"freq.{name}"].double()
        # One sample is added to the variance: counts of rare ids are not normal, and no samples would mean no error.
        variance = (frequency * (1 - frequency) + 1 / draws) * (1 / draws + 1 / ours)
        errors = float(((frequency - golden).abs() / variance.sqrt()).max())
        yield CaseResult(f"{case.name} {name}", errors, STANDARD_ERRORS, f"standard errors; {ours} draws")


def _streaming(case: Case, _sources: Sources) -> Iterator[CaseResult]:
    """The published code's chunk-wise stream against a whole utterance here: how much chunks change the result."""
    t = case.tensors
    model = Flow(FlowConfig(dit=_dit_config(case.state), speech_token_cfg=True)).eval()
    load_strict(model, case.state, where=case.name)
    mel = model.sample(t["token"].reshape(1, -1), t["prompt_token"], t["prompt_feat"], t["embedding"], t["noise"])
    wave = mel.mean(1).repeat_interleave(hop_length(24000), dim=1)
    yield CaseResult(
        case.name,
        max_difference(wave, t["wav"]),
        None,
        "a whole utterance against the published code's stream, whose first block and prefix are off by the prompt, as "
        "its note says; speech_token_cfg is assumed to be true",
    )


def _dit_config(state: dict[str, Tensor]) -> DiTConfig:
    """The estimator's sizes from the shapes of its weights, for a case without them."""
    shape = {name.removeprefix("estimator."): tuple(value.shape) for name, value in state.items()}
    mel_dim, trans_dim = shape["proj_out.weight"]
    vocabulary, text_emb_dim = shape["text_emb_layer.text_embed.weight"]
    dim_head = 2 * shape["rotary_embed.inv_freq"][0]
    return DiTConfig(
        trans_dim=trans_dim,
        depth=sum(name.endswith("attn_norm.linear.bias") for name in shape),
        heads=shape["transformer_blocks.0.attn.to_q.weight"][0] // dim_head,
        dim_head=dim_head,
        ff_mult=shape["transformer_blocks.0.ff.ff.2.weight"][1] // trans_dim,
        text_emb_dim=text_emb_dim,
        conv_layers=sum(name.endswith("grn.gamma") for name in shape),
        text_vocab_size=vocabulary - 1,
        mel_dim=mel_dim,
        condition_dim=shape["emb_concator.proj.weight"][1] - mel_dim - text_emb_dim,
        spkr_emb_adaLN=shape["norm_out.linear.weight"][1] > trans_dim,
    )


def _text_frontend(case: Case, sources: Sources) -> Iterator[CaseResult]:
    """One result for the lines equal at each stage, and one per other line, with the first stage that differs."""
    if not sources.reference.is_dir():
        note = f"no data files of the published code in {sources.reference}: give them by --reference FOLDER"
        yield CaseResult(case.name, None, None, note, status="not compared")
        return
    lines: dict[int, tuple[str, str, str, str]] = {}
    for index, line in enumerate(parity_lines(case.info, sources.reference)):
        number = index // len(FIELDS) + 1
        # An unexplained difference outweighs an explained one.
        if line[2] == DIFFERENT or (line[2] == INTENDED and number not in lines):
            lines[number] = line
    yield CaseResult(
        case.name, 0.0, 0.0, f"{len(case.info) - len(lines)} of {len(case.info)} lines are equal at every stage"
    )
    for number, (text, stage, status, reason) in sorted(lines.items()):
        label, shown = (
            f"{case.name} line {number}",
            f"{reason or 'no known bug of the published code'}; {stage} of {text!r}",
        )
        yield CaseResult(label, 1.0, None if status == INTENDED else 0.0, shown, status=status)


Kind = Callable[[Case, Sources], Iterator[CaseResult]]
KINDS: dict[str, Kind] = {
    "campplus": _campplus,
    "flow": _flow,
    "hift": _hift,
    "llm_greedy": _llm_greedy,
    "mel_": _mel,
    "ras_sampling": _ras_sampling,
    "speech_tokenizer": _speech_tokenizer,
    "streaming": _streaming,
    "text_frontend": _text_frontend,
}
