"""Ways to choose a node, as preferences of glmtts_client's balancer: each narrows the candidates to one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from glmtts_client.balancer import Preference, RequestHints
from glmtts_client.node import Node

Choice = Callable[[random.Random], Sequence[Preference]]


def _reported(node: Node) -> int:
    return int(node.meta.get("in_flight", "0"))


def _one_at_random(rng: random.Random) -> Sequence[Preference]:
    return (lambda nodes, hints: [rng.choice(nodes)] if nodes else nodes,)


def _round_robin(rng: random.Random) -> Sequence[Preference]:
    last = [rng.randrange(1_000_000)]

    def narrow(nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        last[0] += 1
        return [sorted(nodes, key=lambda node: node.url)[last[0] % len(nodes)]] if nodes else nodes

    return (narrow,)


def _least_reported(rng: random.Random) -> Sequence[Preference]:
    return (lambda nodes, hints: [min(nodes, key=lambda node: (_reported(node), rng.random()))] if nodes else nodes,)


def _two_by_report(rng: random.Random) -> Sequence[Preference]:
    def narrow(nodes: Sequence[Node], hints: RequestHints) -> Sequence[Node]:
        return [min(rng.sample(nodes, min(2, len(nodes))), key=_reported)] if nodes else nodes

    return (narrow,)


CHOICES: dict[str, Choice] = {
    "one at random": _one_at_random,
    "round robin": _round_robin,
    "two at random, own requests (glmtts_client)": lambda rng: (),
    "two at random, reported load": _two_by_report,
    "least reported load": _least_reported,
}
