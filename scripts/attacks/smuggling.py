"""Requests that two readers of HTTP may read in two ways: each must be refused, or read as one request.

A proxy and this server that disagree about where a request ends let a stranger speak on another's connection.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress

from scripts.attacks.senders import Outcomes, read_to_end
from scripts.attacks.target import Target

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
"""A request within the body of another: its answer would be a 404."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


def refused_shapes() -> dict[str, bytes]:
    """Heads and bodies, without the request line and the usual headers, that must not be served."""
    chunked = b"0\r\n\r\n" + HIDDEN
    length = b"Content-Length: %d\r\n" % len(HIDDEN)
    return {
        "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
        "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunked,
        "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + HIDDEN,
        "length with a sign": b"Content-Length: +2\r\n\r\n{}" + HIDDEN,
        "hexadecimal length": b"Content-Length: 0x2\r\n\r\n{}" + HIDDEN,
        "length with a letter": b"Content-Length: 2a\r\n\r\n{}" + HIDDEN,
        "negative length": b"Content-Length: -1\r\n\r\n" + HIDDEN,
        "no number": b"Content-Length:\r\n\r\n" + HIDDEN,
        "two codings": b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunked,
        "unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n" + chunked,
        "coding in two lines": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
        "space before the colon": b"Transfer-Encoding : chunked\r\n\r\n" + chunked,
        "NUL in a header": b"X: a\0b\r\n" + length + b"\r\n" + HIDDEN,
        "CR in a header": b"X: a\rTransfer-Encoding: chunked\r\n\r\n" + chunked,
        "space in a name": b"Transfer Encoding: chunked\r\n\r\n" + chunked,
        "no colon": b"Transfer-Encoding chunked\r\n\r\n" + chunked,
        "second Host": b"Host: b\r\n" + length + b"\r\n" + HIDDEN,
        "chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        "chunk size 0x2": b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        "chunk longer than its size": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}{}\r\n0\r\n\r\n" + HIDDEN,
        "endless chunk size": b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 200 + b"\r\n{}",
        "negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n" + HIDDEN,
        "endless header": b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        "10,000 headers": b"".join(b"X%d: 1\r\n" % number for number in range(10_000)) + b"\r\n",
    }


def whole_requests(target: Target) -> dict[str, bytes]:
    """Whole messages that must not be served."""
    host = target.head
    return {
        "no Host": b"GET /voices HTTP/1.1\r\nX-API-Key: " + target.key.encode() + b"\r\n\r\n",
        "HTTP/0.9": b"GET /voices\r\n\r\n",
        "HTTP/3.0": b"GET /voices HTTP/3.0\r\n" + host + b"\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "NUL in the path": b"GET /voi\0ces HTTP/1.1\r\n" + host + b"\r\n",
        "space in the path": b"GET /voices /x HTTP/1.1\r\n" + host + b"\r\n",
        "endless path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    }


def attack(target: Target) -> Outcomes:
    """Sends each shape on a connection of its own. Counts refusals, and names the shapes that were served."""
    outcomes: Outcomes = Counter()
    start = b"POST /segments HTTP/1.1\r\nContent-Type: application/json\r\n" + target.head
    messages = {name: start + shape for name, shape in refused_shapes().items()} | whole_requests(target)
    for name, message in messages.items():
        with target.connect(timeout=4.0) as connection:
            with suppress(OSError):  # it may be refused before all of it is there
                connection.sendall(message)
            statuses = [int(status) for status in _STATUS.findall(read_to_end(connection))]
        outcomes[_judge(name, statuses)] += 1
    return outcomes


def _judge(name: str, statuses: list[int]) -> str:
    """One answer, which refuses; or none, and the connection is closed."""
    if not statuses:
        return "closed"
    if len(statuses) > 1 or statuses[0] in (200, 404) or statuses[0] in (500, 502, 503, 504):
        return f"{name}: served {statuses}"
    return str(statuses[0])
