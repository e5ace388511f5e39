"""Reads the file of pronunciation overrides. Knows nothing about how they are applied: `glmtts.text.g2p` does."""

from __future__ import annotations

import json
from pathlib import Path

from glmtts.errors import CheckpointError


def read_replacements(file: Path) -> dict[str, str]:
    """Pronunciations from a JSONL file, a mapping a line: `{"弦": "<|X|><|IAN2|>"}`; later lines win.

    Raises CheckpointError naming file and line.
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
            raise CheckpointError(f"{file}:{number}: wanted an object of text to pronunciation")
        words.update(entry)
    return words
