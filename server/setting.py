"""How a setting is declared."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field

PREFIX = "GLMTTS_"


def setting(default: Any, unit: str, sentence: str, **limits: Any) -> Any:
    """A field with its unit and its description."""
    return Field(default, description=sentence, json_schema_extra={"unit": unit}, **limits)


def consul_variable(name: str, variable: str) -> AliasChoices:
    """Reads GLMTTS_<name>, else the variable that Consul's own tools read."""
    return AliasChoices(PREFIX + name, variable)
