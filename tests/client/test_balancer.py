"""Which node is taken: whatever the nodes, the requests in flight, the failures and the order in which they come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
from glmtts_client import InRegion, NativeRate, Node, NoNodeAvailableError, Preference, RequestHints, TierByLength
from glmtts_client.balancer import LoadBalancer
from hypothesis import given
from hypothesis import strategies as st

ASK = RequestHints(100)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(count: int, **meta: Sequence[str]) -> list[Node]:
    """Nodes with the i-th of each value."""
    return [
        Node(str(i), f"http://{i}", {key: values[i] for key, values in meta.items() if values[i]}) for i in range(count)
    ]


def chooser(time: Time | None = None, seed: int = 0, preferences: Sequence[Preference] = ()) -> LoadBalancer:
    return LoadBalancer(preferences, rng=random.Random(seed), clock=time or Time())


def test_without_nodes_there_is_none() -> None:
    """And nobody knows when there will be one."""
    with pytest.raises(NoNodeAvailableError) as caught:
        chooser().pick([], ASK)
    assert caught.value.retry_after is None


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.integers())
def test_the_busier_of_two_is_never_taken(in_flight: list[int], seed: int) -> None:
    """The node with the most requests in flight, if it is the only such one, loses to whatever it is drawn with."""
    nodes, choice = make(len(in_flight)), chooser(seed=seed)
    with ExitStack() as stack:
        for node, count in zip(nodes, in_flight, strict=True):
            for _ in range(count):
                stack.enter_context(choice.track(node))
        assert [choice.in_flight(node) for node in nodes] == in_flight
        picked = choice.pick(nodes, ASK)
        if in_flight.count(max(in_flight)) == 1:
            assert picked is not nodes[in_flight.index(max(in_flight))]
    assert all(choice.in_flight(node) == 0 for node in nodes)


@given(st.integers(1, 6), st.integers(0, 60), st.integers())
def test_requests_spread(count: int, requests: int, seed: int) -> None:
    """Held at once, they are about as many at each node: no more than two draws' luck apart."""
    nodes, choice = make(count), chooser(seed=seed)
    with ExitStack() as stack:
        for _ in range(requests):
            stack.enter_context(choice.track(choice.pick(nodes, ASK)))
        most = max(choice.in_flight(node) for node in nodes)
        assert most <= -(-requests // count) + 6


@given(st.integers(2, 6), st.data())
def test_a_failing_node_is_set_aside_while_there_is_another(count: int, data: st.DataObject) -> None:
    """Of nodes of which some failed, one that did not is taken; if all did, one of them all the same."""
    nodes, choice = make(count), chooser(seed=data.draw(st.integers()))
    failed = data.draw(st.sets(st.sampled_from(nodes)))
    for node in failed:
        choice.record_failure(node)
        assert not choice.is_healthy(node)
    picked = choice.pick(nodes, ASK)
    assert picked not in failed or len(failed) == count


@given(st.integers(1, 12), st.integers())
def test_the_while_grows_with_every_failure_up_to_a_limit(failures: int, seed: int) -> None:
    """Doubled from 1 s to 60 s, of which chance takes up to a half; a success forgets all."""
    time = Time()
    choice, [node] = chooser(time, seed), make(1)
    for number in range(failures):
        choice.record_failure(node)
        longest = min(60.0, 2.0**number)
        time.now += longest / 2 - 0.01
        assert not choice.is_healthy(node)
        time.now += longest / 2 + 0.02
        assert choice.is_healthy(node)
    choice.record_success(node)
    choice.record_failure(node)
    time.now += 1.01
    assert choice.is_healthy(node)


def test_one_crash_is_one_failure_however_many_requests_it_ends() -> None:
    """What fails while a node is set aside says nothing new."""
    time = Time()
    choice, [node] = chooser(time), make(1)
    for _ in range(20):
        choice.record_failure(node)
    time.now += 1.01
    assert choice.is_healthy(node)


@given(st.lists(st.none() | st.floats(0.1, 400), min_size=1, max_size=5))
def test_a_busy_node_is_left_alone_as_long_as_it_asked_for(pauses: list[float | None]) -> None:
    """Also when there is no other: then it is said when there will be one. No pause is longer than five minutes."""
    time = Time()
    nodes, choice = make(len(pauses)), chooser(time)
    for node, pause in zip(nodes, pauses, strict=True):
        choice.record_failure(node, busy=True, retry_after=pause)
    if None in pauses:
        assert pauses[nodes.index(choice.pick(nodes, ASK))] is None
        return
    with pytest.raises(NoNodeAvailableError) as caught:
        choice.pick(nodes, ASK)
    kept = [min(pause, 300.0) for pause in pauses if pause is not None]
    assert caught.value.retry_after == pytest.approx(min(kept))
    time.now += min(kept) + 0.01
    assert kept[nodes.index(choice.pick(nodes, ASK))] <= min(kept) + 0.01


def test_a_node_is_avoided_if_there_is_another() -> None:
    """Where this very request failed it does not go again, but for want of another."""
    nodes, choice = make(2), chooser()
    assert {choice.pick(nodes, ASK, avoid={"http://0"}).id for _ in range(20)} == {"1"}
    assert choice.pick(nodes[:1], ASK, avoid={"http://0"}).id == "0"


@pytest.mark.parametrize(
    ("hints", "wanted"),
    [
        (RequestHints(10), {"2", "3"}),
        (RequestHints(100), {"0", "1", "2", "3", "4"}),
        (RequestHints(1000), {"0"}),
        (RequestHints(1000, sample_rate=32000), {"1"}),
        (RequestHints(10, sample_rate=32000), {"3"}),
        (RequestHints(10, sample_rate=48000), {"2", "3"}),
    ],
)
def test_preferences_come_in_order_and_fall_back(hints: RequestHints, wanted: set[str]) -> None:
    """The rate first, then the tier by the text's length; what no node fulfils is left out."""
    rates = ["24000", "24000,32000", "24000", "32000", ""]
    nodes = make(5, tier=["large", "small", "cpu", "cpu", ""], sample_rate=rates)
    choice = chooser(preferences=[NativeRate(), TierByLength()])
    assert {choice.pick(nodes, hints).id for _ in range(100)} == wanted


def test_a_preferred_node_that_fails_loses_its_preference() -> None:
    """Preferences are wishes among the nodes that are well."""
    nodes = make(2, region=["eu", "us"])
    choice = chooser(preferences=[InRegion("eu")])
    assert choice.pick(nodes, ASK).id == "0"
    choice.record_failure(nodes[0])
    assert choice.pick(nodes, ASK).id == "1"
