"""What keys may use."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ApiError
from server.keys.key_file import ApiKey
from server.keys.usage import KeyUsage


def key(name: str = "a", **limits: int) -> ApiKey:
    return ApiKey(name=name, sha256="a" * 64, scopes=("speak",), **limits)


@given(limit=st.integers(1, 5), steps=st.lists(st.booleans(), max_size=40))
def test_a_key_has_at_most_its_limit_in_flight(limit: int, steps: list[bool]) -> None:
    """Whatever begins and ends; other keys are not concerned."""
    usage, mine, running = KeyUsage(), key(max_concurrent_requests=limit), 0
    for begins in steps:
        if not begins:
            if running:
                usage.end(mine)
                running -= 1
        elif running < limit:
            usage.begin(mine)
            running += 1
        else:
            with pytest.raises(ApiError) as error:
                usage.begin(mine)
            assert (error.value.status, error.value.code) == (429, "rate_limit_exceeded")
        usage.begin(key("b", max_concurrent_requests=1))
        usage.end(key("b"))


@given(costs=st.lists(st.integers(0, 300), max_size=20))
def test_a_key_speaks_at_most_its_characters_per_minute(costs: list[int]) -> None:
    """What is refused costs nothing, and Retry-After is within the minute."""
    usage, mine, used = KeyUsage(), key(characters_per_minute=500), 0
    for cost in costs:
        if used + cost <= 500:
            usage.charge(mine, cost)
            used += cost
        else:
            with pytest.raises(ApiError) as error:
                usage.charge(mine, cost)
            assert error.value.retry_after is not None
            assert 0 < error.value.retry_after <= 60
        usage.charge(key("b"), cost)


def test_a_text_longer_than_a_whole_minute_takes_it_whole() -> None:
    """Else it could never be spoken."""
    usage, mine = KeyUsage(), key(characters_per_minute=100)
    usage.charge(mine, 5000)
    with pytest.raises(ApiError):
        usage.charge(mine, 1)


def test_threads_do_not_get_past_the_limit() -> None:
    usage, mine, admitted = KeyUsage(), key(max_concurrent_requests=3), list[int]()

    def begin() -> None:
        try:
            usage.begin(mine)
            admitted.append(1)
        except ApiError:
            pass

    threads = [threading.Thread(target=begin) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 3
