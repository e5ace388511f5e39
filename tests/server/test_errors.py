"""The map from exceptions to HTTP responses."""

from collections.abc import Iterator

import pytest
from werkzeug.exceptions import BadGateway, MethodNotAllowed, NotFound

from glmtts import errors
from server.errors import STATUS_BY_ERROR, ApiError, to_error_info


def tree(kind: type[errors.GlmTtsError] = errors.GlmTtsError) -> Iterator[type[errors.GlmTtsError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_the_map_is_total() -> None:
    """Every error that glmtts defines has a status and a code."""
    assert set(STATUS_BY_ERROR) == set(tree())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.TextError("x", field="text"), 400),
        (errors.AudioError("x"), 400),
        (errors.AudioDecodeError("x"), 422),
        (errors.UnsupportedError("x"), 400),
        (errors.QueueFullError("x", retry_after=3.2), 429),
        (errors.QueueTimeoutError("x"), 503),
        (errors.DeviceMemoryError("x"), 507),
        (errors.EngineError("x"), 500),
        (ApiError(404, "unknown_voice", "x"), 404),
        (NotFound(), 404),
        (MethodNotAllowed(["POST"]), 405),
        (ZeroDivisionError("x"), 500),
    ],
)
def test_each_error_has_the_status_of_the_api_table(error: Exception, status: int) -> None:
    """The statuses are those that clients rely on."""
    assert to_error_info(error).status == status


@pytest.mark.parametrize("error", [errors.EngineError("secret"), KeyError("secret"), BadGateway("secret")])
def test_an_internal_error_reveals_nothing(error: Exception) -> None:
    """A 500's message is the same for every cause."""
    assert "secret" not in to_error_info(error).message
    assert to_error_info(error).code == "internal"


def test_a_retryable_error_says_when() -> None:
    """429 and 503 have the seconds to wait."""
    assert to_error_info(errors.QueueFullError("x", retry_after=3.2)).retry_after == 3.2
    assert to_error_info(errors.QueueTimeoutError("x")).retry_after is not None
