"""Large inputs take turns."""

from __future__ import annotations

import threading

from server.http.large_input import LARGE, turn


def test_large_inputs_take_turns_and_small_ones_do_not_wait() -> None:
    """The second large one begins when the first is done."""
    entered = threading.Event()

    def read() -> None:
        with turn(LARGE + 1):
            entered.set()

    with turn(LARGE + 1):
        threading.Thread(target=read).start()
        with turn(LARGE):
            assert not entered.wait(0.05)
    assert entered.wait(10)
