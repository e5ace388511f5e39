"""The documentation points at what exists, and docs/architecture.md has what the code has."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from glmtts.checkpoint.components import read_config
from glmtts.config import GenerationConfig
from tests.glmtts.test_imports import MAY_IMPORT

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("c*/**/README.md"))]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page: Path) -> None:
    """Relative links with their anchors; and files and folders of the repository in code spans."""
    text = page.read_text(encoding="utf-8")
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not link.startswith("http") and (not target.exists() or (anchor and anchor not in anchors(target))):
            missing.append(link)
    spans = re.findall(r"`((?:glmtts|server|scripts|tests|docs|deploy|client|checkpoints)/[\w./-]+)`", text)
    assert missing + [span for span in spans if not (ROOT / span).exists()] == []


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([\w./-]+\.md)\)", index)}
    assert linked == set(PAGES) - {ROOT / "docs" / "index.md"}


def test_the_architecture_lists_every_package_in_order() -> None:
    """As the table of imports does: a package imports only those above it."""
    table = ARCHITECTURE.partition("## Packages and what each may import")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE) == list(MAY_IMPORT)


def test_the_architecture_explains_every_key_of_generation_json() -> None:
    """And has nano's values, those of keys that it does not state included."""
    table = ARCHITECTURE.partition("### generation.json")[2].partition("\n## ")[0]
    documented = {}
    for keys, values in re.findall(r"^\| (`[^|]*) \|.*\| ([^|]*) \|$", table, re.MULTILINE):
        documented |= zip(re.findall(r"`(\w+)`", keys), values.split(", "), strict=True)
    nano = read_config(ROOT / "checkpoints" / "nano" / "llm" / "generation.json", GenerationConfig)
    assert documented == {field.name: shown(getattr(nano, field.name)) for field in fields(GenerationConfig)}


def shown(value: object) -> str:
    """A value as the page shows it."""
    if value is None:
        return "off"
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, tuple):
        return " ".join("–".join(map(str, pair)) for pair in value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
