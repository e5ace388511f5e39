"""Server, client and image have the version of the newest release in CHANGELOG.md."""

from __future__ import annotations

import re

from glmtts_client.version import RELEASE as CLIENT_RELEASE

from server import RELEASE
from tests.helpers.server import ROOT


def test_one_version_everywhere() -> None:
    """tests/test_compatibility.py has that of both distributions."""
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest
    image = re.search(r'image\.version="(.*?)"', (ROOT / "deploy" / "Dockerfile").read_text("utf-8"))
    assert image
    assert newest[1] == image[1] == RELEASE == CLIENT_RELEASE
