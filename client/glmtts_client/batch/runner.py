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

from glmtts_client.batch.items import Item, ItemError
from glmtts_client.batch.output_folder import OutputFolder
from glmtts_client.cluster import Cluster
from glmtts_client.errors import ClientError, RetriesExhaustedError
from glmtts_client.retry import RetryPolicy

BATCH_RETRY = RetryPolicy(
    deadline=900.0,
    attempts=10,
    initial_delay=0.5,
    max_delay=15.0,
    queue_timeout=60.0,
    budget=None,
    wait_for_consul=True,
)


@dataclass
class BatchSummary:
    """How many items were made, had been made before, and failed."""

    done: int = 0
    skipped: int = 0
    failed: int = 0


def run_batch(
    cluster: Cluster,
    items: Iterable[Item | ItemError],
    folder: Path,
    *,
    jobs: int,
    on_result: Callable[[dict[str, Any] | None], None] = lambda entry: None,
    stop: threading.Event | None = None,
) -> BatchSummary:
    """Makes what is not finished yet. `on_result` is told each line of results.jsonl, or None for an item that was.

    With `stop` set, what runs is completed and nothing more is begun. BlockingIOError: another batch has the folder.
    """
    summary, stopped = BatchSummary(), stop or threading.Event()
    with OutputFolder(folder) as results, ThreadPoolExecutor(jobs, thread_name_prefix="batch") as threads:
        running: set[Future[dict[str, Any]]] = set()

        def collect(upto: int) -> None:
            """Waits until no more than `upto` items run."""
            while len(running) > upto:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.remove(future)
                    _count(summary, entry := future.result())
                    on_result(entry)

        for item in items:
            if stopped.is_set():
                break
            if isinstance(item, ItemError):
                _count(summary, entry := results.record_failure(item.name, str(item)))
                on_result(entry)
            elif results.is_finished(item):
                summary.skipped += 1
                on_result(None)
            else:
                running.add(threads.submit(_make, cluster, results, item))
                collect(jobs - 1)
        collect(0)
    return summary


def _count(summary: BatchSummary, entry: dict[str, Any]) -> None:
    if entry["error"] is None:
        summary.done += 1
    else:
        summary.failed += 1


def _make(cluster: Cluster, results: OutputFolder, item: Item) -> dict[str, Any]:
    try:
        speech = cluster.synthesize(item.text, item.options)
    except Exception as error:  # whatever it is, the other items do not suffer from it
        attempts = error.attempts if isinstance(error, RetriesExhaustedError) else 1
        message = str(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
        return results.record_failure(item.name, message, {"attempts": attempts})
    facts = {
        "node": speech.node,
        "audio_seconds": round(speech.audio_seconds, 3),
        "elapsed_seconds": round(speech.elapsed_seconds, 3),
        "rtf": round(speech.rtf, 4),
        "attempts": speech.attempts,
        "seed": speech.seed,
        "finish_reason": speech.finish_reason,
        "model_version": speech.model_version,
    }
    return results.save(item, speech.audio, facts)
