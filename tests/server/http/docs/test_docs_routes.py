"""The OpenAPI document and the page that shows it, over real HTTP."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from server.http.docs.routes import FILES, READER
from tests.helpers.server import ROOT, Server


@pytest.fixture
def document(server: Server) -> Any:
    return requests.get(server.url + "/openapi.json", timeout=10).json()


def test_the_document_is_openapi(document: Any) -> None:
    """3.1, by its own schema."""
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_answers_are_as_described(server: Server, document: Any) -> None:
    """Those of every GET without parameters, by status, media type and members; and an error of each API."""
    for path, methods in document["paths"].items():
        if "get" in methods and "{" not in path:
            answer = requests.get(server.url + path, timeout=10)
            described = methods["get"]["responses"][str(answer.status_code)]["content"]
            media_type = answer.headers["Content-Type"].partition(";")[0]
            schema = described[media_type]["schema"]
            schema = schema.get("anyOf", [schema])[0]
            if media_type == "application/json":
                assert set(schema["required"]) <= answer.json().keys(), path
    for path in ("/voices/nobody", "/v1/models/nothing"):
        described = document["paths"][re.sub(r"/no\w+$", "/{name}", path)]["get"]["responses"]["4XX"]["$ref"]
        response = document["components"]["responses"][described.rpartition("/")[2]]
        schema = response["content"]["application/json"]["schema"]["properties"]["error"]
        assert set(schema["required"]) == requests.get(server.url + path, timeout=10).json()["error"].keys()


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    """Its files come from this server, and the browser is told to take no others."""
    page = requests.get(server.url + "/docs", timeout=10)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    scripts = re.findall(r'src="([^"]+)"', page.text)
    assert {f"docs/{name}" for name in FILES} == set(scripts)
    for script in scripts:
        answer = requests.get(f"{server.url}/{script}", timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert len(answer.content) > 500
    for name in ("index.html", "LICENSE.txt", "rapidoc-min.js.gz", "../routes.py", "none"):
        assert requests.get(f"{server.url}/docs/{name}", timeout=10).status_code == 404


def test_the_files_are_in_the_wheel() -> None:
    """With their licence."""
    declared = re.search(
        r'^"server.http.docs" = \["(.*)"\]$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    assert declared is not None
    needed = [*FILES.values(), "index.html", "LICENSE.txt"]
    assert all(fnmatch(f"reader/{name}", declared[1]) and (READER / name).is_file() for name in needed)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.processes
def test_a_browser_shows_the_page(server: Server, tmp_path: Path) -> None:
    """With each operation, under the page's own policy."""
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=10000",
    ]
    command = ["chromium", *flags, "--enable-logging=stderr", "--dump-dom", server.url + "/docs"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Refused to" not in shown.stderr
    assert 'allow-try="true"' in shown.stdout
