"""flow/config.yaml in its three layouts: read as data, and refused if it is not understood."""

from __future__ import annotations

import pytest

from glmtts.checkpoint.flow_config import flow_config, parse_yaml
from glmtts.errors import CheckpointError

PUBLISHED = """
__set_seed: !apply:random.seed [1]
rate: 25
flow: !new:flow.flow.Flow
    speech_token_dim: 512
    vocab_size: 100000
    input_frame_rate: !ref <rate>
    mel_framerate: 50
    spkr_emb_adaLN: true
    speech_token_cfg: false
    remove_spkr_concat_condition: true
    loss_type: l2
"""


def test_the_published_arguments_are_understood() -> None:
    """The flat layout gives the official sizes, and the published class defaults for missing keys."""
    config = flow_config(parse_yaml(PUBLISHED, where="x"), where="x")
    dit = config.dit
    assert (dit.trans_dim, dit.depth, dit.heads, dit.dim_head, dit.conv_layers) == (768, 18, 12, 64, 4)
    assert (dit.text_emb_dim, dit.text_vocab_size, dit.condition_dim, dit.spkr_emb_adaLN) == (512, 100000, 80, True)
    assert (config.input_frame_rate, config.mel_framerate, config.speech_token_cfg) == (25, 50, False)
    both = flow_config(parse_yaml(PUBLISHED.replace("condition: true", "condition: false"), where="x"), where="x")
    assert (both.dit.condition_dim, both.remove_spkr_concat_condition) == (160, False)
    big = flow_config(parse_yaml(PUBLISHED + "    big_model: true\n", where="x"), where="x")
    assert (big.dit.trans_dim, big.dit.depth, big.dit.heads) == (1024, 22, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("loss_type: l2", "los_type: l2"), "los_type"),
        (("mel_framerate: 50", "mel_framerate: 86"), "86"),
        (("<rate>", "<rate> * 2"), "rate"),
        (("<rate>", "<pace>"), "pace"),
        (("loss_type: l2", "use_wavlm_emb: true"), "wav_lm_emb"),
        (("loss_type: l2", "t_scheduler: linear"), "linear"),
        (("loss_type: l2", "use_mdt: true"), "use_mdt"),
        (("loss_type: l2", "vocab_size: !!python/object/apply:os.getcwd []"), "python"),
        (("rate: 25", "rate: !ref <rate>"), "got a cycle"),
        (("flow: !new:flow.flow.Flow", "flow: ["), "YAML"),
    ],
)
def test_a_flow_config_that_is_not_understood_is_refused(change: tuple[str, str], message: str) -> None:
    """Unknown keys, rates, schedulers and tags, and arithmetic in references, are errors that say so."""
    with pytest.raises(CheckpointError, match=message):
        flow_config(parse_yaml(PUBLISHED.replace(*change), where="config.yaml"), where="config.yaml")


def test_tags_construct_nothing() -> None:
    """What a `!new:` or `!apply:` tag names is never imported or called: the node is its plain arguments."""
    tree = parse_yaml("a: !new:sys.exit {status: 3}\nb: !apply:sys.exit [4]\nc: !name:sys.exit\n", where="x")
    assert tree == {"a": {"status": 3}, "b": [4], "c": ""}
