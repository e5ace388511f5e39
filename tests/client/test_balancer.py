"""Which node is picked, for any nodes, requests in flight and failures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
from glmtts_client import (
    InRegion,
    NativeRate,
    Node,
    NoNodeAvailableError,
    OnVersion,
    Preference,
    RequestHints,
    TierByLength,
)
from glmtts_client.balancer import LoadBalancer
from hypothesis import given
from hypothesis import strategies as st

HINTS = RequestHints(100)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_nodes(count: int, **meta: Sequence[str]) -> list[Node]:
    """Nodes: node i has the i-th value of each metadata key."""
    return [
        Node(str(i), f"http://{i}", {key: values[i] for key, values in meta.items() if values[i]}) for i in range(count)
    ]


def make_balancer(time: Time | None = None, seed: int = 0, preferences: Sequence[Preference] = ()) -> LoadBalancer:
    return LoadBalancer(preferences, rng=random.Random(seed), clock=time or Time())


def test_no_nodes() -> None:
    """There is no Retry-After, since nobody knows when a node will appear."""
    with pytest.raises(NoNodeAvailableError) as raised:
        make_balancer().pick([], HINTS)
    assert raised.value.retry_after is None


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.integers())
def test_the_busier_of_two_is_never_picked(in_flight: list[int], seed: int) -> None:
    """A node with more requests in flight than every other one loses to any other."""
    nodes, balancer = make_nodes(len(in_flight)), make_balancer(seed=seed)
    with ExitStack() as stack:
        for node, count in zip(nodes, in_flight, strict=True):
            for _ in range(count):
                stack.enter_context(balancer.track(node))
        assert [balancer.in_flight(node) for node in nodes] == in_flight
        picked = balancer.pick(nodes, HINTS)
        if in_flight.count(max(in_flight)) == 1:
            assert picked is not nodes[in_flight.index(max(in_flight))]
    assert all(balancer.in_flight(node) == 0 for node in nodes)


@given(st.integers(1, 6), st.integers(0, 60), st.integers())
def test_requests_spread(count: int, requests: int, seed: int) -> None:
    """Simultaneous requests are spread evenly, within the randomness of two choices."""
    nodes, balancer = make_nodes(count), make_balancer(seed=seed)
    with ExitStack() as stack:
        for _ in range(requests):
            stack.enter_context(balancer.track(balancer.pick(nodes, HINTS)))
        most = max(balancer.in_flight(node) for node in nodes)
        assert most <= -(-requests // count) + 6


@given(st.integers(2, 6), st.data())
def test_an_ejected_node_is_used_only_if_there_is_no_other(count: int, data: st.DataObject) -> None:
    nodes, balancer = make_nodes(count), make_balancer(seed=data.draw(st.integers()))
    failed = data.draw(st.sets(st.sampled_from(nodes)))
    for node in failed:
        balancer.record_failure(node)
        assert not balancer.is_healthy(node)
    picked = balancer.pick(nodes, HINTS)
    assert picked not in failed or len(failed) == count


def test_a_busy_node_is_waited_for_rather_than_a_dead_one() -> None:
    """The error says when it will have time."""
    nodes, balancer = make_nodes(2), make_balancer()
    balancer.record_failure(nodes[0])
    balancer.record_failure(nodes[1], busy=True, retry_after=3.0)
    with pytest.raises(NoNodeAvailableError) as raised:
        balancer.pick(nodes, HINTS)
    assert raised.value.retry_after == pytest.approx(3.0)


@given(st.integers(1, 12), st.integers())
def test_probes_of_an_ejected_node_become_rarer(count: int, seed: int) -> None:
    """After 1 s, then twice as long, up to 10 s, less a random part of up to a half; only a success resets them."""
    time = Time()
    balancer, nodes = make_balancer(time, seed), make_nodes(1)
    balancer.record_failure(nodes[0])
    for number in range(count):
        longest = min(10.0, 2.0**number)
        time.now += longest / 2 - 0.01
        assert balancer.take_due_probes(nodes) == []
        time.now += longest / 2 + 0.02
        assert not balancer.is_healthy(nodes[0])
        assert balancer.take_due_probes(nodes) == nodes
        assert balancer.take_due_probes(nodes) == []
    balancer.record_success(nodes[0])
    assert balancer.is_healthy(nodes[0])
    balancer.record_failure(nodes[0])
    time.now += 1.01
    assert balancer.take_due_probes(nodes) == nodes


def test_a_node_that_is_ready_and_fails_is_probed_less_and_less() -> None:
    """Being ready ends an ejection; only a request that succeeds resets the delays."""
    time = Time()
    balancer, nodes = make_balancer(time), make_nodes(1)
    for _ in range(10):
        balancer.record_failure(nodes[0])
        time.now += 10.01
        assert balancer.take_due_probes(nodes) == nodes
        balancer.readmit(nodes[0])
        assert balancer.is_healthy(nodes[0])
    balancer.record_failure(nodes[0])
    time.now += 4.9
    assert balancer.take_due_probes(nodes) == []


def test_failures_during_an_ejection_do_not_count() -> None:
    """One crash may end many requests."""
    time = Time()
    balancer, nodes = make_balancer(time), make_nodes(1)
    for _ in range(20):
        balancer.record_failure(nodes[0])
    time.now += 1.01
    assert balancer.take_due_probes(nodes) == nodes


@given(st.lists(st.none() | st.floats(0.1, 400), min_size=1, max_size=5))
def test_retry_after_is_honoured(retry_afters: list[float | None]) -> None:
    """Also if there is no other node: the error says when there will be one. At most five minutes."""
    time = Time()
    nodes, balancer = make_nodes(len(retry_afters)), make_balancer(time)
    for node, retry_after in zip(nodes, retry_afters, strict=True):
        balancer.record_failure(node, busy=True, retry_after=retry_after)
    if None in retry_afters:
        assert retry_afters[nodes.index(balancer.pick(nodes, HINTS))] is None
        return
    with pytest.raises(NoNodeAvailableError) as raised:
        balancer.pick(nodes, HINTS)
    limits = [min(retry_after, 300.0) for retry_after in retry_afters if retry_after is not None]
    assert raised.value.retry_after == pytest.approx(min(limits))
    time.now += min(limits) + 0.01
    assert limits[nodes.index(balancer.pick(nodes, HINTS))] <= min(limits) + 0.01


def test_avoid() -> None:
    """A request does not go back to a node where it failed, unless there is no other."""
    nodes, balancer = make_nodes(2), make_balancer()
    assert {balancer.pick(nodes, HINTS, avoid={"http://0"}).id for _ in range(20)} == {"1"}
    assert balancer.pick(nodes[:1], HINTS, avoid={"http://0"}).id == "0"


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        (RequestHints(10), {"2", "3"}),
        (RequestHints(100), {"0", "1", "2", "3", "4"}),
        (RequestHints(1000), {"0"}),
        (RequestHints(1000, sample_rate=32000), {"1"}),
        (RequestHints(10, sample_rate=32000), {"3"}),
        (RequestHints(10, sample_rate=48000), {"2", "3"}),
    ],
)
def test_preferences_apply_in_order(hints: RequestHints, expected: set[str]) -> None:
    """First the sample rate, then the tier by text length; one that no node meets is ignored."""
    rates = ["24000", "24000,32000", "24000", "32000", ""]
    nodes = make_nodes(5, tier=["large", "small", "cpu", "cpu", ""], sample_rate=rates)
    balancer = make_balancer(preferences=[NativeRate(), TierByLength()])
    assert {balancer.pick(nodes, hints).id for _ in range(100)} == expected


def test_health_comes_before_preferences() -> None:
    nodes = make_nodes(2, region=["eu", "us"])
    balancer = make_balancer(preferences=[InRegion("eu")])
    assert balancer.pick(nodes, HINTS).id == "0"
    balancer.record_failure(nodes[0])
    assert balancer.pick(nodes, HINTS).id == "1"


def test_a_version_is_preferred_while_it_is_there() -> None:
    """During an upgrade a program stays on the version it began with, and moves on once that is gone."""
    nodes = make_nodes(3, model_version=["1.2", "2.0", "1.2"])
    stay = make_balancer(preferences=[OnVersion("1.2")])
    assert {stay.pick(nodes, HINTS).version for _ in range(20)} == {"1.2"}
    assert stay.pick(nodes[1:2], HINTS).version == "2.0"
