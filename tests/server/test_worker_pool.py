"""A pool of few threads: calls run in order, those that may not wait are refused, errors reach the caller."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.errors import ApiError
from server.worker_pool import WorkerPool
from tests.helpers.server import wait_until


def test_results_and_errors_reach_the_caller() -> None:
    """As if the call had been made in the caller's own thread."""
    pool = WorkerPool("texts", 1)
    assert pool.run(lambda: threading.current_thread().name) == "texts_0"
    with pytest.raises(ZeroDivisionError):
        pool.run(lambda: 1 // 0)
    assert pool.waiting == 0


def test_few_run_and_few_wait() -> None:
    """No more calls run than there are threads; those that may be refused are, and others wait their turn."""
    pool, go, running = WorkerPool("voices", 2), threading.Event(), []

    def work() -> None:
        running.append(threading.current_thread().name)
        assert go.wait(30)

    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(pool.run, work, max_waiting=3) for _ in range(5)]
        wait_until(lambda: len(running) == 2 and pool.waiting == 3, "two run, three wait")
        with pytest.raises(ApiError, match="3 voices are waiting") as caught:
            pool.run(work, max_waiting=3)
        assert (caught.value.status, caught.value.code) == (429, "busy")
        calls.append(callers.submit(pool.run, work))
        wait_until(lambda: pool.waiting == 4, "a call that is never refused waits too")
        go.set()
        for call in calls:
            call.result(30)
    assert len(running) == 6
    assert set(running) == {"voices_0", "voices_1"}
    assert pool.waiting == 0
