"""API keys from a file, and the command that makes them."""

import stat
from pathlib import Path

import pytest
import yaml

from server.keys.__main__ import add_key, main
from server.keys.key_file import ApiKey, KeyFile, digest, parse


def name_of(keys: KeyFile, secret: str) -> str | None:
    key = keys.find(secret)
    return None if key is None else key.name


def test_a_made_key_is_found_and_the_file_does_not_have_it(tmp_path: Path) -> None:
    """With its name, scopes and limits; anything else, its hash included, is no key."""
    path = tmp_path / "keys.yaml"
    secret = add_key(path, "anna", ["speak", "voices"], concurrent=2, characters=900)
    other = add_key(path, "ben", ["admin"])
    keys = KeyFile(path)
    expected = ApiKey(
        name="anna",
        sha256=digest(secret),
        scopes=("speak", "voices"),
        max_concurrent_requests=2,
        characters_per_minute=900,
    )
    assert keys.find(secret) == expected
    assert name_of(keys, other) == "ben"
    assert [name_of(keys, wrong) for wrong in ("", secret[:-1], digest(secret), "anna", secret + "#x")] == [None] * 5
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_command_prints_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.yaml"
    main(["new", "--name", "anna", "--scope", "speak", "--file", str(path), "--characters-per-minute", "5000"])
    key = KeyFile(path).find(capsys.readouterr().out.strip())
    assert key is not None
    assert (key.name, key.characters_per_minute) == ("anna", 5000)


def test_a_name_is_taken_once_and_the_file_keeps_its_comments(tmp_path: Path) -> None:
    """What the command refuses leaves the file as it was, with its mode."""
    path = tmp_path / "keys.yaml"
    path.write_text("# of the team\n")
    path.chmod(0o640)
    add_key(path, "anna", ["speak"])
    before = path.read_text()
    assert before.startswith("# of the team\n")
    for name in ("anna", "no spaces", ""):
        with pytest.raises(ValueError, match="name"):
            add_key(path, name, ["speak"])
    assert path.read_text() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_changed_file_is_reloaded(tmp_path: Path) -> None:
    """A key can be added or taken back without a restart."""
    path = tmp_path / "keys.yaml"
    first = add_key(path, "first", ["speak"])
    keys = KeyFile(path)
    second = add_key(path, "second", ["speak"])
    assert (name_of(keys, first), name_of(keys, second)) == ("first", "second")
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text())[1:]))
    assert (name_of(keys, first), name_of(keys, second)) == (None, "second")


@pytest.mark.parametrize("broken", [None, "- name: [", "glm_an-unhashed-key\n", "- {name: a, scopes: [speak]}\n"])
def test_a_broken_file_leaves_the_last_keys_valid(
    tmp_path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in deployment neither opens access nor blocks everyone; it is logged once, without a secret."""
    path = tmp_path / "keys.yaml"
    secret = add_key(path, "anna", ["speak"])
    keys, good = KeyFile(path), path.read_text()
    path.unlink() if broken is None else path.write_text(broken)
    assert [name_of(keys, secret) for _ in range(3)] == ["anna"] * 3
    assert len(caplog.records) == 1
    assert "unhashed" not in caplog.text
    path.write_text(good.replace("anna", "anne"))
    assert name_of(keys, secret) == "anne"


def test_a_missing_or_broken_file_at_startup_is_an_error(tmp_path: Path) -> None:
    """A server that is configured to need keys does not start without them."""
    with pytest.raises(FileNotFoundError):
        KeyFile(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha\n", "file: expected"),
        ("- {name: a, sha256: x, scopes: [speak]}", "entry 1 sha256: expected"),
        (f"- {{name: a, sha256: {'a' * 64}, scopes: []}}", "entry 1 scopes: expected"),
        (f"- {{name: a, sha256: {'a' * 64}, scopes: [sing]}}", "entry 1 scopes entry 1: expected speak, voices or adm"),
        (f"- {{name: a, sha256: {'a' * 64}, scopes: [speak], limit: 1}}", "entry 1 limit: expected no such field"),
        ("- {name: a", "expected YAML, got an error in line 2"),
        (
            "".join(f"- {{name: {name}, sha256: {'a' * 64}, scopes: [speak]}}\n" for name in "ab"),
            "sha256: expected dif",
        ),
    ],
)
def test_an_invalid_file_names_the_entry(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="API keys") as error:
        parse(text + "\n")
    assert message in str(error.value)


def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("# none yet\n")
    assert KeyFile(path).find("") is None
