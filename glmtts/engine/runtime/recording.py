"""Records an engine's steps before its first job, as many as a budget allows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from glmtts.engine.synthesis.audio_recordings import Recording

log = logging.getLogger(__name__)


def record_all(
    recordings: Sequence[Recording],
    *,
    max_seconds: float,
    max_bytes: int,
    used_bytes: Callable[[], int],
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Records steps of few rows first, until the time or the memory is used up; returns how many.

    A stage whose step can't be recorded is left as it is. used_bytes: device memory in use.
    """
    start, before = clock(), used_bytes()
    failed: set[str] = set()
    done = 0
    for stage, _, record in sorted(recordings, key=lambda recording: recording.rows):
        if clock() - start >= max_seconds or used_bytes() - before >= max_bytes:
            break
        if stage in failed:
            continue
        try:
            record()
        except RuntimeError as error:
            failed.add(stage)
            log.warning("The %s runs without further recorded steps, because recording one failed: %s", stage, error)
            continue
        done += 1
    megabytes = (used_bytes() - before) / 2**20
    log.info("Recorded %d of %d shapes in %.1f s, %.0f MiB", done, len(recordings), clock() - start, megabytes)
    return done
