"""Where settings come from, and what of them is shown."""

import pytest

from server import settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("GLMTTS_", "CONSUL_")):
            monkeypatch.delenv(name)


def test_a_flag_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order of precedence: flag, GLMTTS_*, built-in."""
    assert settings.load().port == 7860
    monkeypatch.setenv("GLMTTS_PORT", "8001")
    assert settings.load(port=None).port == 8001
    assert settings.load(port="8002").port == 8002


def test_the_names_of_consuls_own_tools_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSUL_HTTP_ADDR and its kin are read where ours is not set."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "https://consul.example:8501")
    assert settings.load().consul_addr == "https://consul.example:8501"
    monkeypatch.setenv("GLMTTS_CONSUL_ADDR", "10.0.0.1:8500")
    assert settings.load().consul_addr == "10.0.0.1:8500"


def test_a_mistyped_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GLMTTS_* variable that nothing reads is an error, not silence."""
    monkeypatch.setenv("GLMTTS_PROT", "8001")
    with pytest.raises(ValueError, match="GLMTTS_PROT"):
        settings.load()


@pytest.mark.parametrize("flags", [{"port": 0}, {"port": "x"}, {"log_level": "loud"}, {"max_concurrent_requests": 31}])
def test_what_is_out_of_range_is_refused(flags: dict[str, object]) -> None:
    """Ranges hold, and speech requests must leave threads for everything else."""
    with pytest.raises(ValueError, match=next(iter(flags))):
        settings.load(**flags)


def test_every_setting_is_described_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """--print-settings has one line a setting with value, unit and sentence; secrets are masked."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "hush")
    shown = settings.describe(settings.load())
    lines = shown.splitlines()
    assert len(lines) == len(settings.Settings.model_fields)
    assert all("  # [" in line and line.endswith(".") for line in lines)
    assert "hush" not in shown


def test_a_refusal_is_one_line_and_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each problem with its setting, what was expected and what was given."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "hush")
    monkeypatch.setenv("GLMTTS_MAX_TEXT_CHARS", "many")
    with pytest.raises(ValueError, match="port") as caught:
        settings.load(port="99999")
    assert str(caught.value) == (
        "port (GLMTTS_PORT): expected less than or equal to 65535, got '99999'; "
        "max_text_chars (GLMTTS_MAX_TEXT_CHARS): "
        "expected a valid integer, unable to parse string as an integer, got 'many'"
    )
    monkeypatch.delenv("GLMTTS_MAX_TEXT_CHARS")
    with pytest.raises(ValueError, match="threads - 2") as caught:
        settings.load(max_concurrent_requests=31)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_parity_tools_variables_do_not_stop_the_server() -> None:
    """The test command's own variables are no misspelt settings; a misspelt one still is."""
    given = {"GLMTTS_CAMPPLUS": "a", "GLMTTS_GOLDEN": "b", "GLMTTS_PROT": "1"}
    assert settings.unknown_variables(given) == ["GLMTTS_PROT"]
