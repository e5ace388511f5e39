"""The input of a batch: JSON lines to items, each with a name of its own and a digest of all that decides its sound.

A line that is none spoils only itself. Knows nothing about nodes or results.
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
    """What is wrong with a line. `name`: the item's, so far as it is known."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Item:
    """One utterance of a batch; its file is `name.format`."""

    name: str
    text: str
    options: SpeechOptions
    digest: str

    @property
    def file_name(self) -> str:
        return f"{self.name}.{self.options.format}"


def read_items(path: Path, defaults: SpeechOptions = DEFAULT_OPTIONS) -> Iterator[Item | ItemError]:
    """Each line of `path` that is not blank: `{"text": …}` and what else `SpeechOptions` has, and `id`.

    Without an `id` an item is named by its line's number. `reference_audio` is a path, relative to `path`.
    """
    names: set[str] = set()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item = _item(line, f"{number:05}", path.parent, defaults)
                if item.name in names:
                    raise ItemError(f"line-{number}", f"line {number}: id {item.name!r} came before; want each once")
                names.add(item.name)
                yield item
            except ItemError as error:
                yield error
            except (ValueError, TypeError, OSError) as error:
                yield ItemError(f"line-{number}", f"line {number}: {error}")


def _item(line: bytes, name: str, folder: Path, defaults: SpeechOptions) -> Item:
    given = json.loads(line)
    if not isinstance(given, dict):
        raise ValueError("want a JSON object")
    name = str(given.pop("id", name))
    if not _NAME.fullmatch(name):
        raise ValueError(f"id: came {name!r:.100}; want 1 to 128 of A-Z a-z 0-9 . _ -, as it names a file")
    if unknown := given.keys() - _KEYS:
        raise ItemError(name, f"came {', '.join(sorted(unknown))}; want {', '.join(sorted(_KEYS))}")
    text = given.pop("text", None)
    if not isinstance(text, str):
        raise ItemError(name, "text: want a text")
    options = replace(defaults, **_read(given, folder))
    if not isinstance(options.format, str) or not _FORMAT.fullmatch(options.format):
        raise ItemError(name, f"format: came {options.format!r:.40}; want wav, flac or the like")
    return Item(name, text, options, _digest(text, options))


def _read(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    recording = given.get("reference_audio")
    return given if recording is None else {**given, "reference_audio": (folder / recording).read_bytes()}


def _digest(text: str, options: SpeechOptions) -> str:
    """20 hexadecimal digits that change with anything that is asked for."""
    asked = json.dumps([text, options.to_json()], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:20]
