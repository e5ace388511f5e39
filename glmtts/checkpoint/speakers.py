"""The speakers that a fine-tuned (SFT) AR model knows by name: `llm/spk_prompt_dict.yaml`, names mapped to ids.

A speaker's ids come first in the input; those of `unknown` stand for everyone else. A stored voice of a speaker's name
is spoken as that speaker, with the timbre of its recording.
"""

from __future__ import annotations

from pathlib import Path

from glmtts.checkpoint.flow_config import parse_yaml
from glmtts.errors import CheckpointError

FILE, UNKNOWN = "spk_prompt_dict.yaml", "unknown"

Speakers = dict[str, tuple[int, ...]]


def read_speakers(folder: Path, vocabulary: int) -> Speakers:
    """Ids by speaker; none without the file. CheckpointError for ids that are not below `vocabulary`."""
    file = folder / FILE
    if not file.exists():
        return {}
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: not readable: {error}") from error
    speakers = parse_yaml(text, where=str(file))
    for name, ids in speakers.items():
        if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < vocabulary for i in ids):
            raise CheckpointError(f"{file}: {name}: expected a list of ids below {vocabulary}, got {ids!r}")
    return {str(name): tuple(ids) for name, ids in speakers.items()}
