"""The node's life: who is let in when, and the order of leaving."""

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


class Diary:
    """A membership that writes down what it is told, and everything else that happens."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.node: Node | None = None

    def deregister_stale(self) -> None:
        self.lines.append("remove own")

    def start(self, info: EngineInfo, progress_age: Callable[[], float]) -> None:
        assert progress_age() == 0.0
        self.lines.append(f"register {info.model}")

    def deregister(self, timeout: float = 3.0) -> bool:
        trouble = self.node.not_ready_reason() if self.node else ""
        self.lines.append(f"deregister within {timeout:g} s, {trouble}")
        return True

    def node_with(self, load: Callable[[], Engine], **settings: float) -> Node:
        chosen = Settings(**{"propagation_delay": 0.0, "drain_timeout": 5.0, **settings})
        self.node = Node(
            chosen,
            load,
            self,
            limits=lambda: ClusterConfig(chosen).limits,
            on_loaded=lambda engine: self.lines.append(f"loaded {engine.info.model}"),
            on_dropped=lambda count: self.lines.append(f"cut {count}"),
            exit_process=lambda status: self.lines.append(f"die {status}"),
        )
        return self.node


def ready(diary: Diary, **settings: float) -> Node:
    node = diary.node_with(FakeEngine, **settings)
    node.start()
    wait_until(lambda: node.not_ready_reason() is None, "the node to be ready")
    return node


def hanging(engine: Engine) -> Job:
    """A job that never ends by itself."""
    return Job(tuple(engine.segments("HANG.")), engine.make_voice(recording(), ""), 24000, 1)


def run(node: Node, meanwhile: Callable[[Handle], object]) -> None:
    """A request to the end, which `meanwhile` has to bring about."""
    with node.admit() as engine:
        handle = engine.submit(hanging(engine))
        meanwhile(handle)
        list(handle.chunks())


def refused(node: Node) -> ApiError:
    with pytest.raises(ApiError) as caught, node.admit():
        pass
    assert caught.value.retry_after is not None
    return caught.value


def test_registering_comes_after_loading_and_removing_before() -> None:
    """A predecessor's registration goes before the load; ours comes after it."""
    diary = Diary()
    node = ready(diary)
    wait_until(lambda: len(diary.lines) == 3, "the registration")
    assert diary.lines == ["remove own", "loaded fake", "register fake"]
    node.drain()


def test_while_loading_nobody_is_let_in() -> None:
    """503 with a time to try again, and the reason for /ready."""
    go_on = threading.Event()

    def load() -> Engine:
        go_on.wait(30)
        return FakeEngine()

    node = Diary().node_with(load)
    node.start()
    assert node.not_ready_reason() == "loading"
    assert refused(node).status == 503
    go_on.set()
    wait_until(lambda: node.not_ready_reason() is None, "the node to be ready")
    node.drain()


def test_a_failed_load_ends_the_program_unregistered() -> None:
    """The exit status tells gunicorn not to try again."""
    diary = Diary()

    def load() -> Engine:
        raise CheckpointError("nothing there")

    node = diary.node_with(load)
    node.start()
    wait_until(lambda: "die 3" in diary.lines, "the end")
    assert diary.lines == ["remove own", "deregister within 3 s, loading", "die 3"]


def test_the_places_are_bounded() -> None:
    """One more than `max_concurrent_requests` gets 429; a place given back is free again."""
    node = ready(Diary(), max_concurrent_requests=2)
    with ExitStack() as inside:
        for _ in range(2):
            inside.enter_context(node.admit())
        assert refused(node).status == 429
    with node.admit():
        assert node.in_flight == 1
    assert node.in_flight == 0
    node.drain()


