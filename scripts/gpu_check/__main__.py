"""Runs one pass of the check; `scripts/gpu_check.sh` says how."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from scripts.gpu_check.listeners import ROOT
from scripts.gpu_check.parts import Plan, missing_parts, run_pass
from scripts.gpu_check.report import report
from scripts.gpu_check.state import State

DONE, FAILED, NOT_DONE = 0, 1, 2
"""Exit codes: all parts have a result; so they have, and some failed; another pass is needed."""

GPU_SECONDS, CPU_SECONDS, GRACE_SECONDS = 230.0, 3600.0, 10.0
"""Of a pass, and what it may take beyond them before it is cut off."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    plan = Plan(options.checkpoint, options.device, options.folder, options.quick)
    if plan.on_cuda and not torch.cuda.is_available():
        sys.exit("device: expected a CUDA device, got none; --device cpu --quick shows that all parts run")
    plan.folder.mkdir(parents=True, exist_ok=True)
    state_file = plan.folder / f"{state_name(plan)}.json"
    if options.again:
        state_file.unlink(missing_ok=True)
    state = State.read(state_file)
    seconds = options.seconds or (GPU_SECONDS if plan.on_cuda else CPU_SECONDS)
    with hard_limit(seconds + GRACE_SECONDS, lambda: conclude(plan, state)):
        run_pass(plan, state, time.monotonic() + seconds)
    return conclude(plan, state)


def conclude(plan: Plan, state: State) -> int:
    """Prints what is known and what is not; the exit code."""
    missing, failures = missing_parts(plan, state), state.failures()
    print(f"\n{report(state, plan.levels)}\n")
    if missing:
        print(f"not done: {', '.join(missing)}; run it again with the same options, and it goes on there", flush=True)
        return NOT_DONE
    print(f"done; failed: {', '.join(failures) or 'none'}; --again starts anew", flush=True)
    return FAILED if failures else DONE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    flags = argparse.ArgumentParser(prog="scripts/gpu_check.sh", description=__doc__)
    flags.add_argument("checkpoint", nargs="?", type=Path, help="default: a stand-in of the published size")
    flags.add_argument("--device", default="cuda", help="default: cuda")
    flags.add_argument("--quick", action="store_true", help="a narrow stand-in, 1 and 2 listeners")
    flags.add_argument("--seconds", type=float, help="of one pass (default: 230 on a GPU, an hour on a CPU)")
    flags.add_argument("--folder", type=Path, default=ROOT / ".gpu-check", help="for stand-ins, logs and results")
    flags.add_argument("--again", action="store_true", help="forget the results of earlier passes")
    return flags.parse_args(arguments)


def state_name(plan: Plan) -> str:
    """Results of different checks don't mix."""
    checkpoint = "standin" if plan.checkpoint is None else plan.checkpoint.name
    return "-".join([checkpoint, plan.device.replace(":", ""), plan.size])


@contextmanager
def hard_limit(seconds: float, end: Callable[[], object]) -> Iterator[None]:
    """Calls `end` and leaves the process if the block takes longer: a device that hangs can't be interrupted."""

    def leave() -> None:
        end()
        os._exit(NOT_DONE)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


if __name__ == "__main__":
    sys.exit(main())
