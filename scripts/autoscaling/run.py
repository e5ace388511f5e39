"""One run of the autoscaler: the load, what the controller did, what listeners noticed; really, and in the model."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise

import requests
from glmtts_client import ClientError, Cluster

from scripts.autoscaling.controller import SYNC_SECONDS, Controller
from scripts.autoscaling.fleet import Fleet, every
from scripts.autoscaling.scaled_object import ScaledObject
from scripts.simulation.autoscaler import Autoscaler
from scripts.simulation.check import CHUNK_SECONDS, chunk_seconds, first_audio_of, measure_overhead, work_seconds
from scripts.simulation.cluster import ClusterModel, Load, mean_audio
from scripts.simulation.node import Pace
from scripts.simulation.program import Utterance

log = logging.getLogger(__name__)
MAX_LISTENERS = 400
LOOK_SECONDS = 0.5
RESULT_TIMEOUT = 180.0
PATIENCE = 120.0
"""Seconds for which the loop goes on until a node is removed: a slow machine has more to work off."""


@dataclass(frozen=True)
class Profile:
    """A load that is `low` for a while, then `high`, and low again, as shares of the capacity of the first nodes."""

    quiet: float
    busy: float
    after: float
    low: float = 0.5
    high: float = 2.0

    @property
    def seconds(self) -> float:
        return self.quiet + self.busy + self.after

    def share(self, now: float) -> float:
        return self.high if self.quiet <= now < self.quiet + self.busy else self.low

    def utterances(self, pace: Pace, nodes: int) -> list[Utterance]:
        full = nodes * pace.capacity / mean_audio()
        load = Load(lambda now: full * self.share(now), self.seconds, full * self.high)
        return load.utterances(random.Random(1))


@dataclass
class Outcome:
    """`waits`: when each listener came, and the seconds until the first audio; None: never.

    `wanted`, `passing`: numbers of nodes, each with the time since when. `loading`: seconds that each node took until
    it passed. `exits`: statuses of the nodes that were removed. `seconds`: how long the autoscaler ran.
    """

    waits: list[tuple[float, float | None]] = field(default_factory=list)
    wanted: list[tuple[float, int]] = field(default_factory=list)
    passing: list[tuple[float, int]] = field(default_factory=list)
    loading: Sequence[float] = ()
    failures: list[str] = field(default_factory=list)
    exits: Sequence[int] = ()
    seconds: float = 0.0

    @property
    def has_removed(self) -> bool:
        """Whether there should be fewer nodes than there were."""
        return self.wanted[-1][1] < max(count for _, count in self.wanted)

    @property
    def turns(self) -> int:
        """How often the number of nodes that there should be changed its direction."""
        ups = [after > before for (_, before), (_, after) in pairwise(self.wanted) if after != before]
        return sum(one != other for one, other in pairwise(ups))


def measure_pace(fleet: Fleet, delay: float, nodes: int) -> Pace:
    """That of an idle node of the fake engine; the rate is what its delay says."""
    overhead = measure_overhead(fleet.agent, delay, nodes)
    return Pace("fake", {1: CHUNK_SECONDS / delay}, CHUNK_SECONDS, overhead, slots=1)


def run_real(
    fleet: Fleet, scaled: ScaledObject, utterances: Sequence[Utterance], seconds: float, speedup: float
) -> Outcome:
    """Listeners and the autoscaler at once, for so many seconds, and until a node was removed or PATIENCE ends."""
    outcome = Outcome(wanted=[(0.0, len(fleet.ports))], passing=[(0.0, len(fleet.ports))])
    start, ended = time.monotonic(), threading.Event()
    listening = threading.Thread(target=_listen, args=(fleet.agent, utterances, start, outcome), daemon=True)
    looking = threading.Thread(target=_look, args=(fleet, start, ended, outcome), daemon=True)
    listening.start()
    looking.start()
    controller = Controller(scaled.rules, len(fleet.ports))

    def sync(now: float) -> None:
        try:
            nodes = len(fleet.passing())
            change = controller.sync(now, nodes, scaled.ratio(fleet.ask, nodes))
        except requests.RequestException as error:  # an autoscaler without its metric waits
            log.warning("no metric: %s", error)
            return
        if change:
            fleet.scale(change)
            outcome.wanted.append((now - start, controller.wanted))

    def goes_on() -> bool:
        outcome.seconds = time.monotonic() - start
        return outcome.seconds < seconds + (0.0 if outcome.has_removed else PATIENCE)

    every(max(1.0, SYNC_SECONDS / speedup), goes_on, sync)
    ended.set()
    listening.join(RESULT_TIMEOUT)
    looking.join(RESULT_TIMEOUT)
    outcome.loading, outcome.exits = fleet.loading, fleet.wait_for_drains()
    return outcome


def _look(fleet: Fleet, start: float, ended: threading.Event, outcome: Outcome) -> None:
    def look(now: float) -> None:
        count = len(fleet.passing())
        if count != outcome.passing[-1][1]:
            outcome.passing.append((now - start, count))

    every(LOOK_SECONDS, lambda: not ended.is_set(), look)


def _listen(agent: str, utterances: Sequence[Utterance], start: float, outcome: Outcome) -> None:
    """Every utterance at its time, in a thread of its own."""
    with Cluster(agent, watch=True) as client, ThreadPoolExecutor(MAX_LISTENERS) as pool:
        for each in utterances:
            time.sleep(max(0.0, start + each.asked - time.monotonic()))
            pool.submit(_hear, client, each, outcome)


def _hear(client: Cluster, utterance: Utterance, outcome: Outcome) -> None:
    try:
        outcome.waits.append((utterance.asked, first_audio_of(client, utterance.audio_seconds)))
    except ClientError as error:
        outcome.waits.append((utterance.asked, None))
        outcome.failures.append(str(error))


def run_model(
    pace: Pace, scaled: ScaledObject, utterances: Sequence[Utterance], real: Outcome, speedup: float
) -> Outcome:
    """The same listeners and rule in the model of docs/capacity.md, which knows the backlog only.

    New nodes take as long to load there as they `real`ly did.
    """
    asked = [Utterance(work_seconds(each.audio_seconds), each.asked) for each in utterances]
    cluster = ClusterModel(pace, scaled.rules.min_nodes, programs=1, asks_for_segments=True)
    load_seconds = sum(real.loading) / max(1, len(real.loading))
    autoscaler = Autoscaler(
        cluster, scaled.rules, load_seconds, sync_seconds=max(1.0, SYNC_SECONDS / speedup), samples=1
    )
    outcome = Outcome(passing=[(0.0, scaled.rules.min_nodes)])

    def look() -> None:
        if len(cluster.passing) != outcome.passing[-1][1]:
            outcome.passing.append((cluster.clock.now, len(cluster.passing)))
        cluster.clock.after(LOOK_SECONDS, look)

    autoscaler.start()
    look()
    heard = cluster.run_utterances(asked, real.seconds + RESULT_TIMEOUT)
    waits = [(each.asked, each.first_audio) for each in heard]
    wanted = [(0.0, scaled.rules.min_nodes), *(each for each in autoscaler.numbers if each[0] < real.seconds)]
    return replace(outcome, waits=waits, wanted=wanted)


def measured_pace(fleet: Fleet, pace: Pace) -> Pace:
    """With the rate that the nodes really had."""
    return replace(pace, audio_rates={1: CHUNK_SECONDS / chunk_seconds(fleet.passing())})
