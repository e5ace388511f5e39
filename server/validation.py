"""Wording of pydantic's validation errors, for messages of the form `field: expected …, got …`."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_MESSAGES = {
    "missing": "a value",
    "extra_forbidden": "no such field",
    "json_invalid": "valid JSON",
}
"""By pydantic's error type: those whose message does not say what is expected."""
_PREFIXES = {"Input should be ": "", "String should have ": "", "String should match ": "a match of "}


def expected(error: ErrorDetails) -> str:
    """What was expected: the words that follow `expected`."""
    message = _MESSAGES.get(error["type"], error["msg"])
    if error["type"] == "literal_error":
        message = message.replace("'", "")
    for prefix, words in _PREFIXES.items():
        if message.startswith(prefix):
            return words + message.removeprefix(prefix)
    return message
