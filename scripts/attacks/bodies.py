"""Malformed bodies: valid ones of every route that takes any, changed at random, and shapes that break parsers.

Every valid body names a voice that is not stored, so that one which is still valid costs no speech.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import requests

from scripts.attacks.senders import Outcomes, send_all
from scripts.attacks.target import Target

BODIES: dict[str, dict[str, Any]] = {
    "/tts": {"text": "Hi.", "voice": "none", "speed": 1.0, "seed": 1, "sample_rate": 24000, "format": "wav"},
    "/tts/stream": {"text": "你好。", "voice": "none", "style": "calm", "timeout": 5, "continuation": "AQ"},
    "/segments": {"text": "One. Two.", "voice": "none", "pronunciation": True, "language": "en"},
    "/voices/none": {"reference_audio": "UklGRg==", "reference_text": "Hi.", "style": "calm", "consent": "me"},
    "/v1/audio/speech": {"input": "Hi.", "voice": "none", "response_format": "mp3", "stream_format": "sse"},
}
TOKENS: tuple[bytes, ...] = (
    *(b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 5000, b"1" + b"0" * 400, b"true", b"null", b"[]", b"{}", b'""'),
    *(b"[" * 2000, b'{"a":' * 2000, b'"\\ud800"', b'"\\u0000"', b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"\r\n\r\n"),
    *(b'"' + b"a" * 70000 + b'"', b'"<speak>' + b"<p>" * 2000 + b'"', b'"<|' + b"x" * 3000 + b'|>"', b"//", b"'"),
)
CONTENT_TYPES = (
    *("application/json", "application/json; charset=utf-16", "text/plain", "", "application/json;;;", "a" * 3000),
    *("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary=" + "b" * 300),
    "application/x-www-form-urlencoded",
)


def attack(target: Target, count: int, seed: int = 1) -> Outcomes:
    """Sends `count` of them."""
    rng = random.Random(seed)
    paths = list(BODIES)

    def call(session: requests.Session, body: bytes) -> requests.Response:
        path = paths[body[0] % len(paths)]
        odd = body[1] < 40
        headers = {"Content-Type": CONTENT_TYPES[body[1] % len(CONTENT_TYPES)] if odd else "application/json"}
        return session.post(target.url + path, data=body[2:], headers=target.headers | headers, timeout=60)

    return send_all(call, (_with_choice(rng, paths) for _ in range(count)))


def _with_choice(rng: random.Random, paths: list[str]) -> bytes:
    """A byte that selects the path, one that selects the media type, and the body."""
    index = rng.randrange(len(paths))
    return bytes([index, rng.randrange(256)]) + rng.choice(MUTATORS)(rng, BODIES[paths[index]])


def _of_another_type(rng: random.Random, body: dict[str, Any]) -> bytes:
    values: list[Any] = [None, True, -1, 1e308, "", "x" * 300, [], [[]], {}, {"a": 1}, ["a"] * 1000, 2**70]
    return json.dumps(body | {rng.choice(list(body)): rng.choice(values)}).encode()


def _with_unknown_keys(rng: random.Random, body: dict[str, Any]) -> bytes:
    length = rng.choice((1, 100, 10000))
    return json.dumps(body | {f"{number:x}" * length: number for number in range(rng.choice((1, 20, 200)))}).encode()


def _flipped(rng: random.Random, body: dict[str, Any]) -> bytes:
    data = bytearray(json.dumps(body, ensure_ascii=False).encode())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _cut(rng: random.Random, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return data[: rng.randrange(len(data))]


def _with_token(rng: random.Random, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    start, end = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[:start] + rng.choice(TOKENS) + data[rng.choice((start, end)) :]


def _repeated(rng: random.Random, body: dict[str, Any]) -> bytes:
    pairs = [json.dumps({name: value})[1:-1] for name, value in body.items()]
    return ("{" + ",".join(rng.choice(pairs) for _ in range(rng.choice((2, 50, 5000)))) + "}").encode()


def _form(rng: random.Random, body: dict[str, Any]) -> bytes:
    """A form with the boundary x, damaged at one place or none."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in body.items()
    ]
    data = b"".join(parts * rng.choice((1, 1, 30))) + b"--x--\r\n"
    at = rng.randrange(len(data))
    return data[:at] + rng.choice((b"", b"--x", b"\r\n", b"\0", b"\xff")) + data[at + rng.choice((0, 1, 40)) :]


MUTATORS: tuple[Callable[[random.Random, dict[str, Any]], bytes], ...] = (
    *(_of_another_type, _with_unknown_keys, _flipped, _cut, _with_token, _repeated, _form),
)


def large_bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies of 20 MiB that cost a parser much: by name."""
    yield "unknown keys", b"{" + b",".join(b'"%x":1' % number for number in range(1_900_000)) + b"}"
    yield "one unknown key", b'{"' + b"k" * 20 * 2**20 + b'":1}'
    yield "nested lists", b'{"text":' + b"[" * 10 * 2**20 + b"]" * 10 * 2**20 + b"}"
    yield "one number", b'{"seed":' + b"7" * 20 * 2**20 + b"}"
    yield "empty objects", b'{"text":[' + b"{}," * 7_000_000 + b"{}]}"


def attack_with_large_bodies(target: Target, rounds: int) -> Outcomes:
    """Sends each of the large ones `rounds` times."""
    bodies = [body for _, body in large_bodies()] * rounds

    def call(session: requests.Session, body: bytes) -> requests.Response:
        headers = target.headers | {"Content-Type": "application/json"}
        return session.post(target.url + "/tts", data=body, headers=headers, timeout=120)

    return send_all(call, bodies)
