"""Every error that this package raises on purpose. Imports nothing.

ClientError
├── DiscoveryError      Consul gave no list, and there is no earlier one
├── NoNodeAvailableError         no node that the request may go to, now           tried again
├── NodeError           a node failed, or sent us away                    tried again, elsewhere
├── ResponseError         the request is at fault, or the server is: another try would end the same
└── RetriesExhaustedError         tried again until deadline, attempts or budget were used up
"""

from __future__ import annotations


class ClientError(Exception):
    """Root of the tree: catch this to catch everything that glmtts_client raises on purpose."""


class DiscoveryError(ClientError):
    """Consul could not be asked, and nothing is remembered that could be used instead."""


class NoNodeAvailableError(ClientError):
    """There is no node to go to. `retry_after`: seconds until one that is there may be asked again, if it said so."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NodeError(ClientError):
    """The node `url` did not do it, and another one may: no connection, no byte for too long, 429, 502, 503, 504.

    `status`: of its answer, if it gave one. `retry_after`: seconds that it asked for.
    """

    def __init__(self, url: str, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"{url}: {message}")
        self.url = url
        self.reason = message
        self.status = status
        self.retry_after = retry_after

    @property
    def busy(self) -> bool:
        """Whether it is well, and only has too much to do."""
        return self.status == 429


class ResponseError(ClientError):
    """An error answer that stays the same wherever it is asked for. `code` and `field` are the server's own."""

    def __init__(self, status: int, code: str, message: str, *, field: str | None, request_id: str | None) -> None:
        super().__init__(f"{status} {code}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.field = field
        self.request_id = request_id


class RetriesExhaustedError(ClientError):
    """`attempts` were made; the last one's error is the cause (`__cause__`)."""

    def __init__(self, attempts: int, last: BaseException | None) -> None:
        super().__init__(f"gave up after {attempts} {'try' if attempts == 1 else 'tries'}: {last}")
        self.attempts = attempts
