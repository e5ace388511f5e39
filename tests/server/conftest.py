"""One running server for the tests that only talk to it; after each of them nothing may be left behind in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.server import Server, store_voice, wait_until


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("voices")
    store_voice(directory, "default", {"neutral": "This is me.", "happy": "Oh, wonderful!"})
    store_voice(directory, "anna", {"calm": "Slowly."}, language="zh")
    return directory


@pytest.fixture(scope="session")
def _shared(voices: Path) -> Iterator[Server]:
    short = {"GLMTTS_MAX_CONCURRENT_REQUESTS": "6", "GLMTTS_READ_TIMEOUT": "3", "GLMTTS_WRITE_TIMEOUT": "2"}
    with Server("fake:delay=0.02,max_queued=3", voices=voices, env=short) as server:
        yield server


@pytest.fixture
def server(_shared: Server) -> Iterator[Server]:
    """A test fails that leaves a request, a job, an open socket or an unasked-for error line behind."""
    lines = len(_shared.lines)
    yield _shared
    wait_until(lambda: _shared.metric("glmtts_in_flight") == 0, "all requests to be over")
    wait_until(lambda: _shared.metric("glmtts_backlog_seconds") == 0, "all jobs to be over")
    errors = [line for line in _shared.lines[lines:] if '"level": "error"' in line]
    # The one error that a test asks for.
    assert not [line for line in errors if "a secret of the engine's inside" not in line]
