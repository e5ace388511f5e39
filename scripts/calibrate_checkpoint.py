#!/usr/bin/env python3
"""Measures the thresholds that a checkpoint brings none of, and writes them into its `llm/generation.json`.

    python -m scripts.calibrate_checkpoint checkpoints/glm-tts
    python -m scripts.calibrate_checkpoint checkpoints/glm-tts --dry-run     # prints the table only

They tell whether a recording and its text may prompt the AR model, which lengths of a segment are implausible, and
which speeds the flow makes itself (docs/architecture.md#generationjson). Everything is measured on the checkpoint's own
stored voices, or the built-in ones, with the checkpoint's own scores: no recogniser. Values that the file states stay,
in groups that belong together, unless `--force` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from glmtts.checkpoint.loader import Model, load
from glmtts.checkpoint.manifest import read_manifest, sha256, write_manifest
from glmtts.errors import CheckpointError
from scripts.benchmarks.eval_cases import Prompt, load_prompts
from scripts.calibration.lengths import draw_lengths, measure_lengths
from scripts.calibration.measurement import GROUPS, Measurement, without_thresholds
from scripts.calibration.prompts import measure_prompts
from scripts.calibration.speeds import measure_speeds
from scripts.nano.sentences import held_out
from server.voices.builtin_voices import BUILTIN_VOICES
from server.voices.files import write_file

FILE = "llm/generation.json"
FULL = {"texts": 10, "seeds": 2, "speed_texts": 1}
QUICK = {"texts": 3, "seeds": 1, "speed_texts": 1}


def measure(
    model: Model, prompts: Sequence[Prompt], groups: Sequence[str], *, texts: int, seeds: int, speed_texts: int
) -> list[Measurement]:
    """The values of some groups. `texts` of each kind and language; `speed_texts` in each voice."""
    voices = [(prompt.lang, model.voice_maker.make_voice(*prompt.short())) for prompt in prompts]
    kinds = {
        kind: {lang: sorted(held_out(lang, kind))[:texts] for lang in ("zh", "en")} for kind in ("words", "sentences")
    }
    measured = []
    if "prompts" in groups:
        measured += measure_prompts(model, prompts, kinds["sentences"])
    if "lengths" in groups:
        words, sentences = (
            [draw for lang, voice in voices for draw in draw_lengths(model, voice, kinds[kind][lang], seeds)]
            for kind in ("words", "sentences")
        )
        measured += measure_lengths(words, sentences)
    if "speeds" in groups:
        measured += measure_speeds(model, {voice: kinds["sentences"][lang][:speed_texts] for lang, voice in voices})
    return measured


def made_by_hand(folder: Path) -> list[Prompt]:
    """The voices in a folder without those that a server stored, which may be of anyone and of any quality."""
    return [prompt for prompt in load_prompts(folder) if all(file.exists() for file in prompt.styles)]


def groups_to_write(stated: Mapping[str, Any], *, force: bool) -> list[str]:
    """Those of which the file states no value, or all."""
    return [name for name, keys in GROUPS.items() if force or not any(key in stated for key in keys)]


def write(checkpoint: Path, content: Mapping[str, Any]) -> None:
    """Writes `llm/generation.json`, and its hash if the checkpoint has a list of hashes."""
    write_file(checkpoint / FILE, (json.dumps(content, indent=1) + "\n").encode())
    if (hashes := read_manifest(checkpoint)) is not None:
        write_manifest(checkpoint, {**hashes, FILE: sha256(checkpoint / FILE)})


def print_table(measured: Sequence[Measurement], stated: Mapping[str, Any], written: Sequence[str]) -> None:
    print(f"{'key':20}{'stated':>10}{'measured':>10}  {'':8}{'measured on'}")
    for key, value, basis in measured:
        before, after = stated.get(key, "–"), "–" if value is None else value
        group = next(name for name, keys in GROUPS.items() if key in keys)
        outcome = "kept" if group not in written else "off" if value is None else "written"
        print(f"{key:20}{before!s:>10}{after!s:>10}  {outcome:8}{basis}")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("checkpoint", type=Path)
    flags.add_argument(
        "--voices", type=Path, help="folder of stored voices (default: the checkpoint's, or the built-in)"
    )
    flags.add_argument("--device", default="auto")
    flags.add_argument("--force", action="store_true", help="also overwrite values that are stated")
    flags.add_argument("--dry-run", action="store_true", help="measure everything, write nothing")
    flags.add_argument("--quick", action="store_true", help="fewer texts: to see that it works")
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    file = args.checkpoint / FILE
    stated = json.loads(file.read_bytes()) if file.exists() else {}
    written = [] if args.dry_run else groups_to_write(stated, force=args.force)
    prompts = made_by_hand(args.voices or args.checkpoint / "voices") or made_by_hand(BUILTIN_VOICES)
    amounts = QUICK if args.quick else FULL
    with torch.inference_mode():
        try:
            model = without_thresholds(load(args.checkpoint, device=args.device))
        except CheckpointError as error:
            sys.exit(str(error))
        measured = measure(model, prompts, list(GROUPS) if args.dry_run else written, **amounts)
    print_table(measured, stated, written)
    values = {key: value for key, value, _ in measured if value is not None}
    if values and not args.dry_run:
        write(args.checkpoint, {**stated, **values})
    kept = sum(key in stated for keys in GROUPS.values() for key in keys if key not in values)
    print(f"{file}: {0 if args.dry_run else len(values)} values written, {kept} kept")


if __name__ == "__main__":
    main()