def test_audio_that_is_owed_is_a_bound_too() -> None:
    """With more of it before him than the limit a caller gets 429 and is told how much, though places are free."""
    node = ready(Diary(), max_backlog_seconds=0.4)
    handle = node.engine.submit(hanging(node.engine))  # five characters, half a second
    told = refused(node)
    assert (told.status, told.code) == (429, "busy")
    assert "s of audio are before you" in str(told)
    handle.cancel()
    with node.admit():
        pass
    node.drain()


def test_leaving_has_its_order() -> None:
    """Not ready, out of discovery, refusing, what runs is finished, closed; a second signal changes nothing."""
    diary = Diary()
    node = ready(diary)
    with ExitStack() as inside:
        engine = inside.enter_context(node.admit())
        drain = threading.Thread(target=node.drain)
        drain.start()
        wait_until(lambda: any("deregister" in line for line in diary.lines), "leaving discovery")
        wait_until(lambda: _status(node) == 503, "the refusals")
        assert node.not_ready_reason() == "draining"
        assert node.drain() is False
        assert drain.is_alive()
        assert engine.stalled_seconds() == 0.0
    drain.join(30)
    assert diary.lines[-2:] == ["deregister within 3 s, draining", "cut 0"]


def _status(node: Node) -> int:
    try:
        with node.admit():
            return 200
    except ApiError as error:
        return error.status


def test_new_work_is_served_during_the_propagation_delay() -> None:
    """Callers who have us from a cached list are still answered."""
    diary = Diary()
    node = ready(diary, propagation_delay=0.5)
    drain = threading.Thread(target=node.drain)
    drain.start()
    wait_until(lambda: any("deregister" in line for line in diary.lines), "leaving discovery")
    assert node.not_ready_reason() == "draining"
    with node.admit():
        pass
    drain.join(30)
    assert refused(node).code == "draining"


def test_the_graces_end_cuts_what_is_left() -> None:
    """A request that outlasts the grace is counted, and does not hold up the exit; it is told why it was cut."""
    diary = Diary()
    node = ready(diary, drain_timeout=0.1)
    with pytest.raises(ApiError) as caught:
        run(node, lambda _: node.drain())
    assert (caught.value.status, caught.value.code) == (503, "draining")
    assert caught.value.retry_after is not None
    assert diary.lines[-1] == "cut 1"


def test_a_caller_who_went_away_is_not_told_of_a_drain() -> None:
    """Before the grace has ended a cancelled job is its caller's doing."""
    node = ready(Diary())
    with pytest.raises(CancelledError):
        run(node, lambda handle: handle.cancel())
    node.drain()


def test_leaving_at_once_counts_what_falls() -> None:
    """SIGQUIT: out of discovery within a second, and the requests that are inside are counted as cut."""
    diary = Diary()
    node = ready(diary)
    with node.admit():
        node.shut_down_now()
        assert node.not_ready_reason() == "draining"
    assert diary.lines[-2:] == ["cut 1", "deregister within 1 s, draining"]
    node.engine.close()


def test_an_engine_without_progress_is_trouble() -> None:
    """/ready says so while /health does not."""
    node = ready(Diary(), stall_timeout=0.05)
    engine = node.engine
    handle = engine.submit(hanging(engine))
    wait_until(lambda: node.not_ready_reason() is not None, "the stall")
    assert "stalled" in str(node.not_ready_reason())
    handle.cancel()
    wait_until(lambda: node.not_ready_reason() is None, "the recovery")
    node.drain()


def test_a_drain_while_loading_does_not_wait() -> None:
    """Whoever was never in discovery leaves at once, and does not join it when the load ends."""
    diary = Diary()
    go_on = threading.Event()

    def load() -> Engine:
        go_on.wait(30)
        return FakeEngine(FakeOptions())

    node = diary.node_with(load, propagation_delay=1000.0)
    node.start()
    # With the delay this would run into the test's own time limit.
    assert node.drain()
    go_on.set()
    wait_until(lambda: "loaded fake" in diary.lines, "the end of the load")
    assert not any(line.startswith("register") for line in diary.lines)
