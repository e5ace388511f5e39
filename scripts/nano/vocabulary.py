"""Stage: the nano checkpoint's text tokenizer: bytes, single-id Chinese punctuation, phonemes, speech tokens.

    python -m scripts.nano.vocabulary --work nano-work

writes `vocabulary/` in the official layout (vq32k-phoneme-tokenizer). Special tokens are in the official order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from glmtts.text.frontend.g2p import is_hanzi
from glmtts.text.tokenizer import Tokenizer, byte_ranks, write
from scripts.nano import phonemes
from scripts.nano.data import Corpus
from scripts.nano.features import CODES
from scripts.nano.training import arguments

CONTROL = ["<|endoftext|>", "<|user|>", "<|begin_of_audio|>"]
WHOLE_MARKS = "，。、？！"


def ranks() -> dict[bytes, int]:
    """The 256 bytes, and the merges that give each mark of WHOLE_MARKS one id."""
    table = byte_ranks()
    for mark in WHOLE_MARKS:
        raw = mark.encode()
        for end in range(2, len(raw) + 1):
            table.setdefault(raw[:end], len(table))
    return table


def mandarin() -> set[str]:
    """All initials and finals of pypinyin, the finals in all five tones: words have neutral tones, single characters
    rarely.
    """
    from pypinyin.constants import PINYIN_DICT

    hanzi = [chr(code) for code in PINYIN_DICT if is_hanzi(chr(code)) and code < 0x9FFF]
    names = set(re.findall(r"<\|[^|]+\|>", " ".join(phonemes.phonemes_zh(char) for char in hanzi)))
    return {re.sub(r"[1-5](?=\|)", tone, name) for name in names for tone in "12345"}


def english(strings: Iterable[str]) -> set[str]:
    """All phones in the teacher's phoneme strings."""
    return {token for text in strings for token in re.findall(r"<\|[^|]+\|>", phonemes.english(text))}


def load(work: Path) -> Tokenizer:
    """The tokenizer that `main` wrote."""
    return Tokenizer.from_dir(work / "vocabulary")


def main() -> None:
    args = arguments(__doc__, steps=0).parse_args()
    spoken = [u.phonemes for u in Corpus(args.work, args.extra).utterances if u.lang == "en"]
    lexicon = args.work / "lexicon_en.json"
    if lexicon.exists():
        spoken += json.loads(lexicon.read_text(encoding="utf-8")).values()
    names = sorted(mandarin()) + sorted(english(spoken))
    tokenizer = write(args.work / "vocabulary", ranks(), [*CONTROL, *names, *(f"<|audio_{i}|>" for i in range(CODES))])
    print(f"{tokenizer.size} ids, {len(names)} phonemes")


if __name__ == "__main__":
    main()
