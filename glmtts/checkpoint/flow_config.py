"""`flow/config.yaml` to a FlowConfig.

The published file is HyperPyYAML: YAML whose tags name Python classes to construct. Here it is only data: a `!new:` or
`!apply:` node is read as its keyword arguments, and what the tag names is never imported or called.

Three layouts are read; unknown keys are errors in each:
- the fields of FlowConfig, with the fields of DiTConfig under `dit`;
- a `flow` node with the estimator as a node inside it (recognised by its `depth` and `heads`);
- the published constructor's flat arguments (`speech_token_dim`, `big_model`, ...), with its class defaults, which
  differ from FlowConfig's (12.5 Hz tokens, 86 frames per second).
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
"""Arguments without effect at inference."""

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
    """SafeLoader that ignores HyperPyYAML tags and reads their data."""


class _Reference(str):
    """A `!ref <name>`, not yet resolved."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]  # the only other kind of node


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> _Reference:
    return _Reference(loader.construct_scalar(node))  # type: ignore[arg-type]  # a mapping here is a YAML error, as it should be


_DataLoader.add_multi_constructor("!new:", _plain)
_DataLoader.add_multi_constructor("!name:", _plain)
_DataLoader.add_multi_constructor("!apply:", _plain)
_DataLoader.add_constructor("!ref", _reference)


def parse_yaml(text: str, *, where: str) -> dict[str, Any]:
    """The document as plain mappings, lists and scalars, with each `!ref <name>` replaced by what it names.

    Raises CheckpointError, with `where`, if the text is not YAML or not a mapping, or has an unknown tag or a reference
    that is not `<name>` or `<name[key]>`: arithmetic is not supported.
    """
    try:
        tree = yaml.load(text, Loader=_DataLoader)
    except yaml.YAMLError as error:
        raise CheckpointError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{where}: expected a mapping, got {type(tree).__name__}")
    return {key: _resolve(value, tree, where, depth=0) for key, value in tree.items()}


def _resolve(value: Any, root: Mapping[str, Any], where: str, depth: int) -> Any:
    if depth > 32:
        raise CheckpointError(f"{where}: expected references that end, got a cycle")
    if isinstance(value, _Reference):
        return _resolve(_resolve_reference(value, root, where), root, where, depth + 1)
    if isinstance(value, dict):
        return {key: _resolve(item, root, where, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, root, where, depth + 1) for item in value]
    return value


def _resolve_reference(reference: _Reference, root: Mapping[str, Any], where: str) -> Any:
    match = re.fullmatch(r"\s*<\s*(\w+)((?:\[\w+\])*)\s*>\s*", reference)
    if match is None:
        raise CheckpointError(f"{where}: !ref: expected <name> or <name[key]>, got {reference}")
    target: Any = root
    for key in [match[1], *re.findall(r"\w+", match[2])]:
        if not isinstance(target, Mapping) or key not in target:
            raise CheckpointError(f"{where}: !ref {reference}: expected a defined name, got {key!r}")
        target = target[key]
    return target


def read_flow_config(path: Path) -> FlowConfig:
    """Reads `flow/config.yaml` in any of these layouts. Raises CheckpointError with the file and the keys."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not readable: {error}") from error
    return flow_config(parse_yaml(text, where=str(path)), where=str(path))


def flow_config(tree: Mapping[str, Any], *, where: str) -> FlowConfig:
    """The FlowConfig of a parsed file: the node `flow` if there is one, else the whole file."""
    node = tree.get("flow", tree)
    if not isinstance(node, Mapping):
        raise CheckpointError(f"{where}: flow: expected a mapping, got {node!r}")
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
            f"{where}: expected keys of {sorted(REFERENCE_DEFAULTS)} without an estimator node, got {unknown}"
        )
    v = {**REFERENCE_DEFAULTS, **values}
    if v["use_mdt"]:
        raise CheckpointError(f"{where}: use_mdt: expected false, got {v['use_mdt']!r}")
    trans_dim, depth, heads = (1024, 22, 16) if v["big_model"] else (768, 18, 12)
    # Here spk_embed_dim is the size after projection; in FlowConfig it is the speaker encoder's.
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
        raise CheckpointError(
            f"{where}: wav_lm_emb: expected false, got true: a second speaker vector is not implemented"
        )
    if config.t_scheduler != "cosine":
        raise CheckpointError(f"{where}: t_scheduler: expected 'cosine', got {config.t_scheduler!r}")
    if (config.input_frame_rate, config.mel_framerate) != (25, 50):
        rates = f"{config.input_frame_rate} and {config.mel_framerate}"
        raise CheckpointError(
            f"{where}: expected 25 tokens and 50 frames per second, as other stages have, got {rates}"
        )
    return config
