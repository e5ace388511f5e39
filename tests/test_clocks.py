"""Nothing that lasts or expires is measured by the wall clock, which may be set at any time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WALL = {"time", "time_ns", "localtime", "gmtime", "strftime", "ctime", "now", "utcnow", "today"}
ALLOWED = {
    # A date is all that Retry-After may have; the chooser bounds what comes of it, and our server sends seconds.
    ("client/glmtts_client/responses.py", "_retry_after"),
    # A span has a date; it is made of a monotonic moment when it is sent.
    ("server/observability/tracing.py", "_epoch_ns"),
    # Dates that people read: of a line of the audit log, and of a model under /v1.
    ("server/observability/audit.py", "write"),
    ("server/http/openai/routes.py", "make_openai_routes"),
    # A change of a stored voice has a date that other nodes, and later starts, compare. One that is known is always
    # exceeded, so a clock that is set back loses nothing.
    ("server/voices/stored_voice.py", "time_after"),
    ("server/voices/peer_client.py", "_check"),
    # What is kept for thirty days outlives the process. A wrong clock costs a cached file or a memory of a deletion.
    ("server/voices/stored_voice.py", "is_forgotten"),
    ("server/voices/folder.py", "tidy"),
    ("server/voices/store.py", "_clean_up"),
    # Compared with the times of files; in doubt they are read again.
    ("server/voices/inventory.py", "read"),
}
"""Where it is read all the same."""


def readings(path: Path) -> Iterator[tuple[str, str]]:
    """Each function of a file that reads the wall clock."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in WALL
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("time", "datetime", "date")
            ):
                yield str(path.relative_to(ROOT)), function.name


def test_the_wall_clock_is_read_for_dates_only() -> None:
    """Client, server and engine wait, expire and measure by the monotonic clock."""
    files = [file for folder in ("client/glmtts_client", "server", "glmtts") for file in (ROOT / folder).rglob("*.py")]
    assert {reading for file in [*files, ROOT / "app.py"] for reading in readings(file)} == ALLOWED


def test_a_reading_is_found() -> None:
    """Where there is one, as in the clock of a script's messages."""
    assert ("scripts/chaos.py", "log") in set(readings(ROOT / "scripts" / "chaos.py"))
