"""API keys from a file."""

from pathlib import Path

import pytest

from server.http.auth import ApiKeys


def test_keys_are_lines_without_comments(tmp_path: Path) -> None:
    """Blank lines and comments are not keys, and an empty key is never valid."""
    path = tmp_path / "keys"
    path.write_text("# admin\nalpha\n\nbeta # the other\n")
    keys = ApiKeys(path)
    assert [keys.allows(key) for key in ("alpha", "beta", "gamma", "", "# admin")] == [True, True, False, False, False]


def test_a_changed_file_is_reloaded(tmp_path: Path) -> None:
    """A key can be removed or added without a restart."""
    path = tmp_path / "keys"
    path.write_text("alpha\n")
    keys = ApiKeys(path)
    path.write_text("a-longer-key\n")
    assert not keys.allows("alpha")
    assert keys.allows("a-longer-key")


def test_a_deleted_file_leaves_the_last_keys_valid(tmp_path: Path) -> None:
    """A mistake in deployment neither opens access nor blocks everyone; the restored file is loaded."""
    path = tmp_path / "keys"
    path.write_text("alpha\n")
    keys = ApiKeys(path)
    path.unlink()
    assert keys.allows("alpha")
    path.write_text("beta\n")
    assert keys.allows("beta")
    assert not keys.allows("alpha")


def test_a_missing_file_at_startup_is_an_error(tmp_path: Path) -> None:
    """A server that is configured to need keys does not start without them."""
    with pytest.raises(FileNotFoundError):
        ApiKeys(tmp_path / "none")
