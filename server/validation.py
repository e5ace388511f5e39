"""Wording of pydantic's validation errors, for messages of the form `field: expected …, got …`."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_MESSAGES = {
    "missing": "a value",
    "extra_forbidden": "no such field",
    "json_invalid": "valid JSON",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} item(s)",
}
"""By pydantic's error type: those whose message does not say what is expected."""
_PREFIXES = {"Input should be ": "", "String should have ": "", "String should match ": "a match of "}


def expected(error: ErrorDetails) -> str:
    """What was expected: the words that follow `expected`."""
    message = error["msg"]
    if error["type"] in _MESSAGES:
        message = _MESSAGES[error["type"]].format_map(error.get("ctx", {}))
    if error["type"] == "literal_error":
        message = message.replace("'", "")
    for prefix, words in _PREFIXES.items():
        if message.startswith(prefix):
            return words + message.removeprefix(prefix)
    return message
