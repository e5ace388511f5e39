"""A node: running requests share its pace, the others wait in a queue; beyond a limit it refuses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from scripts.simulation.clock import Clock

EPSILON = 1e-9


@dataclass(frozen=True)
class Pace:
    """How fast a node is.

    `audio_rates`: seconds of audio per second by number of running requests, interpolated in between. `first_audio`:
    work before the first audio, in seconds of audio. `overhead`: seconds before that, whatever the load. `slots`: how
    many run at once. `max_in_flight`: running and queued ones, above which the node responds 429.
    """

    name: str
    audio_rates: Mapping[int, float]
    first_audio: float
    overhead: float
    slots: int
    max_in_flight: int = 16

    def rate(self, running: int) -> float:
        """Seconds of audio per second for all of `running` requests."""
        points = sorted(self.audio_rates.items())
        if running <= points[0][0]:
            return points[0][1]
        for (below, low), (above, high) in pairwise(points):
            if running <= above:
                return low + (high - low) * (running - below) / (above - below)
        return points[-1][1]

    @property
    def streams(self) -> int:
        """The most listeners at once for whom it makes audio at least as fast as they hear it."""
        return max(count for count in range(1, self.slots + 1) if count == 1 or self.rate(count) >= count)

    @property
    def capacity(self) -> float:
        """Seconds of audio per second with all slots in use."""
        return self.rate(self.slots)


@dataclass(eq=False)
class Request:
    """One utterance of `audio_seconds`. The callbacks are called once: at its first audio, at its end (True: whole)."""

    audio_seconds: float
    on_first_audio: Callable[[], None]
    on_end: Callable[[bool], None]
    made: float = 0.0
    was_heard: bool = False


class NodeModel:
    """One node. `is_up` is False after `stop`."""

    def __init__(self, clock: Clock, pace: Pace) -> None:
        self._clock = clock
        self._pace = pace
        self._shares = [0.0, *(pace.rate(count) / count for count in range(1, pace.slots + 1))]
        """Seconds of audio per second of each running request, by their number."""
        self._running: list[Request] = []
        self._queue: list[Request] = []
        self._updated = 0.0
        self._version = 0
        self.is_up = True

    @property
    def in_flight(self) -> int:
        return len(self._running) + len(self._queue)

    def backlog_seconds(self) -> float:
        """Seconds of audio still to be made."""
        self._advance()
        return sum(request.audio_seconds - request.made for request in (*self._running, *self._queue))

    def retry_after(self) -> float:
        """As the server computes it for a 429."""
        return min(60.0, max(1.0, self.backlog_seconds() / self._pace.slots))

    def submit(self, request: Request) -> bool:
        """Takes a request; False: too busy (429)."""
        if self.in_flight >= self._pace.max_in_flight:
            return False
        self._queue.append(request)
        self._clock.after(self._pace.overhead, self._fill)
        return True

    def stop(self) -> None:
        """Ends at once; all requests break off."""
        self._advance()
        self.is_up = False
        lost, self._running, self._queue = [*self._running, *self._queue], [], []
        for request in lost:
            request.on_end(False)

    def _fill(self) -> None:
        self._advance()
        while self._queue and len(self._running) < self._pace.slots:
            self._running.append(self._queue.pop(0))
        self._schedule()

    def _work_before_first_audio(self, request: Request) -> float:
        return min(self._pace.first_audio, request.audio_seconds)

    def _advance(self) -> None:
        """Makes the audio of the time since the last change."""
        elapsed, self._updated = self._clock.now - self._updated, self._clock.now
        if not self._running:
            return
        share = self._shares[len(self._running)]
        for request in self._running:
            request.made = min(request.audio_seconds, request.made + share * elapsed)

    def _schedule(self) -> None:
        """Plans the next moment at which a request has its first audio, or ends."""
        self._version += 1
        if not self._running:
            return
        version = self._version
        share = self._shares[len(self._running)]
        goals = (
            request.audio_seconds if request.was_heard else self._work_before_first_audio(request)
            for request in self._running
        )
        work = min(goal - request.made for goal, request in zip(goals, self._running, strict=True))
        self._clock.after(max(0.0, work / share), lambda: self._step() if version == self._version else None)

    def _step(self) -> None:
        self._advance()
        ended = []
        for request in self._running:
            if not request.was_heard and request.made >= self._work_before_first_audio(request) - EPSILON:
                request.was_heard = True
                request.on_first_audio()
            if request.made >= request.audio_seconds - EPSILON:
                ended.append(request)
        self._running = [request for request in self._running if request not in ended]
        for request in ended:
            request.on_end(True)
        self._fill()
