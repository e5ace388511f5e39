"""A cluster: nodes, discovery, and programs whose listeners come at random."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from glmtts_client.node import Node

from scripts.simulation.choices import CHOICES, Choice
from scripts.simulation.clock import Clock
from scripts.simulation.node import NodeModel, Pace
from scripts.simulation.program import Program, Utterance, with_load

CACHE = 10.0
"""Seconds for which clients reuse the list of nodes: glmtts_client's."""
CONSUL_NOTICES = 5.2
"""Seconds until Consul no longer returns a host that is cut off; 5 to 7 were measured (docs/reliability.md)."""
SILENCE_TIMEOUT = 1.25
"""Seconds until a client gives up on a node that says nothing: glmtts_client asks it twice, 0.5 s each."""
DEFAULT_CHOICE = CHOICES["two at random, own requests (glmtts_client)"]
ZONES = 3
MEDIAN_AUDIO, SIGMA = 5.0, 0.6
"""Of the lengths of utterances, in seconds of audio; their mean is then 6 s."""


@dataclass(frozen=True)
class Load:
    """Listeners who come at random: `rate(t)` per second, at most `max_rate`. The lengths of utterances (s of audio)
    are log-normal around `median_audio`, from 0.5 to 30."""

    rate: Callable[[float], float]
    seconds: float
    max_rate: float
    median_audio: float = MEDIAN_AUDIO

    def utterances(self, rng: random.Random) -> list[Utterance]:
        """Those of one run, in the order of their times (thinning of a Poisson process)."""
        now, found = 0.0, []
        while (now := now + rng.expovariate(self.max_rate)) < self.seconds:
            if rng.random() < self.rate(now) / self.max_rate:
                audio = rng.lognormvariate(math.log(self.median_audio), SIGMA)
                found.append(Utterance(min(30.0, max(0.5, audio)), now))
        return found


def steady(pace: Pace, nodes: int, utilisation: float, seconds: float, *, median_audio: float = MEDIAN_AUDIO) -> Load:
    """A load that keeps `nodes` of this pace busy for that share of their capacity."""
    rate = utilisation * nodes * pace.capacity / mean_audio(median_audio)
    return Load(lambda _: rate, seconds, rate, median_audio)


def mean_audio(median: float = MEDIAN_AUDIO) -> float:
    """Mean length of an utterance, in seconds of audio."""
    return median * math.exp(SIGMA**2 / 2)


@dataclass
class ClusterModel:
    """`nodes` nodes of one pace in ZONES zones, and `programs` client programs that share the listeners.

    `asks_for_segments`: whether programs first ask for the segments of a text, as `Cluster.stream` does: that takes no
    time worth modelling, but it is a choice of a node.
    """

    pace: Pace
    nodes: int
    programs: int
    seed: int = 1
    choice: Choice = DEFAULT_CHOICE
    cache: float = CACHE
    asks_for_segments: bool = False
    clock: Clock = field(default_factory=Clock)
    models: dict[str, NodeModel] = field(default_factory=dict)
    passing: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for _ in range(self.nodes):
            self.add_node()

    def add_node(self) -> None:
        number = len(self.models)
        url = f"http://node-{number}"
        self.models[url] = NodeModel(self.clock, self.pace)
        self.passing[url] = Node(url, url, {"region": f"zone-{number % ZONES}"})

    def remove_node(self) -> None:
        """Drains the newest node: it leaves discovery, and finishes what it has."""
        self.passing.popitem()

    def kill_oldest(self) -> None:
        """The oldest node dies at once; Consul notices later."""
        url = next(url for url in self.passing if self.models[url].is_up)
        self.models[url].stop()
        self.clock.after(CONSUL_NOTICES, lambda: self.passing.pop(url, None) and None)

    def lose_zone(self, zone: int) -> None:
        """All nodes of a zone are cut off at once; Consul notices later."""
        lost = [url for url, node in self.passing.items() if node.region == f"zone-{zone}"]
        for url in lost:
            self.models[url].stop()
        self.clock.after(CONSUL_NOTICES, lambda: [self.passing.pop(url, None) for url in lost] and None)

    def list_nodes(self) -> Sequence[Node]:
        """What Consul returns now, with the load that the nodes would report."""
        return [with_load(node, self.models[url]) for url, node in self.passing.items()]

    def run(self, load: Load, *, drain: float = 60.0) -> list[Utterance]:
        """All utterances of the load, `drain` seconds after the last one was asked for."""
        return self.run_utterances(load.utterances(random.Random(self.seed)), load.seconds + drain)

    def run_utterances(self, utterances: list[Utterance], seconds: float) -> list[Utterance]:
        """Lets programs at random ask for `utterances`, and runs for `seconds`."""
        rng = random.Random(-self.seed)
        programs = [self._program(number, rng.uniform(0.0, self.cache)) for number in range(self.programs)]
        for utterance in utterances:
            program = rng.choice(programs)
            self.clock.after(utterance.asked, lambda program=program, utterance=utterance: program.start(utterance))
        self.clock.run(seconds)
        return utterances

    def _program(self, number: int, phase: float) -> Program:
        rng = random.Random(f"{self.seed}-{number}")
        return Program(
            self.clock, self.models, self.list_nodes, preferences=self.choice(rng), cache=self.cache, phase=phase,
            silence_timeout=SILENCE_TIMEOUT, rng=rng, asks_for_segments=self.asks_for_segments,
        )  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; NaN without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def first_audio(utterances: Sequence[Utterance]) -> list[float]:
    """Seconds until the first audio; infinite for those who never heard any."""
    return [math.inf if each.first_audio is None else each.first_audio for each in utterances]
