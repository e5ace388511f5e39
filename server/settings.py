"""Every setting of the server: name, default, unit and one sentence. Read once, then frozen.

Flags override the environment (`GLMTTS_*`), which overrides the defaults. Consul settings also accept the variables
that Consul's own tools read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from server import validation
from server.cluster_settings import ClusterSettings
from server.http_settings import HttpSettings
from server.model_settings import ModelSettings
from server.process_settings import ProcessSettings
from server.setting import PREFIX


class Settings(ClusterSettings, HttpSettings, ModelSettings, ProcessSettings, BaseSettings):
    """The settings in force. pydantic's ValidationError: a value has the wrong type or is out of range."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    @property
    def scheme(self) -> Literal["http", "https"]:
        """What this node serves."""
        return "http" if self.tls_certificate is None else "https"

    def model_post_init(self, _context: Any) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate, tls_key: expected both or none, got one")
        if self.max_concurrent_requests > self.threads - 2:
            raise ValueError(
                f"max_concurrent_requests: expected at most threads - 2 = {self.threads - 2}, "
                f"got {self.max_concurrent_requests}"
            )


NOT_SETTINGS = frozenset(
    {"GLMTTS_CAMPPLUS", "GLMTTS_GOLDEN", "GLMTTS_REFERENCE", "GLMTTS_URL", "GLMTTS_API_KEY", "GLMTTS_CA"}
)
"""Variables of the parity tool, the tests and the client; they may be set when the server starts."""


def comma_separated(value: str) -> list[str]:
    """The items of a setting that is a list."""
    return [item.strip() for item in value.split(",") if item.strip()]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """GLMTTS_* variables that no setting reads: misspelt names would otherwise be ignored silently."""
    known = NOT_SETTINGS | {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def load(**flags: Any) -> Settings:
    """Settings from flags (None: not given), environment and defaults. ValueError lists everything that is wrong."""
    if unknown := unknown_variables(os.environ):
        raise ValueError(f"unknown settings {', '.join(unknown)}: --print-settings lists all settings")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ValueError("; ".join(map(_problem, error.errors(include_url=False)))) from None


def _problem(error: ErrorDetails) -> str:
    """`name (GLMTTS_NAME): expected X, got Y`. An error about several settings is worded by its validator."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0]).upper().removeprefix(PREFIX)
    return f"{name.lower()} ({PREFIX}{name}): expected {validation.expected(error)}, got {error['input']!r}"


def describe(settings: Settings) -> str:
    """One line per setting: NAME=value, its unit and its description. Secrets are masked."""
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        text = "" if value is None else str(value)
        extra = field.json_schema_extra
        unit = extra["unit"] if isinstance(extra, dict) else ""
        lines.append(f"{PREFIX}{name.upper()}={text}  # [{unit}] {field.description}")
    return "\n".join(lines)
