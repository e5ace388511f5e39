"""Starts the server: `glmtts-server --host 0.0.0.0 --port 7860`. GLMTTS_* variables set what flags do not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from server import RELEASE
from server import settings as setup
from server.wsgi.gunicorn_app import GunicornApp

if TYPE_CHECKING:
    from glmtts.engine.api import Engine

BUNDLED_CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "nano"
"""A checkout has it; what pip installs from a wheel does not."""
FAKE_PREFIX = "fake:"
"""`--checkpoint fake:OPTIONS` loads the fake engine, for tests."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """The flags as attributes; None for a flag that is not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("host", "port", "checkpoint", "device", "log_level"):
        field = setup.Settings.model_fields[name]
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{field.description} (default: {field.default!r})")
    deterministic = setup.Settings.model_fields["deterministic"].description
    parser.add_argument("--deterministic", action="store_true", default=None, help=deterministic)
    parser.add_argument("--version", action="version", version=RELEASE)
    parser.add_argument("--print-settings", action="store_true", help="Print the effective settings and exit.")
    return parser.parse_args(arguments)


def loader(settings: setup.Settings) -> tuple[Callable[[], Engine], Path | None]:
    """The function that loads the engine, and the directory of the checkpoint's voices; the fake engine has none.

    ValueError: no checkpoint is named, and there is none beside the program.
    """
    if settings.checkpoint.startswith(FAKE_PREFIX):
        return partial(_load_fake, settings.checkpoint.removeprefix(FAKE_PREFIX)), None
    path = Path(settings.checkpoint) if settings.checkpoint else BUNDLED_CHECKPOINT
    if path == BUNDLED_CHECKPOINT and not path.is_dir():
        raise ValueError("checkpoint (GLMTTS_CHECKPOINT): expected a directory, as none is installed, got none")
    return partial(_load, path, settings), path / "voices"


# Imports torch only in the worker: the master process does without.
def _load(path: Path, settings: setup.Settings) -> Engine:
    from glmtts.config import StageFormats
    from glmtts.engine.config import EngineOptions
    from glmtts.engine.runtime.loading import load_engine

    return load_engine(
        path,
        device=settings.device,
        replacements=settings.g2p_replace,
        vocos_sha256=settings.vocos_sha256,
        options=EngineOptions(
            max_num_seqs=settings.max_num_seqs,
            max_memory_bytes=settings.max_memory_bytes,
            deterministic=settings.deterministic,
            strip_markup=settings.strip_markup,
            graph_seconds=settings.graph_seconds,
            graph_memory=settings.graph_memory,
            formats=StageFormats(settings.llm_dtype, settings.flow_dtype, settings.vocoder_dtype),
        ),
    )


def _load_fake(options: str) -> Engine:
    from glmtts.engine.runtime.fake import FakeEngine, FakeOptions

    return FakeEngine.load(FakeOptions.parse(options))


def main() -> None:
    flags = vars(parse(sys.argv[1:]))
    print_settings = flags.pop("print_settings")
    try:
        settings = setup.load(**flags)
        if print_settings:
            print(setup.describe(settings))
            return
        load, voices = loader(settings)
    except ValueError as error:
        sys.exit(f"glmtts: {error}")
    GunicornApp(settings, load, voices).run()
