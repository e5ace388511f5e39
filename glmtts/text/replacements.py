"""Reads a file of pronunciations, which `glmtts.text.frontend.g2p` applies."""

from __future__ import annotations

import json
from pathlib import Path

from glmtts.errors import CheckpointError


def read_replacements(file: Path) -> dict[str, str]:
    """Pronunciations from a JSONL file with a mapping per line: `{"弦": "<|X|><|IAN2|>"}`. Later lines win.

    Raises CheckpointError with file and line.
    """
    words: dict[str, str] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: not readable: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise CheckpointError(f"{file}:{number}: not JSON: {error}") from error
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            raise CheckpointError(f"{file}:{number}: expected an object of text to pronunciation, got another type")
        words.update(entry)
    return words
