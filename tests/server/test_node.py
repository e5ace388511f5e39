"""The node's lifecycle: admission, and the order of a shutdown."""

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from glmtts.engine.api import Engine, EngineInfo, Handle, Job
from glmtts.engine.runtime.fake import FakeEngine, FakeOptions
from glmtts.errors import CancelledError, CheckpointError
from server.cluster_config import ClusterConfig
from server.errors import ApiError
from server.node import Node
from server.settings import Settings
from tests.helpers.server import recording, wait_until


class FakeMembership:
    """A membership that records its calls, and everything else that happens."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.node: Node | None = None

    def deregister_stale(self) -> None:
        self.lines.append("deregister stale")

    def start(self, info: EngineInfo, stalled_seconds: Callable[[], float]) -> None:
        assert stalled_seconds() == 0.0
        self.lines.append(f"register {info.model}")

    def deregister(self, timeout: float = 3.0) -> bool:
        reason = self.node.not_ready_reason() if self.node else ""
        self.lines.append(f"deregister within {timeout:g} s, {reason}")
        return True

    def node_with(self, load: Callable[[], Engine], **settings: float) -> Node:
        chosen = Settings(**{"propagation_delay": 0.0, "drain_timeout": 5.0, **settings})
        self.node = Node(
            chosen,
            load,
            self,
            limits=lambda: ClusterConfig(chosen).limits,
            on_loaded=lambda engine: self.lines.append(f"loaded {engine.info.model}"),
            on_dropped=lambda count: self.lines.append(f"dropped {count}"),
            exit_process=lambda status: self.lines.append(f"exit {status}"),
        )
        return self.node


def ready(membership: FakeMembership, **settings: float) -> Node:
    node = membership.node_with(FakeEngine, **settings)
    node.start()
    wait_until(lambda: node.not_ready_reason() is None, "the node to be ready")
    return node


def hanging(engine: Engine) -> Job:
    """A job that never ends by itself."""
    return Job(tuple(engine.segments("HANG.")), engine.make_voice(recording(), ""), 24000, 1)


def run(node: Node, meanwhile: Callable[[Handle], object]) -> None:
    """Runs a request to its end, which `meanwhile` has to cause."""
    with node.admit() as engine:
        handle = engine.submit(hanging(engine))
        meanwhile(handle)
        list(handle.chunks())


def rejection(node: Node) -> ApiError:
    with pytest.raises(ApiError) as caught, node.admit():
        pass
    assert caught.value.retry_after is not None
    return caught.value


def test_stale_services_are_removed_before_loading() -> None:
    """And the node registers after it."""
    membership = FakeMembership()
    node = ready(membership)
    wait_until(lambda: len(membership.lines) == 3, "the registration")
    assert membership.lines == ["deregister stale", "loaded fake", "register fake"]
    node.drain()


def test_no_request_is_admitted_while_loading() -> None:
    """503 with a Retry-After, and the reason for /ready."""
    go_on = threading.Event()

    def load() -> Engine:
        go_on.wait(30)
        return FakeEngine()

    node = FakeMembership().node_with(load)
    node.start()
    assert node.not_ready_reason() == "loading"
    assert rejection(node).status == 503
    go_on.set()
    wait_until(lambda: node.not_ready_reason() is None, "the node to be ready")
    node.drain()


def test_a_failed_load_ends_the_process() -> None:
    """It never registers, and its exit status tells gunicorn not to try again."""
    membership = FakeMembership()

    def load() -> Engine:
        raise CheckpointError("nothing there")

    node = membership.node_with(load)
    node.start()
    wait_until(lambda: "exit 3" in membership.lines, "the end")
    assert membership.lines == ["deregister stale", "deregister within 3 s, loading", "exit 3"]


def test_concurrent_requests_are_bounded() -> None:
    """One more than `max_concurrent_requests` gets 429; a finished request makes room."""
    node = ready(FakeMembership(), max_concurrent_requests=2)
    with ExitStack() as inside:
        for _ in range(2):
            inside.enter_context(node.admit())
        assert rejection(node).status == 429
    with node.admit():
        assert node.in_flight == 1
    assert node.in_flight == 0
    node.drain()


def test_a_drain_waits_for_a_text_that_is_read() -> None:
    """It takes no place among those that speak; once the drain rejects, neither is admitted."""
    membership = FakeMembership()
    node = ready(membership, max_concurrent_requests=1)
    with ExitStack() as reading, node.admit():
        reading.enter_context(node.admit_reading())
        reading.enter_context(node.admit_reading())
        assert node.in_flight == 1
    with node.admit_reading():
        drain = threading.Thread(target=node.drain)
        drain.start()
        wait_until(lambda: node._rejecting, "the node to reject requests")
        assert rejection(node).code == "draining"
        with pytest.raises(ApiError, match="shutting down"), node.admit_reading():
            pass
        assert not any(line.startswith("dropped") for line in membership.lines)
    drain.join()
    assert membership.lines[-1] == "dropped 0"


def test_the_backlog_is_bounded() -> None:
    """Above the limit a request gets 429 with the backlog, even if few requests are in flight."""
    node = ready(FakeMembership(), max_backlog_seconds=0.4)
    handle = node.engine.submit(hanging(node.engine))  # five characters, half a second
    error = rejection(node)
    assert (error.status, error.code) == (429, "busy")
    assert "s of audio in the queue" in str(error)
    handle.cancel()
    with node.admit():
        pass
    node.drain()


def test_a_drain_has_its_order() -> None:
    """Not ready, deregistered, rejecting, running requests finished, closed; a second signal changes nothing."""
    membership = FakeMembership()
    node = ready(membership)
    with ExitStack() as inside:
        engine = inside.enter_context(node.admit())
        drain = threading.Thread(target=node.drain)
        drain.start()
        wait_until(lambda: any("deregister" in line for line in membership.lines), "the deregistration")
        wait_until(lambda: _status(node) == 503, "the rejections")
        assert node.not_ready_reason() == "draining"
        assert node.drain() is False
        assert drain.is_alive()
        assert engine.stalled_seconds() == 0.0
    drain.join(30)
    assert membership.lines[-2:] == ["deregister within 3 s, draining", "dropped 0"]


def _status(node: Node) -> int:
    try:
        with node.admit():
            return 200
    except ApiError as error:
        return error.status


def test_new_work_is_served_during_the_propagation_delay() -> None:
    """Clients with a cached list of nodes are still served."""
    membership = FakeMembership()
    node = ready(membership, propagation_delay=0.5)
    drain = threading.Thread(target=node.drain)
    drain.start()
    wait_until(lambda: any("deregister" in line for line in membership.lines), "the deregistration")
    assert node.not_ready_reason() == "draining"
    with node.admit():
        pass
    drain.join(30)
    assert rejection(node).code == "draining"


def test_a_drain_that_times_out_drops_requests() -> None:
    """A request that outlasts the drain is counted, does not delay the exit, and gets a 503 that says why."""
    membership = FakeMembership()
    node = ready(membership, drain_timeout=0.1)
    with pytest.raises(ApiError) as caught:
        run(node, lambda _: node.drain())
    assert (caught.value.status, caught.value.code) == (503, "draining")
    assert caught.value.retry_after is not None
    assert membership.lines[-1] == "dropped 1"


def test_a_cancelled_request_is_not_attributed_to_a_drain() -> None:
    """Before the drain has timed out only the client cancels a job."""
    node = ready(FakeMembership())
    with pytest.raises(CancelledError):
        run(node, lambda handle: handle.cancel())
    node.drain()


def test_an_immediate_shutdown_counts_dropped_requests() -> None:
    """SIGQUIT: deregistered within a second, and the requests in flight are counted as dropped."""
    membership = FakeMembership()
    node = ready(membership)
    with node.admit():
        node.shut_down_now()
        assert node.not_ready_reason() == "draining"
    assert membership.lines[-2:] == ["dropped 1", "deregister within 1 s, draining"]
    node.engine.close()


def test_a_stalled_engine_is_not_ready() -> None:
    """/ready says so; /health does not."""
    node = ready(FakeMembership(), stall_timeout=0.05)
    engine = node.engine
    handle = engine.submit(hanging(engine))
    wait_until(lambda: node.not_ready_reason() is not None, "the stall")
    assert "stalled" in str(node.not_ready_reason())
    handle.cancel()
    wait_until(lambda: node.not_ready_reason() is None, "the recovery")
    node.drain()


def test_a_drain_while_loading_does_not_wait() -> None:
    """A node that never registered exits at once, and does not register when the load ends."""
    membership = FakeMembership()
    go_on = threading.Event()

    def load() -> Engine:
        go_on.wait(30)
        return FakeEngine(FakeOptions())

    node = membership.node_with(load, propagation_delay=1000.0)
    node.start()
    # With the delay this would run into the test's own time limit.
    assert node.drain()
    go_on.set()
    wait_until(lambda: "loaded fake" in membership.lines, "the end of the load")
    assert not any(line.startswith("register") for line in membership.lines)


def test_a_node_tells_how_its_engine_gets_on() -> None:
    """Once it is loaded: requests beyond its places are queued, and a step without end is a stall."""
    node = FakeMembership().node_with(FakeEngine)
    assert node.progress() == {}
    node = ready(FakeMembership())
    with ExitStack() as stack:
        assert node.progress() == {"stalled_seconds": 0.0, "pace_seconds": None, "queued": 0}
        for _ in range(3):
            engine = stack.enter_context(node.admit())
        engine.submit(hanging(engine))
        wait_until(lambda: (node.progress()["stalled_seconds"] or 0) > 0.1, "the stall")
        assert node.progress()["queued"] == 2


def test_where_metrics_are_protected_nothing_is_told() -> None:
    """Of its load."""
    assert ready(FakeMembership(), protect_metrics=True).progress() == {}
