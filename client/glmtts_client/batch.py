"""Many utterances, several at a time, each once: from items to files and results. Knows nothing about how they look.

A batch waits for busy nodes and outlives lost ones: its items have long deadlines and no shared budget, because it
never asks for more at once than `jobs`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmtts_client.cluster import Cluster
from glmtts_client.errors import ClientError, GaveUpError
from glmtts_client.items import Item, ItemError
from glmtts_client.results import Results
from glmtts_client.retry import RetryPolicy

PATIENT = RetryPolicy(deadline=900.0, attempts=10, first=0.5, longest=15.0, line=60.0, budget=None, outlast_consul=True)


@dataclass
class Tally:
    """How many items were made, had been made before, and failed."""

    made: int = 0
    skipped: int = 0
    failed: int = 0


def run_batch(
    cluster: Cluster,
    items: Iterable[Item | ItemError],
    folder: Path,
    *,
    jobs: int,
    done: Callable[[dict[str, Any] | None], None] = lambda entry: None,
    stop: threading.Event | None = None,
) -> Tally:
    """Makes what is not finished yet. `done` is told each line of results.jsonl, or None for an item that was.

    With `stop` set, what runs is completed and nothing more is begun. BlockingIOError: another batch has the folder.
    """
    tally, stopped = Tally(), stop or threading.Event()
    with Results(folder) as results, ThreadPoolExecutor(jobs, thread_name_prefix="batch") as threads:
        running: set[Future[dict[str, Any]]] = set()

        def collect(upto: int) -> None:
            """Waits until no more than `upto` items run."""
            while len(running) > upto:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.remove(future)
                    _count(tally, entry := future.result())
                    done(entry)

        for item in items:
            if stopped.is_set():
                break
            if isinstance(item, ItemError):
                _count(tally, entry := results.fail(item.name, str(item)))
                done(entry)
            elif results.finished(item):
                tally.skipped += 1
                done(None)
            else:
                running.add(threads.submit(_make, cluster, results, item))
                collect(jobs - 1)
        collect(0)
    return tally


def _count(tally: Tally, entry: dict[str, Any]) -> None:
    if entry["error"] is None:
        tally.made += 1
    else:
        tally.failed += 1


def _make(cluster: Cluster, results: Results, item: Item) -> dict[str, Any]:
    try:
        speech = cluster.synthesize(item.text, item.options)
    except Exception as error:  # whatever it is, the other items do not suffer from it
        attempts = error.attempts if isinstance(error, GaveUpError) else 1
        message = str(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
        return results.fail(item.name, message, {"attempts": attempts})
    facts = {
        "node": speech.node,
        "seconds": round(speech.seconds, 3),
        "elapsed": round(speech.elapsed, 3),
        "rtf": round(speech.rtf, 4),
        "attempts": speech.attempts,
        "seed": speech.seed,
        "finish_reason": speech.finish_reason,
        "model_version": speech.model_version,
    }
    return results.keep(item, speech.audio, facts)
