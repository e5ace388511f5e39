"""A checkpoint from a folder or a tar archive, without network."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from glmtts.checkpoint.manifest import FILE as MANIFEST
from glmtts.checkpoint.manifest import read_manifest, sha256
from glmtts.errors import CheckpointError
from scripts.fetching.errors import FetchError
from scripts.fetching.target import PARTIAL, belongs, check_space

MARKER = "llm/config.json"
"""The file that shows where in a source the checkpoint begins."""


def fetch(folder: Path, source: Path) -> bool:
    """Copies the checkpoint in `source`, a folder or a tar archive, into `folder`.

    Returns whether the source had a `SHA256SUMS`; if it had, all files are compared with it. Raises FetchError.
    """
    try:
        with _opened(source) as files:
            wanted = {name: file for name, file in files.items() if belongs(name) or name == MANIFEST}
            check_space(folder, sum(size for size, _ in wanted.values()))
            for name, (_, stream) in wanted.items():
                _copy(stream, folder / name)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise FetchError(f"{source}: not copied: {error}") from error
    return MANIFEST in wanted and _check(folder, source)


class _Stream:
    """Opens a file of a source when it is copied."""

    def __init__(self, source: tarfile.TarFile | None, member: tarfile.TarInfo | Path) -> None:
        self._source, self._member = source, member

    def open(self) -> IO[bytes]:
        if isinstance(self._member, Path):
            return self._member.open("rb")
        assert self._source is not None
        stream = self._source.extractfile(self._member)
        assert stream is not None  # only regular files are listed
        return stream


Files = dict[str, tuple[int, _Stream]]
"""Sizes in bytes and contents by path relative to the checkpoint's root."""


@contextmanager
def _opened(source: Path) -> Iterator[Files]:
    if source.is_dir():
        paths = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        yield _rooted({name: (path.stat().st_size, _Stream(None, path)) for name, path in paths.items()}, source)
    else:
        with tarfile.open(source) as archive:
            members = [member for member in archive if member.isreg()]
            listed = {str(PurePosixPath(m.name)): (m.size, _Stream(archive, m)) for m in members}
            yield _rooted(listed, source)


def _rooted(files: Files, source: Path) -> Files:
    """`files` relative to the folder that has `llm/config.json`."""
    roots = [name.removesuffix(MARKER) for name in files if name == MARKER or name.endswith("/" + MARKER)]
    if len(roots) != 1:
        raise FetchError(f"{source}: expected one {MARKER}, got {len(roots)}")
    return {name.removeprefix(roots[0]): file for name, file in files.items() if name.startswith(roots[0])}


def _copy(stream: _Stream, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}{PARTIAL}")
    try:
        with stream.open() as reader, partial.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _check(folder: Path, source: Path) -> bool:
    try:
        manifest = read_manifest(folder)
    except CheckpointError as error:
        raise FetchError(str(error)) from error
    problems = []
    for name, expected in (manifest or {}).items():
        if not belongs(name):  # a path out of the folder, too
            continue
        path = folder / name
        actual = sha256(path) if path.is_file() else "no file"
        if actual != expected:
            path.unlink(missing_ok=True)
            problems.append(f"{path}: expected sha256 {expected}, got {actual}")
    if problems:
        raise FetchError(
            "\n".join([*problems, f"{source}: copy it from its origin again; what was different was removed"])
        )
    return True
