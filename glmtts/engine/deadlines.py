"""Who goes first, and who may begin to speak: policy on clocks, never on what is said.

A listener hears sound as fast as time goes by. So whoever would run dry first goes first, and nobody begins who would
make those who speak already run dry. Knows nothing about slots, blocks, tensors or threads. Times in seconds, on
`time.monotonic`'s clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIRST = 0.5
"""A listener's first sound is due so long after his job was taken up."""
WHOLE = 3.0
"""Sound that nobody listens to as it comes is due so long after the job's last."""
SLACK = 0.5
"""But it is never more urgent than what a listener needs within so long."""
HEADROOM = 0.8
"""Share of the engine's pace that listeners may need together."""


@dataclass(frozen=True)
class Standing:
    """What the policy looks at of a job. `since`: when it was taken up or last got sound; `dry_at`: when its listener
    has heard all he has, None before his first sound; `left`: seconds of sound to come, estimated."""

    listens: bool
    since: float
    dry_at: float | None
    left: float


def deadline(job: Standing, now: float) -> float:
    """When its next sound is due."""
    if not job.listens:
        return max(job.since + WHOLE, now + SLACK)
    return job.since + FIRST if job.dry_at is None else job.dry_at


def need(job: Standing, now: float) -> float:
    """The share of real time that must be made for a listener from now on so that he never waits."""
    lead = max(0.0, (job.dry_at or now) - now)
    return job.left / (job.left + lead) if job.left > 0 else 0.0


def may_begin(newcomer: Standing, speaking: Iterable[Standing], pace: float | None, now: float) -> bool:
    """Whether a listener may get his first sound. `pace`: seconds of sound made in a second, None if not known yet."""
    needed = sum(need(job, now) for job in speaking)
    return needed == 0 or pace is None or needed + need(newcomer, now) <= HEADROOM * pace


class Expectation:
    """How long a text will sound: seconds a text id, learnt from what was spoken."""

    MEMORY = 0.02

    def __init__(self, seconds_per_id: float) -> None:
        self._ratio = seconds_per_id
        self._learnt = 0

    def learn(self, ids: int, seconds: float) -> None:
        """So many text ids took so long at speed 1."""
        self._learnt += 1
        self._ratio += max(self.MEMORY, 1 / self._learnt) * (seconds / ids - self._ratio)

    def seconds(self, ids: int, speed: float) -> float:
        return ids * self._ratio / speed
