"""Runs a batch: synthesizes items in parallel, and writes each to the output folder once.

A batch waits for busy nodes and survives lost ones: its items have a long time limit. They need no retry budget, since
a batch never has more than `jobs` requests in flight.
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
    timeout=900.0,
    max_failures=10,
    initial_delay=0.5,
    max_delay=15.0,
    queue_timeout=60.0,
    budget=None,
    wait_for_consul=True,
)


@dataclass
class BatchSummary:
    """The numbers of items that succeeded, were skipped because they were finished before, and failed."""

    done: int = 0
    skipped: int = 0
    failed: int = 0

    def add(self, result: dict[str, Any]) -> None:
        if result["error"] is None:
            self.done += 1
        else:
            self.failed += 1


def run_batch(
    cluster: Cluster,
    items: Iterable[Item | ItemError],
    folder: Path,
    *,
    jobs: int,
    on_result: Callable[[dict[str, Any] | None], None] = lambda result: None,
    stop: threading.Event | None = None,
) -> BatchSummary:
    """Makes the items that are not finished yet, `jobs` at a time.

    `on_result` receives each new line of results.jsonl, and None for each item that was finished before. Once `stop` is
    set, running items are completed and no others start. Raises BlockingIOError if another batch uses the folder.
    """
    summary, stop = BatchSummary(), stop or threading.Event()
    with OutputFolder(folder) as output, ThreadPoolExecutor(jobs, thread_name_prefix="batch") as threads:
        running: set[Future[dict[str, Any]]] = set()

        def report(result: dict[str, Any]) -> None:
            summary.add(result)
            on_result(result)

        def wait_until_running(count: int) -> None:
            """Waits until at most `count` items are running."""
            while len(running) > count:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.remove(future)
                    report(future.result())

        for item in items:
            if stop.is_set():
                break
            if isinstance(item, ItemError):
                report(output.record_failure(item.name, str(item)))
            elif output.is_finished(item):
                summary.skipped += 1
                on_result(None)
            else:
                running.add(threads.submit(_run_item, cluster, output, item))
                wait_until_running(jobs - 1)
        wait_until_running(0)
    return summary


def _run_item(cluster: Cluster, output: OutputFolder, item: Item) -> dict[str, Any]:
    try:
        speech = cluster.synthesize(item.text, item.options)
    except Exception as error:  # one item's failure, whatever it is, must not end the others
        attempts = error.attempts if isinstance(error, RetriesExhaustedError) else 1
        message = str(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
        return output.record_failure(item.name, message, {"attempts": attempts})
    details = {
        "node": speech.node,
        "audio_seconds": round(speech.audio_seconds, 3),
        "elapsed_seconds": round(speech.elapsed_seconds, 3),
        "rtf": round(speech.rtf, 4),
        "attempts": speech.attempts,
        "seed": speech.seed,
        "finish_reason": speech.finish_reason,
        "skipped_characters": speech.skipped_characters,
        "model_version": speech.model_version,
    }
    return output.save(item, speech.audio, details)
