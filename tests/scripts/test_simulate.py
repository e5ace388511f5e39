"""scripts/simulate.py: its model against known results of queueing theory, its rules, and against real nodes."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from scripts.autoscaling.controller import Rules
from scripts.simulate import make_pace, parser
from scripts.simulation.autoscaler import Autoscaler
from scripts.simulation.choices import CHOICES
from scripts.simulation.clock import Clock
from scripts.simulation.cluster import ClusterModel, Load, first_audio, percentile, steady
from scripts.simulation.consul import steady_load, storm
from scripts.simulation.node import NodeModel, Pace, Request
from scripts.simulation.paces import PACES
from tests.helpers.server import ROOT

PACE = Pace("test", {1: 4.0, 2: 6.0, 4: 8.0}, first_audio=1.0, overhead=0.05, slots=4, max_in_flight=6)


def run(pace: Pace, lengths: Sequence[float], until: float = 1000.0) -> list[tuple[float, float]]:
    """First audio and end of utterances that are all asked for at 0; those that a node refuses have none."""
    clock = Clock()
    node = NodeModel(clock, pace)
    firsts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for number, length in enumerate(lengths):
        node.submit(
            Request(
                length,
                lambda number=number: firsts.setdefault(number, clock.now),
                lambda whole, number=number: ends.setdefault(number, clock.now),
            )
        )
    clock.run(until)
    return [(firsts[number], ends[number]) for number in ends]


def test_one_utterance_takes_what_the_pace_says() -> None:
    """4 s of audio at 4 s/s: the first after a quarter of a second of work, all after one second."""
    [(first, end)] = run(PACE, [4.0])
    assert first == pytest.approx(0.05 + 0.25)
    assert end == pytest.approx(0.05 + 1.0)


def test_two_utterances_share_the_pace() -> None:
    """3 s/s each; when the short one has ended, the other gets all."""
    short, long = run(PACE, [3.0, 7.0])
    assert short == (pytest.approx(0.05 + 1 / 3), pytest.approx(1.05))
    assert long[1] == pytest.approx(1.05 + 4.0 / 4.0)


def test_a_full_node_refuses() -> None:
    """Four run, two wait, the seventh is refused."""
    assert len(run(PACE, [2.0] * 7)) == 6


@examples(max_examples=100)
@given(st.lists(st.floats(0.5, 30.0), min_size=1, max_size=6))
def test_no_audio_is_lost_and_none_comes_too_early(lengths: list[float]) -> None:
    """Every utterance ends, none before its own work at full speed, all not before the total work at the best rate."""
    results = sorted(run(PACE, lengths), key=lambda result: result[1])
    assert len(results) == len(lengths)
    assert all(first <= end for first, end in results)
    assert results[0][1] >= 0.05 + min(lengths) / 4.0 - 1e-6
    assert results[-1][1] >= 0.05 + sum(lengths) / 8.0 - 1e-6


def test_a_queue_is_as_long_as_theory_says() -> None:
    """One slot, random arrivals: the mean wait is Pollaczek and Khinchine's, within the error of the sample."""
    pace = Pace("one", {1: 2.0}, first_audio=0.0, overhead=0.0, slots=1, max_in_flight=10**6)
    rate = 0.7 * 2.0 / 6.0
    heard = ClusterModel(pace, 1, programs=1).run(Load(lambda _: rate, 40_000.0, rate))
    services = [each.audio_seconds / 2.0 for each in heard]
    measured_rate = len(heard) / 40_000.0
    second_moment = sum(service**2 for service in services) / len(services)
    busy = measured_rate * sum(services) / len(services)
    expected = measured_rate * second_moment / (2.0 * (1.0 - busy))
    waits = [each.first_audio or 0.0 for each in heard]
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.15)


def test_a_choice_that_all_take_from_one_stale_list_is_the_worst() -> None:
    """All listeners of ten seconds go to the node that was the least busy before them."""
    gpu = PACES["gpu"]

    def p95(choice: str) -> float:
        heard = ClusterModel(gpu, 10, programs=1, choice=CHOICES[choice]).run(steady(gpu, 10, 0.7, 30.0))
        return percentile(first_audio(heard), 0.95)

    assert p95("least reported load") > 1.2 * p95("two at random, own requests (glmtts_client)")


