"""How long each part of a start takes, in one line of the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class PartTimes:
    """Seconds by part, in the order of the parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Takes the time of its block."""
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 3)

    def log(self, message: str) -> None:
        """`message` and the parts; in a JSON log they are a field of the line, too."""
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        log.info("%s: %s", message, parts, extra={"fields": {"seconds_by_part": self.seconds}})
