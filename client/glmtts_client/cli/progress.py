"""A batch under a progress bar, which can be interrupted."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from glmtts_client.batch.items import read_items
from glmtts_client.batch.runner import run_batch
from glmtts_client.cluster import Cluster
from glmtts_client.errors import DiscoveryError
from glmtts_client.speech import SpeechOptions

INTERRUPTED = 130


def announce(cluster: Cluster, console: Console) -> None:
    """Says it when there is nothing to go to yet. DiscoveryError."""
    if not cluster.nodes():
        console.print("glmtts: no node passes that is what is wanted; waiting", soft_wrap=True)


def run(
    cluster: Cluster,
    source: Path,
    folder: Path,
    defaults: SpeechOptions,
    *,
    jobs: int,
    as_json: bool,
    console: Console,
) -> int:
    """Runs a batch under a progress bar; gives the exit code."""
    items = list(read_items(source, defaults))
    try:
        announce(cluster, console)
    except DiscoveryError as error:
        console.print(f"glmtts: {error}; waiting", markup=False, soft_wrap=True)
    stop = threading.Event()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with _interruptible(stop, console), Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(source.name, total=len(items), failed=0)
        failed = 0

        def on_result(entry: dict[str, Any] | None) -> None:
            nonlocal failed
            failed += entry is not None and entry["error"] is not None
            bar.update(task, advance=1, failed=failed)
            if entry is not None and as_json:
                click.echo(json.dumps(entry, ensure_ascii=False))
            elif entry is not None and entry["error"] is not None:
                bar.console.print(f"{entry['id']}: {entry['error']}", markup=False, soft_wrap=True)

        summary = run_batch(cluster, items, folder, jobs=jobs, on_result=on_result, stop=stop)
    console.print(
        f"{summary.done} made, {summary.skipped} finished before, {summary.failed} failed", markup=False, soft_wrap=True
    )
    return INTERRUPTED if stop.is_set() else 1 if summary.failed else 0


@contextmanager
def _interruptible(stop: threading.Event, console: Console) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets running items end, the second ends at once: nothing half-made stays anyway."""

    def interrupted(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        stop.set()
        console.print("glmtts: finishing what runs; once more to end at once", markup=False, soft_wrap=True)

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
