"""Requests as other programs send them, replayed; the programs that can be installed run in scripts/clients.py."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.client_checks.installed import INSTALLED, PROGRAMS
from scripts.client_checks.recorded import RecordedRequest, recorded_requests
from tests.helpers.server import ROOT, Server, recording, store_voice

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a server that also stores voices."""
    folder = tmp_path_factory.mktemp("voices")
    store_voice(folder, "default", {"neutral": "This is me."})
    with Server(voices=folder) as server:
        yield server.url + "/v1"


@pytest.mark.parametrize("request_", recorded_requests(), ids=lambda each: f"{each.client} {each.method} {each.path}")
def test_a_recorded_request_gets_what_its_program_reads(url: str, request_: RecordedRequest) -> None:
    """Status, content type and members; in order, as the voice that one stores speaks in the next."""
    assert request_.problem(request_.send(url, "", recording())) is None


def test_a_problem_is_seen(url: str) -> None:
    """Another status, another content type, a missing member: the check above can fail."""
    speech = RecordedRequest("x", "/audio/speech", {"input": "Hello."})
    assert speech.problem(speech.send(url, "", b"")) is None
    for wrong in (
        RecordedRequest("x", "/audio/speech", {"input": "…"}),
        RecordedRequest("x", "/audio/speech", {"input": "Hello."}, needs="audio/wav"),
        RecordedRequest("x", "/models", None, "application/json", "GET", members=("voices",)),
    ):
        assert wrong.problem(wrong.send(url, "", b"")) is not None


def test_joined_mp3_files_are_one(url: str) -> None:
    """LibreChat sends long texts in parts, and the browser gets the bodies as one file."""
    parts = [
        requests.post(f"{url}/audio/speech", json={"input": text, "backend": ""}, timeout=60).content
        for text in ("Hello there.", "How are you?")
    ]
    command = ["ffmpeg", "-v", "error", "-f", "mp3", "-i", "-", "-f", "s16le", "-"]
    lengths = [
        len(subprocess.run(command, input=data, capture_output=True, check=True).stdout)
        for data in (*parts, b"".join(parts))
    ]
    assert lengths[2] == pytest.approx(lengths[0] + lengths[1], abs=2 * 2 * 1152)


def test_every_client_is_documented() -> None:
    """docs/clients.md shows how to connect each; each program is there."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^## (.+)$", page, re.MULTILINE))
    assert {client.name for client in INSTALLED} | {each.client for each in recorded_requests()} <= headings
    assert {client.program for client in INSTALLED} == {
        path.name for path in Path(PROGRAMS).iterdir() if path.is_file()
    }
