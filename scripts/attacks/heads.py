"""HTTP messages changed at random: request lines, headers and bodies, alone or two in a row, whole or in pieces."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from scripts.attacks.recordings import mutate
from scripts.attacks.senders import CLIENTS, Outcomes, read_to_end
from scripts.attacks.target import Target

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
ODD_HEADERS = (
    *(b"Expect: 100-continue", b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"Range: bytes=0-"),
    *(b"Content-Encoding: gzip", b"Accept-Encoding: br;q=99", b"X-Request-Id: \xff\xfe", b"traceparent: 00-0-0-0"),
    *(b"X-Forwarded-For: ::::", b"Authorization: Basic Og==", b"Cookie: " + b"a=b; " * 500, b"Host: [::1"),
)


def messages(target: Target, count: int, seed: int = 1) -> Iterator[list[bytes]]:
    """`count` messages, each as the pieces in which it is sent."""
    rng = random.Random(seed)
    for _ in range(count):
        data = b"".join(_request(rng, target) for _ in range(rng.choice((1, 1, 2))))
        for _ in range(rng.choice((0, 1, 1, 3))):
            data = mutate(rng, data)
        cut = rng.randrange(len(data)) if data and rng.random() < 0.3 else 0
        yield [piece for piece in (data[:cut], data[cut:]) if piece]


def _request(rng: random.Random, target: Target) -> bytes:
    """A valid request that is cheap to answer, with odd headers or without."""
    body = rng.choice((b"", b'{"text": "Hi.", "voice": "none"}'))
    line = (
        rng.choice((b"POST /tts", b"POST /segments", b"PUT /tts"))
        if body
        else rng.choice(
            (
                b"GET /voices",
                b"GET /requests/x",
                b"HEAD /info",
                b"OPTIONS /tts",
                b"DELETE /voices/none",
                b"GET /%2e%2e/%00",
            )
        )
    )
    headers = [*target.head.split(b"\r\n")[:-1], *rng.sample(ODD_HEADERS, rng.choice((0, 0, 1, 3)))]
    if body:
        headers += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return line + b" HTTP/1.1\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + body


def attack(target: Target, count: int) -> Outcomes:
    """Sends each message on a connection of its own, and says no more. Counts the statuses that come."""

    def send(pieces: list[bytes]) -> list[str]:
        with target.connect() as connection, suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(1)
            return [status.decode() for status in _STATUS.findall(read_to_end(connection))] or ["closed"]
        return ["closed"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(status for statuses in pool.map(send, messages(target, count)) for status in statuses)
