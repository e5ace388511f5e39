"""A checkpoint from a model hub, by the hub's own library.

The library keeps whole files between runs and continues a cut transfer within a run. It compares sizes only, so the
hashes are compared here: sha256 of large files, git's hash of the others, both from the hub's list of files.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from glmtts.checkpoint.manifest import sha256
from glmtts.checkpoint.model_info import FILE as MODEL_INFO
from scripts.fetching.errors import FetchError
from scripts.fetching.target import belongs, check_space

COMMIT = re.compile(r"[0-9a-f]{40}")
RETRY = "run again (whole files are kept), or take the files from another machine with --from"


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub. `sha256` is None for small files, which have git's hash `blob` alone."""

    name: str
    size: int
    sha256: str | None
    blob: str

    def differs(self, file: Path) -> str:
        """What is different in `file`, in words; empty if nothing is."""
        if self.sha256 is not None:
            kind, expected, actual = "sha256", self.sha256, sha256(file)
        else:
            kind, expected, actual = "git hash", self.blob, git_hash(file.read_bytes())
        return "" if actual == expected else f"{file}: expected {kind} {expected}, got {actual}"


def git_hash(data: bytes) -> str:
    """git's object id of a file with these contents."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def fetch(folder: Path, repo: str, revision: str, endpoint: str | None) -> str:
    """Fetches the checkpoint's files of `repo` at `revision` into `folder` and returns the commit.

    Writes `model.json` with the commit as version, unless the repository has one. Raises FetchError.
    """
    try:
        commit, files = _list(repo, revision, endpoint)
        missing = [file for file in files if not _is_there(folder, file)]
        check_space(folder, sum(file.size for file in missing))
        _download(folder, repo, commit, files, endpoint)
    except FetchError:
        raise
    except ImportError as error:
        raise FetchError(f"fetching needs the package huggingface_hub (extra: fetch): {error}") from error
    except Exception as error:  # the library's HTTP client, and so its errors, differ by version
        raise FetchError(f"{repo} at {revision}: not fetched: {' '.join(str(error).split())}; {RETRY}") from error
    _check(folder, files)
    if not any(file.name == MODEL_INFO for file in files):
        info = {"name": repo.rpartition("/")[2], "version": commit[:12]}
        (folder / MODEL_INFO).write_text(json.dumps(info) + "\n", encoding="utf-8")
    return commit


def _list(repo: str, revision: str, endpoint: str | None) -> tuple[str, list[RemoteFile]]:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=endpoint)
    commit = revision if COMMIT.fullmatch(revision) else api.model_info(repo, revision=revision).sha
    entries = [e for e in api.list_repo_tree(repo, recursive=True, revision=commit) if isinstance(e, RepoFile)]
    files = [
        RemoteFile(e.path, e.size, e.lfs.sha256 if e.lfs is not None else None, e.blob_id)
        for e in entries
        if belongs(e.path)
    ]
    if not files:
        raise FetchError(f"{repo} at {commit}: expected the files of a checkpoint (llm/, flow/ …), got none of them")
    return commit, files


def _is_there(folder: Path, file: RemoteFile) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


def _download(folder: Path, repo: str, commit: str, files: list[RemoteFile], endpoint: str | None) -> None:
    from huggingface_hub import snapshot_download

    names = [file.name for file in files]
    snapshot_download(repo, revision=commit, local_dir=folder, allow_patterns=names, endpoint=endpoint)


def _check(folder: Path, files: list[RemoteFile]) -> None:
    """FetchError with every file that is missing or different; those that are different are removed."""
    problems = []
    for file in files:
        path = folder / file.name
        if not path.is_file():
            problems.append(f"{path}: expected this file, got none")
        elif problem := file.differs(path):
            path.unlink()
            problems.append(f"{problem}; it was removed")
    if problems:
        raise FetchError("\n".join([*problems, RETRY]))
