"""The program of one release as a folder: a git revision, a built wheel, or a folder as it is."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path


def export(source: str, folder: Path, repository: Path) -> Path:
    """The folder with the app.py of `source`. `folder` is where a revision or a wheel is unpacked.

    Raises ValueError if `source` is none of the three, or has no app.py.
    """
    path = Path(source)
    if path.is_dir():
        return _checked(path.resolve(), source)
    folder.mkdir(parents=True)
    if path.suffix == ".whl" and path.is_file():
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(folder)
        return _checked(folder, source)
    command = ["git", "archive", "--format=tar", source]
    result = subprocess.run(command, cwd=repository, capture_output=True, check=False)
    if result.returncode:
        raise ValueError(f"{source}: expected a folder, a wheel or a revision, got: {result.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return _checked(folder, source)


def _checked(folder: Path, source: str) -> Path:
    if not (folder / "app.py").is_file():
        raise ValueError(f"{source}: expected a program with app.py, got none")
    return folder
