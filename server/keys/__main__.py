"""Makes API keys: `python -m server.keys new --name laptop --scope speak --file keys.yaml`.

The key is printed once; the file gets its hash. A running server reads the changed file by itself; to take a key back,
delete its entry.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import get_args

import yaml

from server.keys.key_file import ApiKey, Scope, digest, generate, parse


def add_key(
    path: Path, name: str, scopes: list[Scope], *, concurrent: int | None = None, characters: int | None = None
) -> str:
    """Appends a new key to the file, which is made if there is none, and returns it. ValueError: a value is invalid."""
    secret = generate()
    key = ApiKey(
        name=name,
        sha256=digest(secret),
        scopes=tuple(scopes),
        max_concurrent_requests=concurrent,
        characters_per_minute=characters,
    )
    entry = yaml.safe_dump([key.model_dump(mode="json", exclude_none=True)], sort_keys=False, default_flow_style=None)
    old = path.read_text("utf-8") if path.exists() else ""
    text = old + ("\n" if old and not old.endswith("\n") else "") + entry
    parse(text)
    _replace(path, text)
    return secret


def _replace(path: Path, text: str) -> None:
    """Writes the file whole or not at all: a server may read it at any moment. A new file is its owner's alone."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            stat = path.stat()
            os.chown(temporary, stat.st_uid, stat.st_gid)
            Path(temporary).chmod(stat.st_mode & 0o777)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m server.keys", description=__doc__.splitlines()[0])
    new = parser.add_subparsers(required=True, metavar="COMMAND").add_parser("new", help="Make a key and print it.")
    new.add_argument("--name", required=True, help="Who uses it: in the log, and the owner of its requests.")
    new.add_argument("--scope", required=True, action="append", choices=get_args(Scope), help="May be repeated.")
    new.add_argument("--max-concurrent-requests", type=int, metavar="N", help="More at once get 429.")
    new.add_argument("--characters-per-minute", type=int, metavar="N", help="More text per minute gets 429.")
    default = os.environ.get("GLMTTS_API_KEYS_FILE")
    new.add_argument("--file", type=Path, default=default, required=default is None, help="GLMTTS_API_KEYS_FILE.")
    args = parser.parse_args(arguments)
    try:
        secret = add_key(
            args.file,
            args.name,
            args.scope,
            concurrent=args.max_concurrent_requests,
            characters=args.characters_per_minute,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"glmtts keys: {error}")
    print(secret)


if __name__ == "__main__":
    main(sys.argv[1:])
