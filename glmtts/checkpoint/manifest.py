"""The hashes of a checkpoint's files: `SHA256SUMS` in its folder, as `sha256sum` writes and checks it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from glmtts.errors import CheckpointError

FILE = "SHA256SUMS"
BLOCK_BYTES = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def sha256(path: Path) -> str:
    """The hash of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(root: Path) -> dict[str, str] | None:
    """Hashes by path relative to `root`; None if there is no manifest. CheckpointError if it is not readable."""
    file = root / FILE
    if not file.exists():
        return None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: not readable: {error}") from error
    matches = [_LINE.fullmatch(line) for line in lines if line]
    if not matches or not all(matches):
        raise CheckpointError(f"{file}: expected lines of a sha256, two spaces and a path, got something else")
    return {match[2]: match[1] for match in matches if match}


def write_manifest(root: Path, hashes: Mapping[str, str]) -> None:
    """Writes `hashes` by relative path into `root`, in place of an older manifest, at once."""
    partial = root / f"{FILE}.partial"
    partial.write_text("".join(f"{value}  {name}\n" for name, value in sorted(hashes.items())), encoding="utf-8")
    partial.replace(root / FILE)
