"""`flow/config.yaml`, in the published spelling or in ours, to a FlowConfig.

The published file is HyperPyYAML: YAML whose tags name Python classes to construct. Here it is data and nothing else:
a `!new:` or `!apply:` node is read as its keyword arguments, and what the tag names is never imported or called.
Knows nothing about weights or modules.

Three spellings are read; unknown keys fail in each:
- ours: the fields of FlowConfig, with the fields of DiTConfig under `dit`;
- a `flow` node with the estimator as a node inside it (known by its `depth` and `heads`);
- the published constructor's own flat arguments (`speech_token_dim`, `big_model`, ...), with the class defaults for
  those left out; they differ from ours (12.5 Hz tokens, 86 frames a second).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from glmtts.config import DiTConfig, FlowConfig, from_mapping
from glmtts.errors import CheckpointError

SPEAKER_DIM = 192

TRAINING_ONLY = frozenset({"calc_prompt_mel_loss", "loss_type", "training_cfg_rate", "sigma_min", "dropout"})
"""Arguments that change nothing at inference."""

REFERENCE_DEFAULTS: dict[str, Any] = {
    "speech_token_dim": 512,
    "vocab_size": 100000,
    "input_frame_rate": 12.5,
    "spk_embed_dim": 80,
    "mel_dim": 80,
    "big_model": False,
    "spkr_emb_adaLN": False,
    "speech_token_cfg": True,
    "use_wavlm_emb": False,
    "remove_spkr_concat_condition": False,
    "t_scheduler": "cosine",
    "use_mdt": False,
    "mel_framerate": 86,
}


class _DataLoader(yaml.SafeLoader):
    """SafeLoader for which a HyperPyYAML tag is a remark beside plain data."""


class _Reference(str):
    """A `!ref <name>`, not yet looked up."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]  # the third and last kind of node


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> _Reference:
    return _Reference(loader.construct_scalar(node))  # type: ignore[arg-type]  # a mapping here is a YAML error, as it should


_DataLoader.add_multi_constructor("!new:", _plain)
_DataLoader.add_multi_constructor("!name:", _plain)
_DataLoader.add_multi_constructor("!apply:", _plain)
_DataLoader.add_constructor("!ref", _reference)


def parse_yaml(text: str, *, where: str) -> dict[str, Any]:
    """The document as plain mappings, lists and scalars, with every `!ref <name>` replaced by what it names.

    Raises CheckpointError that names `where`: no YAML, no mapping at the top, an unknown tag, or a reference that is
    more than a name (`<a[b][c]>` reaches into mappings; arithmetic is not computed).
    """
    try:
        tree = yaml.load(text, Loader=_DataLoader)
    except yaml.YAMLError as error:
        raise CheckpointError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{where}: {type(tree).__name__} at the top; wanted a mapping")
    return {key: _resolve(value, tree, where, depth=0) for key, value in tree.items()}


def _resolve(value: Any, root: Mapping[str, Any], where: str, depth: int) -> Any:
    if depth > 32:
        raise CheckpointError(f"{where}: references that never end")
    if isinstance(value, _Reference):
        return _resolve(_look_up(value, root, where), root, where, depth + 1)
    if isinstance(value, dict):
        return {key: _resolve(item, root, where, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, root, where, depth + 1) for item in value]
    return value


def _look_up(reference: _Reference, root: Mapping[str, Any], where: str) -> Any:
    match = re.fullmatch(r"\s*<\s*(\w+)((?:\[\w+\])*)\s*>\s*", reference)
    if match is None:
        raise CheckpointError(f"{where}: !ref {reference}: wanted <name> or <name[key]>")
    target: Any = root
    for key in [match[1], *re.findall(r"\w+", match[2])]:
        if not isinstance(target, Mapping) or key not in target:
            raise CheckpointError(f"{where}: !ref {reference}: nothing has the name {key!r}")
        target = target[key]
    return target


def read_flow_config(path: Path) -> FlowConfig:
    """Reads `flow/config.yaml` in any of the spellings above. Raises CheckpointError naming file and keys."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not readable: {error}") from error
    return flow_config(parse_yaml(text, where=str(path)), where=str(path))


def flow_config(tree: Mapping[str, Any], *, where: str) -> FlowConfig:
    """The FlowConfig in a parsed file: under `flow` when there is such a node, else the file itself."""
    node = tree.get("flow", tree)
    if not isinstance(node, Mapping):
        raise CheckpointError(f"{where}: flow is {node!r}; wanted a mapping")
    values = {key: value for key, value in node.items() if key not in TRAINING_ONLY}
    estimator = next((key for key, value in values.items() if _is_estimator(value)), None)
    if estimator is None:
        config = _from_reference_arguments(values, where)
    else:
        dit = {key: value for key, value in values.pop(estimator).items() if key not in TRAINING_ONLY}
        if "dim" in dit:
            dit["trans_dim"] = dit.pop("dim")
        dit.setdefault("dim_head", 64)
        config = from_mapping(FlowConfig, {**values, "dit": from_mapping(DiTConfig, dit, where=where)}, where=where)
    return _checked(config, where)


def _is_estimator(value: Any) -> bool:
    return isinstance(value, Mapping) and {"depth", "heads"} <= set(value)


def _from_reference_arguments(values: Mapping[str, Any], where: str) -> FlowConfig:
    unknown = sorted(set(values) - set(REFERENCE_DEFAULTS))
    if unknown:
        raise CheckpointError(
            f"{where}: unknown keys {unknown}; without an estimator node those of {sorted(REFERENCE_DEFAULTS)}"
        )
    v = {**REFERENCE_DEFAULTS, **values}
    if v["use_mdt"]:
        raise CheckpointError(f"{where}: use_mdt is {v['use_mdt']!r}; only false is implemented")
    trans_dim, depth, heads = (1024, 22, 16) if v["big_model"] else (768, 18, 12)
    # Here spk_embed_dim is what the speaker vector is projected to, in FlowConfig what comes from the encoder.
    projected = 0 if v["remove_spkr_concat_condition"] else v["spk_embed_dim"]
    dit = DiTConfig(
        trans_dim=trans_dim,
        depth=depth,
        heads=heads,
        dim_head=64,
        ff_mult=2,
        text_emb_dim=v["speech_token_dim"],
        conv_layers=4,
        text_vocab_size=v["vocab_size"],
        mel_dim=v["mel_dim"],
        condition_dim=v["mel_dim"] + projected,
        spkr_emb_adaLN=v["spkr_emb_adaLN"],
        wav_lm_emb=v["use_wavlm_emb"],
    )
    shared = ("speech_token_cfg", "remove_spkr_concat_condition", "t_scheduler", "input_frame_rate", "mel_framerate")
    return FlowConfig(dit=dit, spk_embed_dim=SPEAKER_DIM, **{key: v[key] for key in shared})


def _checked(config: FlowConfig, where: str) -> FlowConfig:
    if config.dit.wav_lm_emb:
        raise CheckpointError(f"{where}: wav_lm_emb is true; a second speaker vector is not implemented")
    if config.t_scheduler != "cosine":
        raise CheckpointError(f"{where}: t_scheduler is {config.t_scheduler!r}; only 'cosine' is implemented")
    if (config.input_frame_rate, config.mel_framerate) != (25, 50):
        got = f"{config.input_frame_rate} tokens and {config.mel_framerate} frames a second"
        raise CheckpointError(f"{where}: {got}; wanted 25 and 50, the rates of the speech tokenizer and the vocoders")
    return config
