"""Other names of stored voices: of a setting, and of a folder's file `aliases.json`: {other name: voice}."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FILE = "aliases.json"


def parse_aliases(setting: str) -> dict[str, str]:
    """The setting `voice_aliases`, `NAME=VOICE,NAME=VOICE`, by name in lower case."""
    pairs = (entry.partition("=") for entry in setting.split(",") if entry)
    return _by_lower_case({name: voice for name, _, voice in pairs})


def read_aliases(folder: Path) -> dict[str, str]:
    """The aliases of a folder, by name in lower case; none if its file is not there or cannot be read."""
    try:
        aliases = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return _by_lower_case(aliases) if isinstance(aliases, dict) else {}


def _by_lower_case(aliases: Mapping[str, object]) -> dict[str, str]:
    return {name.strip().lower(): str(voice).strip() for name, voice in aliases.items()}
