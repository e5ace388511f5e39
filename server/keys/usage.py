"""What each API key uses: requests in flight, and characters within the last minute."""

from __future__ import annotations

import threading
from collections import Counter

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from server.errors import ApiError
from server.keys.key_file import ApiKey


class KeyUsage:
    """Counts what keys use, by their names, and refuses what exceeds their limits. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight: Counter[str] = Counter()
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def begin(self, key: ApiKey) -> None:
        """Counts a request that begins. ApiError 429: the key has as many in flight as it may."""
        limit = key.max_concurrent_requests
        with self._lock:
            if limit is not None and self._in_flight[key.name] >= limit:
                message = f"API key: expected at most {limit} requests in flight, got one more"
                raise ApiError(429, "rate_limit_exceeded", message, retry_after=1.0)
            self._in_flight[key.name] += 1

    def end(self, key: ApiKey) -> None:
        """Counts a request that ends."""
        with self._lock:
            self._in_flight[key.name] -= 1
            if not self._in_flight[key.name]:
                del self._in_flight[key.name]

    def charge(self, key: ApiKey, characters: int) -> None:
        """Counts the characters of a text. ApiError 429: they exceed what the key has left of its minute.

        A text that is longer than a whole minute's limit needs a whole minute.
        """
        if key.characters_per_minute is None or not characters:
            return
        limit = RateLimitItemPerMinute(key.characters_per_minute)
        cost = min(characters, limit.amount)
        if not self._limiter.hit(limit, key.name, cost=cost):
            missing = cost - self._limiter.get_window_stats(limit, key.name).remaining
            message = f"API key: expected at most {limit.amount} characters per minute, got more"
            raise ApiError(429, "rate_limit_exceeded", message, retry_after=60 * missing / limit.amount)
