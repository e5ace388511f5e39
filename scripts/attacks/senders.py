"""Sends many requests at once, and counts what comes back."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import requests

CLIENTS = 8
PORTION = 64
"""How many requests are made ahead."""
MAX_ERROR_BYTES = 2048
"""Most that an error may answer: an answer larger than the question would make the server a weapon against others."""

Outcomes = Counter[str]


def send_all(call: Callable[[requests.Session, bytes], requests.Response], bodies: Iterable[bytes]) -> Outcomes:
    """Calls `call` with every body, by CLIENTS clients at once. Counts statuses, and what is wrong about answers."""
    outcomes: Outcomes = Counter()
    sessions = [requests.Session() for _ in range(CLIENTS)]

    def work(numbered: tuple[int, bytes]) -> str:
        number, body = numbered
        try:
            answer = call(sessions[number % CLIENTS], body)
        except requests.RequestException as error:
            return type(error).__name__
        if answer.status_code >= 400 and len(answer.content) > MAX_ERROR_BYTES:
            return f"{answer.status_code} with {len(answer.content)} bytes"
        return str(answer.status_code)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for portion in _portions(enumerate(bodies)):
            outcomes.update(pool.map(work, portion))
    return outcomes


def _portions(items: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    iterator = iter(items)
    while portion := list(islice(iterator, PORTION)):
        yield portion


def read_to_end(connection: socket.socket, limit: int = 2**20) -> bytes:
    """What comes until the server closes or says nothing for the socket's timeout."""
    data = b""
    try:
        while len(data) < limit and (piece := connection.recv(65536)):
            data += piece
    except OSError:
        pass
    return data
