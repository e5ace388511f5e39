"""The sizes of the checkpoints whose times are predicted."""

from __future__ import annotations

from pathlib import Path

from transformers import LlamaConfig

from glmtts.checkpoint.components import read_llm_config
from glmtts.checkpoint.flow_config import read_flow_config
from glmtts.checkpoint.weights import read_json_object
from glmtts.config import DiTConfig, FlowConfig, HiFTConfig
from glmtts.models.llm.prompt import SpecialIds
from glmtts.models.vocoder.hift import hift_config_from_reference
from scripts.prediction.stages import Sizes
from scripts.standin.sizes import PUBLISHED

NANO = Path(__file__).resolve().parents[2] / "checkpoints" / "nano"
PUBLISHED_IDS = SpecialIds(ats=61498, ate=94265, boa=59260, eoa=59253, pad=59246)


def published(*, flow_in_bfloat16: bool) -> Sizes:
    """The published checkpoint's, as docs/official.md has them."""
    names = {"dim": "trans_dim"}
    dit = DiTConfig(**{names.get(name, name): value for name, value in PUBLISHED.dit.items()})
    flow = FlowConfig(dit=dit, n_timesteps=10, inference_cfg_rate=0.7, remove_spkr_concat_condition=True)
    llama = LlamaConfig.from_dict(dict(PUBLISHED.llama))
    return Sizes(llama, PUBLISHED_IDS, flow, HiFTConfig(), flow_in_bfloat16)


def nano() -> Sizes:
    """Those of checkpoints/nano, in whose vocabulary the speech tokens come last."""
    llama = read_llm_config(NANO / "llm")
    ids = SpecialIds(ats=llama.vocab_size - 1024, ate=llama.vocab_size - 1, boa=1, eoa=2, pad=0)
    hift = hift_config_from_reference(read_json_object(NANO / "hift" / "config.json"))
    return Sizes(llama, ids, read_flow_config(NANO / "flow" / "config.yaml"), hift, flow_in_bfloat16=False)
