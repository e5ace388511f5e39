"""A tokenizer small enough for tests: the 256 bytes, GLM's control tokens, a few speech tokens and all phonemes."""

from __future__ import annotations

from pathlib import Path

from glmtts.text.tokenizer import Tokenizer, byte_ranks, write

CONTROLS = ("<|endoftext|>", "[MASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|begin_of_audio|>")
AUDIO = tuple(f"<|audio_{i}|>" for i in range(8))

_INITIALS = "B|C|CH|D|F|G|H|J|K|L|M|N|P|Q|R|S|SH|T|X|Z|ZH"
_FINALS = (
    "A|AI|AN|ANG|AO|E|EI|EN|ENG|ER|I|IA|IAN|IANG|IAO|IE|II|III|IN|ING|IO|IONG|IOU|O|ONG|OU"
    "|U|UA|UAI|UAN|UANG|UEI|UEN|UENG|UO|V|VAN|VE|VN"
)
PHONEMES = (
    *(f"<|{initial}|>" for initial in _INITIALS.split("|")),
    *(f"<|{final}{tone}|>" for final in _FINALS.split("|") for tone in range(1, 6)),
)


def write_tokenizer(
    folder: Path,
    ranks: dict[bytes, int] | None = None,
    specials: tuple[str, ...] = (*CONTROLS, *PHONEMES, *AUDIO),
) -> Tokenizer:
    """Writes a tokenizer folder in the official layout and returns the tokenizer."""
    return write(folder, byte_ranks() if ranks is None else ranks, specials)
