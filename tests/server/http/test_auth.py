"""API keys from a file."""

from pathlib import Path

import pytest

from server.http.auth import ApiKeys


def test_keys_are_lines_without_comments(tmp_path: Path) -> None:
    """Blank lines and comments are no keys; an empty key never opens."""
    path = tmp_path / "keys"
    path.write_text("# ours\nalpha\n\nbeta # the other\n")
    keys = ApiKeys(path)
    assert [keys.allows(key) for key in ("alpha", "beta", "gamma", "", "# ours")] == [True, True, False, False, False]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A key is taken away or added without a restart."""
    path = tmp_path / "keys"
    path.write_text("alpha\n")
    keys = ApiKeys(path)
    path.write_text("a-longer-key\n")
    assert not keys.allows("alpha")
    assert keys.allows("a-longer-key")


def test_a_file_that_vanishes_leaves_the_last_keys(tmp_path: Path) -> None:
    """A mistake in deployment neither opens the door nor locks out everyone; the file's return is noticed."""
    path = tmp_path / "keys"
    path.write_text("alpha\n")
    keys = ApiKeys(path)
    path.unlink()
    assert keys.allows("alpha")
    path.write_text("beta\n")
    assert keys.allows("beta")
    assert not keys.allows("alpha")


def test_no_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    """A server that was told to want keys does not start without them."""
    with pytest.raises(FileNotFoundError):
        ApiKeys(tmp_path / "none")
