"""What clients do, well or badly. Each call returns its outcome in words: what it was, and its status or its end."""

from __future__ import annotations

import collections
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import requests

from scripts.endurance.recordings import recording

Call = Callable[[str, random.Random], str]
WORDS = ("Yes.", "好。", "Tomorrow.", "谢谢。", "42", "10:30")
TEXTS = (
    "Please come in.",
    "请进来坐吧。",
    "The moon rose slowly above the sea, and nobody said a word.",
    "月亮慢慢地升起来。",
)
TIMEOUT = 120.0


def word(url: str, rng: random.Random) -> str:
    response = requests.post(f"{url}/tts", json={"text": rng.choice(WORDS)}, timeout=TIMEOUT)
    return f"word {response.status_code}"


def full_request(url: str, rng: random.Random) -> str:
    response = requests.post(f"{url}/tts", json={"text": rng.choice(TEXTS)}, timeout=TIMEOUT)
    return f"full {response.status_code}"


def stream(url: str, rng: random.Random) -> str:
    return f"stream {_read_stream(url, rng.choice(TEXTS))}"


def paragraph(url: str, rng: random.Random) -> str:
    return f"paragraph {_read_stream(url, ' '.join(rng.choices(TEXTS, k=6)))}"


def _read_stream(url: str, text: str) -> int:
    with requests.post(f"{url}/tts/stream", json={"text": text}, stream=True, timeout=TIMEOUT) as response:
        for _ in response.iter_content(None):
            pass
    return response.status_code


def segments(url: str, rng: random.Random) -> str:
    text = "".join(rng.choices("中一行长重还得地的了着为都好数种。，", k=rng.randint(1, 2000)))
    response = requests.post(f"{url}/segments", json={"text": text}, timeout=TIMEOUT)
    return f"segments {response.status_code}"


def disconnect(url: str, rng: random.Random) -> str:
    body = {"text": rng.choice(TEXTS) * 3}
    with requests.post(f"{url}/tts/stream", json=body, stream=True, timeout=TIMEOUT) as response:
        for count, _ in enumerate(response.iter_content(2048)):
            if count >= rng.randint(0, 6):
                break
    return "disconnected"


def time_out(url: str, rng: random.Random) -> str:
    """Gives up early, often while the request is still queued."""
    try:
        requests.post(f"{url}/tts", json={"text": rng.choice(TEXTS) * 5}, timeout=rng.uniform(0.05, 0.4))
    except requests.Timeout:
        return "timed out"
    return "answered before the timeout"


def bad_request(url: str, rng: random.Random) -> str:
    body = rng.choice(
        (b"{", b"[]", b'{"text": 5}', b'{"text": "\\u0000"}', b'{"text": "x", "speed": 9}', b"\xff" * 100)
    )
    response = requests.post(f"{url}/tts", data=body, headers={"Content-Type": "application/json"}, timeout=60)
    return f"bad request {response.status_code}"


def bad_audio(url: str, rng: random.Random) -> str:
    files = {"reference_audio": ("x.wav", rng.randbytes(rng.randint(0, 50000)))}
    response = requests.post(f"{url}/tts", data={"text": "Hello."}, files=files, timeout=60)
    return f"bad audio {response.status_code}"


def clone(url: str, rng: random.Random, seconds: float | None = None, text: str = "Hello.") -> str:
    """Speaks in the voice of a recording that the server has not seen."""
    files = {"reference_audio": ("x.wav", recording(rng, seconds))}
    response = requests.post(f"{url}/tts", data={"text": text}, files=files, timeout=TIMEOUT)
    return f"clone {response.status_code}"


def stored_voice(url: str, rng: random.Random) -> str:
    """Stores a voice, speaks with it and removes it."""
    name = f"soak-{rng.getrandbits(32):x}"
    files = {"reference_audio": ("x.wav", recording(rng, 3.0))}
    stored = requests.post(f"{url}/voices/{name}", files=files, timeout=TIMEOUT)
    if stored.status_code == 201:
        spoken = requests.post(f"{url}/tts", json={"text": "Hello.", "voice": name}, timeout=TIMEOUT)
        requests.delete(f"{url}/voices/{name}", timeout=TIMEOUT)
        return f"stored voice {spoken.status_code}"
    return f"stored voice {stored.status_code}"


CALLS: tuple[Call, ...] = (
    word, full_request, stream, stream, paragraph, segments, disconnect, time_out, bad_request, bad_audio, clone,
    stored_voice,
)  # fmt: skip


class Outcomes(collections.Counter[str]):
    """How often each outcome occurred."""

    @property
    def failures(self) -> int:
        """Those that are the server's fault: broken connections and 5xx. A 429 or 503 asks to come back later."""
        return sum(count for name, count in self.items() if name.startswith("broken") or _is_failure(name))

    @property
    def error_rate(self) -> float:
        """The share of failures, 0 to 1."""
        return self.failures / max(1, self.total())


def merged(parts: Iterable[Outcomes]) -> Outcomes:
    """The sum of several."""
    total = Outcomes()
    for part in parts:
        total.update(part)
    return total


def _is_failure(outcome: str) -> bool:
    status = outcome.rpartition(" ")[2]
    return status.startswith("5") and status.isdigit() and status != "503"


def random_call(url: str, seed: int, outcomes: Outcomes, calls: Sequence[Call]) -> None:
    """Makes one call, chosen by `seed`. A broken connection is counted, not raised."""
    rng = random.Random(seed)
    call = rng.choice(calls)
    try:
        outcome = call(url, rng)
    except requests.RequestException as error:
        outcome = f"broken {call.__name__}: {type(error).__name__}"
    outcomes[outcome] += 1


def bursts(
    url: str,
    seconds: float,
    clients: int,
    *,
    min_burst: int = 1,
    seed: int = 1,
    on_burst: Callable[[int], None] = lambda _calls: None,
) -> Outcomes:
    """Bursts of `min_burst` to `clients` concurrent calls, with pauses between them, and what became of them.

    `on_burst` is called after each burst with the number of calls so far.
    """
    outcomes, rng, end = Outcomes(), random.Random(seed), time.monotonic() + seconds
    with ThreadPoolExecutor(clients) as executor:
        while time.monotonic() < end:
            burst = rng.randint(min_burst, clients)
            futures = [executor.submit(random_call, url, rng.getrandbits(32), outcomes, CALLS) for _ in range(burst)]
            for future in futures:
                future.result()
            on_burst(outcomes.total())
            time.sleep(rng.uniform(0.0, 0.3))
    return outcomes
