"""What one part of a checkpoint must have so that another one fits."""

from __future__ import annotations

from pathlib import Path

from glmtts.config import GenerationConfig
from glmtts.errors import CheckpointError
from glmtts.models.flow.flow import Flow
from glmtts.models.llm.llama import Llama
from glmtts.models.llm.prompt import SpecialIds
from glmtts.text.tokenizer import Tokenizer


def special_ids(tokenizer: Tokenizer, codes: int) -> SpecialIds:
    """The special ids by name, for a speech tokenizer of `codes` codes. CheckpointError if one is missing or below the
    padding's, or if the speech tokens' ids are not consecutive."""
    names = {
        "ats": "<|audio_0|>",
        "ate": f"<|audio_{codes - 1}|>",
        "boa": "<|begin_of_audio|>",
        "eoa": "<|user|>",
        "pad": "<|endoftext|>",
    }
    special = SpecialIds(**{field: tokenizer.special_id(name) for field, name in names.items()})
    low = [name for field, name in names.items() if getattr(special, field) < special.pad]
    if low:
        raise CheckpointError(f"special ids: expected none below that of <|endoftext|> ({special.pad}), got {low}")
    if special.speech_tokens != codes:
        raise CheckpointError(
            f"<|audio_0|> … <|audio_{codes - 1}|>: expected {codes} ids in a row, got {special.ats} … {special.ate}"
        )
    return special


def check_alignment_heads(root: Path, generation: GenerationConfig, llm: Llama) -> None:
    """CheckpointError if `llm/generation.json` names an attention head that the AR transformer does not have."""
    layers, heads = llm.config.num_hidden_layers, llm.config.num_attention_heads
    known = {(layer, head) for layer in range(layers) for head in range(heads)}
    if unknown := [pair for pair in generation.alignment_heads if pair not in known]:
        where = f"{root / 'llm' / 'generation.json'}: alignment_heads"
        raise CheckpointError(f"{where}: expected [layer, head] of {layers} layers and {heads} heads, got {unknown[0]}")


def check_sizes(root: Path, tokenizer: Tokenizer, llm: Llama, flow: Flow, special: SpecialIds) -> None:
    """CheckpointError if the llm has no row for an id of the tokenizer, or the flow none for a speech token."""
    rows = llm.config.vocab_size
    if tokenizer.size > rows:
        raise CheckpointError(f"{root}: expected tokenizer ids below the llm's {rows} rows, got {tokenizer.size - 1}")
    known = flow.config.dit.text_vocab_size + 1  # the null token is one of them
    if special.speech_tokens > known:
        raise CheckpointError(f"{root}: expected a flow for {special.speech_tokens} speech tokens, got {known}")
