"""All errors that this package raises deliberately. Imports nothing.

ClientError
├── DiscoveryError            Consul returned no node list, and none is cached
├── NoNodeAvailableError      no node can take the request now                   retried
├── NodeError                 a node failed or redirected the request            retried on another node
│   ├── VoiceNotFoundError    the node lacks the stored voice                    retried on a node that has it
│   └── TokenTooNewError      the continuation token is of a newer server        retried on another node
├── ResponseError             the server rejected the request: a retry would fail the same way
├── TextTooLongError          the text is too long for one request
└── RetriesExhaustedError     retried until the time limit, failure limit or retry budget was reached
"""

from __future__ import annotations


class ClientError(Exception):
    """Base class: catch it to catch every error that glmtts_client raises deliberately."""


class DiscoveryError(ClientError):
    """Consul could not be queried, and there is no cached node list to fall back on."""


class NoNodeAvailableError(ClientError):
    """No node can take the request. `retry_after`: seconds until the first busy node may be tried again, if known."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NodeError(ClientError):
    """The node at `url` failed, but another may succeed: no connection, a timeout, or status 429, 502, 503 or 504.

    `reason`: the message without the URL. `status`: of the response, if there was one. `retry_after`: seconds, from
    the Retry-After header.
    """

    def __init__(self, url: str, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"{url}: {message}")
        self.url = url
        self.reason = message
        self.status = status
        self.retry_after = retry_after

    @property
    def busy(self) -> bool:
        """Whether the node is healthy and only has too many requests (429)."""
        return self.status == 429


class ResponseError(ClientError):
    """An error response that every node would give. `code` and `field` are the server's."""

    def __init__(self, status: int, code: str, message: str, *, field: str | None, request_id: str | None) -> None:
        super().__init__(f"{status} {code}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.status = status
        self.code = code
        self.field = field
        self.request_id = request_id


class VoiceNotFoundError(NodeError):
    """The node at `url` lacks the stored voice `voice`, but another may have it. `response`: what it said."""

    def __init__(self, url: str, voice: str, response: ResponseError) -> None:
        super().__init__(url, str(response), status=response.status)
        self.voice = voice
        self.response = response

    @property
    def busy(self) -> bool:
        """True: the node is healthy, and only this request has to go elsewhere."""
        return True


class TokenTooNewError(NodeError):
    """The node at `url` is older than the one that made the continuation token, but another may read it."""

    @property
    def busy(self) -> bool:
        """True: the node is healthy, and only this request has to go elsewhere."""
        return True


class TextTooLongError(ClientError):
    """The text has more than `limit` characters, the most that the server takes in one request."""

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class RetriesExhaustedError(ClientError):
    """The request failed after `attempts` attempts; the last error is the cause (`__cause__`)."""

    def __init__(self, attempts: int, last: BaseException | None) -> None:
        super().__init__(f"gave up after {attempts} {'attempt' if attempts == 1 else 'attempts'}: {last}")
        self.attempts = attempts
