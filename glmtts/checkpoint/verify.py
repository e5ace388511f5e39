"""Checks everything about a checkpoint at once, where the loader stops at the first error.

The parts are loaded by the loader's own functions on the meta device: names, shapes and dtypes of all tensors are
compared, no weights are read, and what is reported are the loader's own words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from glmtts.checkpoint.manifest import FILE as MANIFEST
from glmtts.checkpoint.manifest import read_manifest, sha256
from glmtts.checkpoint.model_info import PARTS
from glmtts.checkpoint.verify_parts import PartCheck, check_parts
from glmtts.errors import CheckpointError

FETCH = "python -m scripts.fetch_checkpoint"
ADVICE = {
    "files": f"copy this file from where the checkpoint came from; for the published one, `{FETCH} DIR` fetches it",
    "hashes": f"the file is damaged, or of another revision than {MANIFEST}: delete it and fetch it again",
    "frontend": f"`{FETCH} DIR` adds CAM++ to the published checkpoint; for another one, copy the file that "
    "`python -m scripts.fetch_campplus` prints to frontend/campplus.pt; campplus.onnx needs the extra `onnx`",
    "published": "it is another model, or a revision with other sizes: if the published one was meant, compare "
    "repository and revision; the server reads all sizes from the configs",
    "sizes": "the parts are of different checkpoints: fetch all of them at one revision",
}
"""What to do about a problem, by part. For the other parts there is `OTHER_ADVICE`."""

OTHER_ADVICE = (
    "config and weights are not of one revision, are damaged, or are another model's: fetch both again at one revision"
)

REQUIRED = (
    "llm/config.json",
    "flow/config.yaml",
    "flow/flow.pt",
    "hift/hift.pt",
    "speech_tokenizer/config.json",
    "speech_tokenizer/preprocessor_config.json",
    "vq32k-phoneme-tokenizer/tokenizer.model",
    "vq32k-phoneme-tokenizer/tokenizer_config.json",
)
"""Files that have one name only; the parts' checks look for the others."""


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, what was there, and the problem with it, empty if there is none."""

    part: str
    what: str
    value: str = ""
    problem: str = ""

    @property
    def advice(self) -> str:
        """What to do about the problem."""
        return ADVICE.get(self.part, OTHER_ADVICE) if self.problem else ""


PUBLISHED: dict[tuple[str, str], object] = {
    ("llm", "hidden_size"): 2048,
    ("llm", "num_hidden_layers"): 28,
    ("llm", "num_attention_heads"): 16,
    ("llm", "num_key_value_heads"): 4,
    ("llm", "intermediate_size"): 6144,
    ("llm", "vocab_size"): 98304,
    ("flow", "trans_dim"): 768,
    ("flow", "depth"): 18,
    ("flow", "heads"): 12,
    ("flow", "dim_head"): 64,
    ("flow", "text_emb_dim"): 512,
    ("flow", "conv_layers"): 4,
    ("flow", "text_vocab_size"): 100000,
    ("flow", "spkr_emb_adaLN"): True,
    ("flow", "speech_token_cfg"): False,
    ("flow", "remove_spkr_concat_condition"): True,
    ("special ids", "ats"): 61498,
    ("special ids", "ate"): 94265,
    ("special ids", "boa"): 59260,
    ("special ids", "eoa"): 59253,
    ("special ids", "pad"): 59246,
}
"""zai-org/GLM-TTS, from its code and, for vocab_size, remove_spkr_concat_condition and the special ids, from others who
quote the checkpoint. Not compared with its files."""


def verify(root: Path, *, hashes: bool = True, published: bool = False) -> list[Check]:
    """All checks of the checkpoint in `root`; those without a problem too.

    hashes: also compare each file with `SHA256SUMS`, which reads all of them. published: also compare config
    values with those of the published checkpoint. Raises CheckpointError if `root` is no folder.
    """
    if not root.is_dir():
        raise CheckpointError(f"{root}: expected a checkpoint folder with llm/, flow/, hift/ …, got no such folder")
    checks = [*_check_files(root), *(_check_hashes(root) if hashes else ())]
    incomplete = {check.what.partition("/")[0] for check in checks if check.part == "files" and check.problem}
    with torch.device("meta"):
        parts = check_parts(root)
    for part in parts:
        if part.name in incomplete:
            checks.append(Check(part.name, part.what, "not checked: a file is missing"))
        else:
            checks += _lines(part, published)
    return checks


def _lines(part: PartCheck, published: bool) -> Iterator[Check]:
    yield Check(part.name, part.what, part.summary, part.problem)
    for key, value in part.values.items():
        expected = PUBLISHED.get((part.name, key), value) if published else value
        if value == expected:
            yield Check(part.name, key, str(value))
        else:
            yield Check("published", key, str(value), f"{part.name}: {key}: expected {expected}, got {value}")


def explain(root: Path, error: CheckpointError) -> CheckpointError:
    """`error` of a failed load together with every other problem of the checkpoint and what to do about each.

    `error` itself if it is about something that `verify` does not look at, such as the device.
    """
    try:
        problems = [check for check in verify(root, hashes=False) if check.problem]
    except CheckpointError:
        return error
    if not problems:
        return error
    lines = [f"- {check.problem}\n  What to do: {check.advice}" for check in problems]
    hint = f"`python -m scripts.verify_checkpoint {root}` checks everything, hashes too."
    return CheckpointError("\n".join([f"{root}: problems: {len(problems)}", *lines, hint]))


def _check_files(root: Path) -> Iterator[Check]:
    present = {path.relative_to(root).as_posix(): path for part in PARTS for path in (root / part).rglob("*")}
    files = {name: path for name, path in present.items() if path.is_file() and "/.cache/" not in name}
    for name in sorted({*files, *REQUIRED}):
        if name in files:
            yield Check("files", name, f"{files[name].stat().st_size:,} bytes")
        else:
            yield Check("files", name, "missing", f"{root / name}: expected this file, got none")


def _check_hashes(root: Path) -> Iterator[Check]:
    try:
        manifest = read_manifest(root)
    except CheckpointError as error:
        yield Check("hashes", MANIFEST, "not readable", str(error))
        return
    if manifest is None:
        yield Check("hashes", MANIFEST, "none: nothing to compare the files with")
        return
    for name, expected in manifest.items():
        path = root / name
        actual = sha256(path) if path.is_file() else "no file"
        problem = "" if actual == expected else f"{path}: expected sha256 {expected}, got {actual}"
        yield Check("hashes", name, "different" if problem else "as listed", problem)
