"""Runs a batch with a progress bar; Ctrl-C ends it cleanly."""

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
"""Exit code: 128 + SIGINT."""


def warn_if_no_nodes(cluster: Cluster, console: Console) -> None:
    """Prints a line if no node matches yet. Raises DiscoveryError."""
    if not cluster.nodes():
        console.print("glmtts: no passing node matches; waiting for one", soft_wrap=True)


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
    """Runs a batch and returns the exit code."""
    items = list(read_items(source, defaults))
    try:
        warn_if_no_nodes(cluster, console)
    except DiscoveryError as error:
        console.print(f"glmtts: {error}; waiting", markup=False, soft_wrap=True)
    stop = threading.Event()
    with _stop_on_signal(stop, console), _progress_bar(console) as bar:
        task = bar.add_task(source.name, total=len(items), failed=0)
        failed = 0

        def on_result(result: dict[str, Any] | None) -> None:
            nonlocal failed
            failed += result is not None and result["error"] is not None
            bar.update(task, advance=1, failed=failed)
            if result is not None and as_json:
                click.echo(json.dumps(result, ensure_ascii=False))
            elif result is not None and result["error"] is not None:
                bar.console.print(f"{result['id']}: {result['error']}", markup=False, soft_wrap=True)

        summary = run_batch(cluster, items, folder, jobs=jobs, on_result=on_result, stop=stop)
    console.print(f"{summary.done} done, {summary.skipped} skipped, {summary.failed} failed", soft_wrap=True)
    return INTERRUPTED if stop.is_set() else 1 if summary.failed else 0


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def _stop_on_signal(stop: threading.Event, console: Console) -> Iterator[None]:
    """The first SIGINT or SIGTERM sets `stop`; the second exits at once, which the output folder survives."""

    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        stop.set()
        console.print("glmtts: finishing running items; interrupt again to exit now", markup=False, soft_wrap=True)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
