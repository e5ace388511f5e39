"""One client that sends something else each time, in turn: does the server's memory grow with what it has seen?"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import requests

from scripts.endurance.calls import TIMEOUT, WORDS, Outcomes, clone
from scripts.endurance.footprint import at_rest
from scripts.endurance.recordings import MAX_SECONDS, MIN_SECONDS

MAX_GROWTH = 0.03
"""Share by which the memory at rest may grow, once the first tenth of the series has filled the caches."""
READINGS = 10


def _text(url: str, rng: random.Random) -> str:
    text = f"{rng.choice(WORDS)} {rng.getrandbits(16)}."
    return f"text {requests.post(f'{url}/tts', json={'text': text}, timeout=TIMEOUT).status_code}"


SERIES: dict[str, Callable[[str, random.Random], str]] = {
    "recordings": lambda url, rng: clone(url, rng, 5.0),
    "lengths": lambda url, rng: clone(url, rng, rng.uniform(MIN_SECONDS, MAX_SECONDS)),
    "texts": _text,
}
"""Different recordings of one length, recordings of different lengths, different texts of a stored voice."""


@dataclass(frozen=True)
class SeriesResult:
    """Memory at rest in MiB, after each tenth of a series."""

    name: str
    mib: tuple[float, ...]
    outcomes: Outcomes

    def checks(self) -> dict[str, bool]:
        """Each check in words, and whether it holds."""
        first, last = self.mib[0], self.mib[-1]
        done = sum(count for outcome, count in self.outcomes.items() if outcome.endswith(" 200"))
        return {
            f"memory {first:.0f} → {last:.0f} MiB over different {self.name}": last <= first * (1 + MAX_GROWTH),
            f"{done} of {self.outcomes.total()} requests succeeded": done == self.outcomes.total(),
        }


def run_series(name: str, count: int, url: str, worker: int) -> SeriesResult:
    """Sends `count` requests of a series, one after another; prints the memory at rest after each tenth."""
    outcomes, mib = Outcomes(), []
    for tenth in range(READINGS):
        for number in range(tenth * count // READINGS, (tenth + 1) * count // READINGS):
            outcomes[SERIES[name](url, random.Random(number))] += 1
        mib.append(at_rest(url, worker)[0].mib)
        print(f"{outcomes.total():6} {name} {mib[-1]:6.0f} MiB", flush=True)
    return SeriesResult(name, tuple(mib), outcomes)