def test_every_listener_is_heard_after_the_loss_of_a_zone() -> None:
    """With room for it: what was cut goes on elsewhere, after a silence."""
    gpu = PACES["gpu"]
    cluster = ClusterModel(gpu, 9, programs=9)
    cluster.clock.after(20.0, lambda: cluster.lose_zone(0))
    heard = cluster.run(steady(gpu, 9, 0.5, 40.0))
    assert all(each.done for each in heard)
    assert len(cluster.passing) == 6
    cut = [each for each in heard if each.silence]
    assert cut
    assert all(each.asked < 20.0 for each in cut)


def test_scaling_keeps_to_its_rules() -> None:
    """At most two nodes a minute up, one in a quarter of an hour down."""
    cluster = ClusterModel(PACE, 2, programs=4)
    Autoscaler(cluster, Rules(target=4.0, max_nodes=8), load_seconds=10.0).start()
    counts: list[tuple[float, int]] = []

    def note() -> None:
        counts.append((cluster.clock.now, len(cluster.passing)))
        cluster.clock.after(1.0, note)

    note()
    full = 8 * PACE.capacity / 6.0
    cluster.run(Load(lambda now: (0.5 if now < 600.0 else 0.02) * full, 3000.0, full))
    assert max(count for _, count in counts) == 8
    assert counts[-1][1] < 8
    by_time = dict(counts)
    for now, count in counts:
        assert count - by_time.get(now - 59.0, count) <= 2
        assert by_time.get(now - 899.0, count) - count <= 1 or now < 899.0 or count >= by_time[now - 899.0]


def test_consuls_work_grows_as_it_should() -> None:
    """Lists cost clients times nodes, and with caches agents times nodes."""
    poll, cached = (steady_load(1000, 10_000, mode, agents=100, changes=0.0) for mode in ("poll", "cached"))
    assert poll.checks == 100
    assert poll.lists == 1000
    assert poll.cores > 50 * cached.cores
    assert steady_load(1000, 10_000, "cached", agents=50, changes=0.0).lists < cached.lists
    watch = steady_load(1000, 10_000, "watch", agents=100, changes=1e9)
    assert watch.lists < 10_000 * 2.1, "a watch asks at most twice a second"


def test_a_storm_of_returning_nodes_is_over_in_ten_seconds() -> None:
    """1,000 nodes, a back-off of 10 s: nobody fails. With 1 s all come at once, with 60 s it takes a minute."""
    late, right, early = (storm(1000, cap, watchers=0, cores=6) for cap in (60.0, 10.0, 1.0))
    assert right.failures == 0
    assert right.all < 12
    assert late.all > 50
    assert early.peak_registrations > 3 * right.peak_registrations


@pytest.mark.parametrize("pace", ["slow", "1:0", "0:5", "1"])
def test_a_malformed_pace_is_rejected(pace: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make_pace(parser().parse_args(["zone", "--pace", pace]))


def test_an_own_pace_has_the_streams_that_it_can_serve() -> None:
    """As many slots as listeners for whom it is fast enough."""
    assert make_pace(parser().parse_args(["zone", "--pace", "1:7,8:12,16:13"])).slots == 12


def test_percentiles_of_nobody_are_unknown() -> None:
    assert math.isnan(percentile([], 0.5))
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0


@pytest.mark.load
def test_the_check_runs_three_real_nodes() -> None:
    """The comparison itself, briefly: how close it is takes minutes to tell (docs/capacity.md)."""
    command = [sys.executable, "scripts/simulate.py", "check", "--loads", "0.4", "--check-seconds", "15"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode in (0, 1), result.stderr
    row = result.stdout.splitlines()[-1]
    assert int(row.split(" | ")[1]) >= 5
    assert len(re.findall(r"\d+\.\d\d", row)) == 4
