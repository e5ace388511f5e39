"""What is measured, and of what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import NamedTuple

from glmtts.checkpoint.loader import Model
from glmtts.config import GenerationConfig

GROUPS: Mapping[str, tuple[str, ...]] = {
    "prompts": ("min_prompt_ratio", "max_prompt_nll", "max_prompt_end_nll"),
    "lengths": (
        *("tokens_per_id", "base_tokens", "min_length_ratio", "max_length_ratio"),
        *("max_redraws", "max_redraw_tokens"),
    ),
    "speeds": ("min_speed", "max_speed"),
}
"""The keys of generation.json that are measured. Those of one group belong together."""

Value = float | None
"""None: the scores don't tell, and the threshold stays off."""


class Measurement(NamedTuple):
    """A value for a key of generation.json, and in a few words what it was measured on."""

    key: str
    value: Value
    basis: str


def without_thresholds(model: Model) -> Model:
    """The model as if its checkpoint stated none of them: nothing is cut, dropped or drawn again."""
    defaults = {field.name: field.default for field in fields(GenerationConfig)}
    off = {key: defaults[key] for keys in GROUPS.values() for key in keys}
    return replace(model, generation=replace(model.generation, max_prompt_seconds=None, **off))
