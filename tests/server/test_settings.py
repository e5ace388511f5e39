"""Where settings come from, and how they are shown."""

import pytest

from server import settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("GLMTTS_", "CONSUL_")):
            monkeypatch.delenv(name)


def test_flags_override_the_environment_and_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Precedence: flag, GLMTTS_*, built-in default."""
    assert settings.load().port == 7860
    monkeypatch.setenv("GLMTTS_PORT", "8001")
    assert settings.load(port=None).port == 8001
    assert settings.load(port="8002").port == 8002


def test_the_names_of_consuls_own_tools_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSUL_HTTP_ADDR and the like are read if GLMTTS_CONSUL_ADDR is not set."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "https://consul.example:8501")
    assert settings.load().consul_addr == "https://consul.example:8501"
    monkeypatch.setenv("GLMTTS_CONSUL_ADDR", "10.0.0.1:8500")
    assert settings.load().consul_addr == "10.0.0.1:8500"


def test_a_misspelt_variable_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GLMTTS_* variable that no setting reads is an error."""
    monkeypatch.setenv("GLMTTS_PROT", "8001")
    with pytest.raises(ValueError, match="GLMTTS_PROT"):
        settings.load()


@pytest.mark.parametrize(
    "flags",
    [{"port": 0}, {"port": "x"}, {"log_level": "loud"}, {"max_concurrent_requests": 31}, {"flow_dtype": "float16"}],
)
def test_values_out_of_range_are_rejected(flags: dict[str, object]) -> None:
    """And speech requests must leave threads for everything else."""
    with pytest.raises(ValueError, match=next(iter(flags))):
        settings.load(**flags)


def test_every_setting_is_described_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """--print-settings has one line per setting with value, unit and description; secrets are masked."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "hush")
    shown = settings.describe(settings.load())
    lines = shown.splitlines()
    assert len(lines) == len(settings.Settings.model_fields)
    assert all("  # [" in line and line.endswith(".") for line in lines)
    assert "hush" not in shown


def test_an_error_is_one_line_and_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each problem its setting, what is expected and what it got."""
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
    """They are not misspelt settings; a misspelt one still is an error."""
    environment = {"GLMTTS_CAMPPLUS": "a", "GLMTTS_GOLDEN": "b", "GLMTTS_PROT": "1"}
    assert settings.unknown_variables(environment) == ["GLMTTS_PROT"]


def test_empty_variables_are_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a compose file that passes on what is not set; the next name of a setting counts then."""
    for name in settings.Settings.model_fields:
        monkeypatch.setenv(f"GLMTTS_{name.upper()}", "")
    monkeypatch.setenv("CONSUL_CACERT", "")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "agent:1")
    assert settings.load() == settings.Settings(consul_addr="agent:1")


def test_a_node_name_can_be_looked_up() -> None:
    """Consul's filters have no escape for a quote."""
    with pytest.raises(ValueError, match="node_name"):
        settings.load(node_name='a"b')
