"""The input of a batch: a file of JSON lines, each of which gives an Item or an ItemError.

Each item has a unique name and a digest of everything that determines its audio.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from glmtts_client.speech import DEFAULT_OPTIONS, SpeechOptions

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_FORMAT = re.compile(r"[a-z0-9]{1,8}")
_KEYS = {"id", "text", *(field.name for field in fields(SpeechOptions))}


class ItemError(ValueError):
    """A line that is not a valid item. `name`: the item's id if it could be read, else `line-N`."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Item:
    """One utterance of a batch."""

    name: str
    text: str
    options: SpeechOptions
    digest: str

    @property
    def file_name(self) -> str:
        return f"{self.name}.{self.options.format}"


def read_items(path: Path, defaults: SpeechOptions = DEFAULT_OPTIONS) -> Iterator[Item | ItemError]:
    """One item or error for each line of `path` that is not blank.

    A line is an object with `text`, the fields of SpeechOptions and `id`. Without an `id` the item is named by its line
    number. `reference_audio` is a path, relative to `path`.
    """
    names: set[str] = set()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item = _parse(line, f"{number:05}", path.parent, defaults)
                if item.name in names:
                    raise ItemError(
                        f"line-{number}", f"line {number}: id: expected a unique id, got {item.name!r} again"
                    )
                names.add(item.name)
                yield item
            except ItemError as error:
                yield error
            except (ValueError, TypeError, OSError) as error:
                yield ItemError(f"line-{number}", f"line {number}: {error}")


def _parse(line: bytes, name: str, folder: Path, defaults: SpeechOptions) -> Item:
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {type(values).__name__}")
    name = str(values.pop("id", name))
    if not _NAME.fullmatch(name):
        # It becomes a file name.
        raise ValueError(f"id: expected 1 to 128 of A-Z a-z 0-9 . _ - (no leading . or -), got {name!r:.100}")
    if unknown := values.keys() - _KEYS:
        raise ItemError(name, f"keys: expected {', '.join(sorted(_KEYS))}, got {', '.join(sorted(unknown))}")
    text = values.pop("text", None)
    if not isinstance(text, str):
        raise ItemError(name, f"text: expected a string, got {text!r:.40}")
    options = replace(defaults, **_load_reference_audio(values, folder))
    if not isinstance(options.format, str) or not _FORMAT.fullmatch(options.format):
        raise ItemError(name, f"format: expected a format such as wav or flac, got {options.format!r:.40}")
    return Item(name, text, options, _digest(text, options))


def _load_reference_audio(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = values.get("reference_audio")
    return values if path is None else {**values, "reference_audio": (folder / path).read_bytes()}


def _digest(text: str, options: SpeechOptions) -> str:
    """20 hexadecimal digits that depend on the text and on every option."""
    request = json.dumps([text, options.to_json()], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(request.encode("utf-8", "surrogatepass")).hexdigest()[:20]
