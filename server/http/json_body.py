"""A JSON object from a body, in bounded time and memory.

A value takes a hundred times the memory of its text if it is small, and parsing holds all threads. So the signs that
begin values and names are counted first: the count is a fiftieth of the work, and no body needs many.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from server.errors import ApiError
from server.http.large_input import has_more, turn
from server.http.schemas import json_type

MAX_SIGNS = 2**16
"""Quotes, colons, commas and opening brackets in a body. A dozen texts of 5,000 such characters have no more."""
_SIGNS = b'":,[{'
MAX_TEXT_BODY_BYTES = 2**17
"""Of a body without a recording: two texts of 5,000 characters, each escaped in 12 bytes, and 11,000 for the rest."""


def json_fields(body: bytes) -> dict[str, Any]:
    """The members of a JSON object; ApiError 400 for anything else, also for broken UTF-8 and any depth of nesting.

    ApiError 413 for more signs than MAX_SIGNS.
    """
    try:
        with turn(len(body)):
            if len(body) > MAX_SIGNS and has_more(body, _SIGNS, MAX_SIGNS):
                message = f"body: expected at most {MAX_SIGNS} quotes, colons, commas and opening brackets, got more"
                raise ApiError(413, "too_large", message)
            value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(
            400, "malformed_json", f"body: expected a JSON object in UTF-8, got invalid JSON: {error}"
        ) from None
    if not isinstance(value, dict):
        message = f"body: expected a JSON object, got a JSON {json_type(value)}"
        raise ApiError(400, "malformed_json", message)
    return value
