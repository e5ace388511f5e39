"""Text to ids, like GLM-4's tokenizer: tiktoken ranks plus special tokens. No remote code.

A tokenizer folder has `tokenizer.model` (lines of base64 of the bytes, a space, the rank) and `tokenizer_config.json`,
whose `added_tokens_decoder` maps ids to special tokens.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import tiktoken

from glmtts.errors import CheckpointError, TextError
from glmtts.text.characters import SPECIAL_SPAN

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is split before byte pairs are merged (that of the cl100k family)."""

_AUDIO = re.compile(r"audio_\d+")
_CONTROL = re.compile(r"[a-z]{3,}|[a-z]+(?:_[a-z0-9]+)+")


def is_phoneme(token: str) -> bool:
    """Whether a special token is a phoneme: `<|…|>` that is neither speech (`audio_N`) nor chat or control.

    Control tokens of GLM's vocabularies are lower-case words (`<|user|>`, `<|begin_of_audio|>`) or in other brackets
    (`[MASK]`, `<sop>`); anything else is a phoneme, such as `<|ZH|>` or `<|IAN2|>`.
    """
    span = SPECIAL_SPAN.fullmatch(token)
    if span is None or not span[1]:
        return False
    return not (_AUDIO.fullmatch(span[1]) or _CONTROL.fullmatch(span[1]))


class Tokenizer:
    """Byte-pair encoding with special tokens. Immutable, so one instance serves all threads.

    `ranks` maps byte strings to ids and has all 256 single bytes, so that any text can be encoded. `specials` maps
    special tokens (`<|user|>`) to ids that no rank uses. CheckpointError if they are not so.
    """

    def __init__(self, ranks: Mapping[bytes, int], specials: Mapping[str, int]) -> None:
        _check(ranks, specials)
        self.specials: dict[str, int] = dict(specials)
        self.phonemes: frozenset[str] = frozenset(filter(is_phoneme, specials))
        # tiktoken compiles special tokens into one regular expression, which 32,768 audio tokens would only slow down:
        # they are never read from text.
        textual = {token: i for token, i in specials.items() if not _AUDIO.fullmatch(token[2:-2])}
        self._encoding = tiktoken.Encoding(
            "glm-tts", pat_str=SPLIT_PATTERN, mergeable_ranks=dict(ranks), special_tokens=textual
        )

    @classmethod
    def from_dir(cls, path: str | Path) -> Tokenizer:
        """Reads a tokenizer folder. CheckpointError with the file, and the line, that is missing or wrong."""
        folder = Path(path)
        ranks = _read_ranks(folder / "tokenizer.model")
        return cls(ranks, _read_specials(folder, first_id=max(ranks.values()) + 1))

    @property
    def size(self) -> int:
        """One more than the highest id: the least number of rows of an embedding."""
        return max(self._encoding.max_token_value, *self.specials.values(), 0) + 1

    def special_id(self, name: str) -> int:
        """The id of a special token such as `<|user|>`. CheckpointError if there is none."""
        try:
            return self.specials[name]
        except KeyError:
            raise CheckpointError(f"tokenizer: expected a special token {name!r}, got none") from None

    def encode(self, text: str, *, allow_special: AbstractSet[str] = frozenset()) -> list[int]:
        """Ids of `text` (n,). Special tokens outside `allow_special`, and all `<|audio_N|>`, are encoded as plain text.

        TextError (field "text") for text that is not valid Unicode.
        """
        allowed = allow_special & self._encoding.special_tokens_set
        try:
            text.encode()  # tiktoken would silently replace lone surrogates
        except UnicodeEncodeError as error:
            raise TextError(
                f"text: expected valid Unicode, got half a surrogate pair at character {error.start}", field="text"
            ) from error
        return self._encoding.encode(text, allowed_special=allowed, disallowed_special=())

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD. For messages and tests."""
        return self._encoding.decode(list(ids))


def byte_ranks() -> dict[bytes, int]:
    """The smallest vocabulary that can encode any text: the 256 single bytes, without merges."""
    return {bytes([value]): value for value in range(256)}


def write(path: str | Path, ranks: Mapping[bytes, int], specials: Sequence[str]) -> Tokenizer:
    """Writes a tokenizer folder in the official layout; the ids of special tokens follow the ranks, in order.

    Returns what `Tokenizer.from_dir` will read. ValueError for a special token that occurs twice.
    """
    first = max(ranks.values()) + 1
    ids = {token: first + i for i, token in enumerate(specials)}
    if len(ids) != len(specials):
        raise ValueError(
            f"special tokens: expected each once, got twice {sorted({t for t in specials if specials.count(t) > 1})}"
        )
    tokenizer = Tokenizer(ranks, ids)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in sorted(ranks.items(), key=_rank)]
    (folder / "tokenizer.model").write_text("".join(lines), encoding="ascii")
    decoder = {str(i): {"content": token, "special": True} for token, i in ids.items()}
    config = {"added_tokens_decoder": decoder}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return tokenizer


def _rank(item: tuple[bytes, int]) -> int:
    return item[1]


def _check(ranks: Mapping[bytes, int], specials: Mapping[str, int]) -> None:
    missing = [value for value in range(256) if bytes([value]) not in ranks]
    if missing:
        raise CheckpointError(f"ranks: expected all 256 single bytes, got none for {missing[:8]}")
    taken = set(ranks.values())
    if len(taken) != len(ranks):
        raise CheckpointError("ranks: expected each rank once, got one for two byte strings")
    clash = sorted(token for token, i in specials.items() if i in taken)
    if clash or len(set(specials.values())) != len(specials):
        raise CheckpointError(f"special tokens: expected ids of their own, got ids of ranks or of each other: {clash}")


def _read_ranks(file: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise CheckpointError(f"{file}: expected a tiktoken rank file, got {error.strerror or error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            piece, rank = line.split()
            ranks[base64.b64decode(piece, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise CheckpointError(f"{file}:{number}: expected 'base64 rank', got {line[:60]!r}") from error
    if not ranks:
        raise CheckpointError(f"{file}: expected a tiktoken rank file, got an empty one")
    return ranks


def _read_specials(folder: Path, *, first_id: int) -> dict[str, int]:
    """Special tokens from `added_tokens_decoder`, else the named ones, in order after the ranks."""
    config = _read_json(folder / "tokenizer_config.json")
    decoder = config.get("added_tokens_decoder")
    if decoder:
        try:
            return {_content(entry): int(i) for i, entry in decoder.items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            where = folder / "tokenizer_config.json"
            raise CheckpointError(
                f"{where}: added_tokens_decoder: expected ids mapped to tokens, got {error!r}"
            ) from error
    names = config.get("additional_special_tokens")
    if not names and (folder / "special_tokens_map.json").exists():
        names = _read_json(folder / "special_tokens_map.json").get("additional_special_tokens")
    return {_content(entry): first_id + i for i, entry in enumerate(names or ())}


def _content(entry: Any) -> str:
    return entry if isinstance(entry, str) else str(entry["content"])


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{file}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(value).__name__}")
    return value
