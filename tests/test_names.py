"""Names that were replaced, because they mislead or because the field has another word, do not come back."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MODULES = {
    "glmtts": {"drawing", "sound", "steps", "streams", "recorded", "flow_memory", "token_trunk", "surprise", "counter"},
    "glmtts/engine": {"line", "voices", "speech"},
    "server": {"registry", "hangup", "heap", "gauges", "speech"},
    "client": {"speaker"},
    "scripts": {"herd", "ears", "ear", "judges"},
}
"""By folder: names of modules."""

IDENTIFIERS = {
    "glmtts": {"speak"},
    "glmtts/engine": {
        *("Line", "Drawing", "Sound", "Made", "Steps", "Item", "Drawn", "Block", "Speech"),
        *("VoiceMemories", "Conditioning", "rehearse", "rehearsal", "Counter", "Tally", "voiced"),
        *("_late", "_one_by_one", "_meaning", "_together", "_in_turn", "_keep_house", "_book"),
    },
    "glmtts/engine/scheduling": {"Stream"},
    "glmtts/engine/synthesis": {"Stream"},
    "glmtts/models": {
        *("Recorded", "recordable", "RECORDED_LENGTH", "_met", "Memory", "Before", "NOTHING", "followed_by"),
        *("past_of", "halve", "TokenTrunk", "Trunk", "surprise"),
    },
    "server": {
        *("speak", "Registry", "HangupWatch", "watching", "hung_up", "Tide", "keep_small", "VoicesKept"),
        *("_OURS", "_fields_named_as_here"),
    },
    "server/observability": {"Steps", "Discovery"},
    "client": {"_loudspeaker"},
    "scripts": {"Herd", "herd", "Ears", "Ear", "heard_apart", "Judges", "Likeness"},
}
"""By folder: identifiers anywhere in its Python files."""

MEMBERS = {
    "JobQueue": {"places", "take", "leave"},
    "DecodeRunner": {"unread", "_alone"},
    "AudioRunner": {"_retried", "_prepare"},
    "EngineLoop": {"_draw", "_make", "_sound", "_due", "_rate", "_taken"},
    "ActiveJob": {"spoken"},
    "History": {"spoken"},
    "Report": {"spoken"},
    "Continuation": {"spoken"},
    "SegmentAudio": {"made", "first", "tail", "before", "finished"},
    "Histogram": {"note"},
    "Decoder": {"recording"},
    "FlowKVCache": {"then"},
    "LeftContext": {"said"},
    "Settings": {
        *("speech_threads", "kv_slots", "queue_seconds", "progress_limit", "drain_grace", "ttl", "records"),
        *("max_body", "max_text"),
    },
    "VoiceRequest": {"recording", "transcript"},
    "Api": {"speak"},
}
"""By class: its methods, attributes and fields."""

WIRE = {
    *("max_surprise", "unfit_text", "unfit_audio", "broken_body", "no_api_key", "wrong_api_key", "hangup"),
    *("speech_threads", "owed_seconds", "unsent_seconds"),
}
"""Keys, settings, metrics and error codes: in any text file. Settings and metrics also with a prefix."""

MESSAGE = re.compile(r"\bcame\b[^\"']*;[^\"']*\bwants?\b")
"""Messages read `field: expected …, got …`."""

PHRASE = re.compile(r"\bwait\w* in line\b|\bherd of nodes\b|\bKnows nothing\b|\bmodel\.md\b", re.IGNORECASE)
"""Jobs are queued, nodes form a cluster, a test checks the imports, and docs refer to what is in the repository."""

TEXT_SUFFIXES = {".py", ".md", ".json", ".yml", ".yaml", ".hcl", ".sh", ".toml", ".service"}


@cache
def python_files(folder: str) -> tuple[Path, ...]:
    return (*sorted((ROOT / folder).rglob("*.py")), *([ROOT / "app.py"] if folder == "server" else []))


@cache
def identifiers(path: Path) -> frozenset[str]:
    """Every name in a Python file's code; strings and comments do not count."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return frozenset(token.string for token in tokens if token.type == tokenize.NAME)


def members(class_def: ast.ClassDef) -> set[str]:
    """Names that a class defines: methods, fields and attributes of `self`."""
    names = {node.name for node in ast.walk(class_def) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(class_def):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    for node in class_def.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def text_files() -> list[Path]:
    """The project's text files, without tests and checkpoints."""
    folders = ("glmtts", "server", "client", "scripts", "deploy", "docs")
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*")))
    texts = [path for path in paths if path.suffix in TEXT_SUFFIXES and "egg-info" not in str(path)]
    return [*texts, *(ROOT / name for name in ("app.py", "README.md", "CONTRIBUTING.md", "pyproject.toml"))]


@pytest.mark.parametrize("folder", MODULES)
def test_no_module_has_an_old_name(folder: str) -> None:
    assert [str(path.relative_to(ROOT)) for path in python_files(folder) if path.stem in MODULES[folder]] == []


@pytest.mark.parametrize("folder", IDENTIFIERS)
def test_no_code_has_an_old_identifier(folder: str) -> None:
    old = IDENTIFIERS[folder]
    found = {str(path.relative_to(ROOT)): sorted(identifiers(path) & old) for path in python_files(folder)}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_class_has_an_old_member() -> None:
    classes = [
        (path, node)
        for folder in ("glmtts", "server", "client", "scripts")
        for path in python_files(folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name in MEMBERS
    ]
    assert {node.name for _, node in classes} == set(MEMBERS), "these classes exist"
    found = [
        f"{path.relative_to(ROOT)}: {node.name}: {sorted(names)}"
        for path, node in classes
        if (names := members(node) & MEMBERS[node.name])
    ]
    assert found == []


def test_no_text_has_an_old_key() -> None:
    pattern = re.compile(rf"(?:\b|_)({'|'.join(sorted(WIRE))})\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}: {sorted(names)}"
        for path in text_files()
        if (names := {match[1] for match in pattern.finditer(path.read_text(encoding="utf-8"))})
    ]
    assert found == []


def test_no_message_or_comment_has_the_old_form() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("glmtts", "server", "client", "scripts")
        for path in python_files(folder)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if MESSAGE.search(line) or PHRASE.search(line)
    ]
    assert found == []


def test_the_checks_find_what_they_look_for(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        "class Report:\n    spoken: int = 0  # Line\n    def f(self): self.tail = Stream('Block')\n", "utf-8"
    )
    assert identifiers(source) >= {"Stream", "tail", "spoken"}
    assert not identifiers(source) & {"Line", "Block"}
    assert members(ast.parse(source.read_text("utf-8")).body[0]) == {"spoken", "f", "tail"}  # type: ignore[arg-type]
    assert MESSAGE.search("sample_rate: came 7; want 24000")
