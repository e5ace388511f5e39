"""A checkpoint's name, version and languages, from `model.json` or from the files themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from glmtts.checkpoint.weights import read_json_object
from glmtts.config import from_mapping
from glmtts.errors import CheckpointError

FILE = "model.json"
PARTS = ("llm", "flow", "hift", "vocos2d", "speech_tokenizer", "vq32k-phoneme-tokenizer", "frontend")
SAMPLE = 65536


@dataclass(frozen=True)
class ModelInfo:
    """A checkpoint's description of itself. `languages` are ISO 639-1 codes; `fingerprint` is that of the files."""

    name: str
    version: str
    languages: tuple[str, ...] = ("zh", "en")
    fingerprint: str = ""


def read_info(root: Path) -> ModelInfo:
    """What `model.json` says; by default the folder's name, the files' fingerprint, and Chinese and English.

    Raises CheckpointError for an unknown key or a value of the wrong type.
    """
    file = root / FILE
    values = read_json_object(file) if file.exists() else {}
    files = fingerprint(root)
    defaults = {"name": root.resolve().name, "version": files}
    info = replace(from_mapping(ModelInfo, {**defaults, **values}, where=str(file)), fingerprint=files)
    texts = (info.name, info.version, *info.languages)
    if not isinstance(info.languages, tuple) or not info.languages or not all(isinstance(t, str) and t for t in texts):
        raise CheckpointError(
            f"{file}: expected strings as name and version and a list of strings as languages, got {values}"
        )
    return info


def fingerprint(root: Path) -> str:
    """12 hexadecimal digits that change with a checkpoint's files, computed in milliseconds whatever their size.

    A hash of names, sizes, and the first, middle and last 64 KiB of each file: other weights of the same shapes differ
    there.
    """
    digest = hashlib.sha256()
    for file in sorted(file for part in PARTS for file in (root / part).rglob("*") if file.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(root).as_posix()}\0{size}\0".encode())
        with file.open("rb") as stream:
            for start in (0, size // 2, max(0, size - SAMPLE)):
                stream.seek(start)
                digest.update(stream.read(SAMPLE))
    return digest.hexdigest()[:12]
