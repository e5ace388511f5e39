"""One version everywhere: server, client, changelog, image."""

from __future__ import annotations

import re
from pathlib import Path

from glmtts_client.version import VERSION as CLIENT_VERSION
from server.version import VERSION

ROOT = Path(__file__).resolve().parents[1]


def test_server_client_and_image_have_the_version_of_the_changelog() -> None:
    """The newest release that CHANGELOG.md describes."""
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest
    labels = re.findall(r'image\.version="(.*?)"', (ROOT / "deploy" / "Dockerfile").read_text("utf-8"))
    assert [VERSION, CLIENT_VERSION, *labels] == [newest[1]] * (2 + len(labels))
    assert labels


def test_the_distributions_take_it_from_there() -> None:
    for folder, module in ((ROOT, "server"), (ROOT / "client", "glmtts_client")):
        project = (folder / "pyproject.toml").read_text("utf-8")
        assert 'dynamic = ["version"]' in project
        assert f'version = {{ attr = "{module}.version.VERSION" }}' in project
