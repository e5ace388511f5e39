"""The parts of the check, each a function of a `Plan` and of the time at which it must have ended, and their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeAlias

import torch

from scripts.gpu_check.listeners import (
    ROOT,
    RunningServer,
    Texts,
    device_memory_mib,
    hear,
    metrics_of,
    recorded_shapes,
    serve,
)
from scripts.gpu_check.state import State
from scripts.processes import ProcessError
from scripts.standin.sizes import BY_NAME
from scripts.standin.write import write_standin

Result: TypeAlias = "dict[str, Any]"
RATIO, QUICK_RATIO = 2.3, 1.0
"""Speech tokens for a text id of a stand-in, which never ends by itself. Its ids are bytes or two: a sentence of the
listeners gets five to six seconds by the first, two to three by the second."""
TAIL_CHARS = 1500
"""Of the output of a part that failed."""


class PartError(Exception):
    """Why a part has no result."""


@dataclass(frozen=True)
class Plan:
    """What is checked, and how much of it.

    checkpoint: None is a stand-in. folder: for stand-ins, logs and results. size: that of the stand-in.
    """

    checkpoint: Path | None
    device: str
    folder: Path
    quick: bool

    @property
    def size(self) -> str:
        return "quick" if self.quick else "published"

    @property
    def patience(self) -> float:
        """How many times as long a part may take: a CPU may have other work."""
        return 1.0 if self.on_cuda else 10.0

    @property
    def on_cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def levels(self) -> tuple[int, ...]:
        return (1, 2) if self.quick else (1, 4, 16, 32, 64)

    @property
    def served(self) -> Path:
        """The checkpoint for stages and listeners."""
        return self.checkpoint or self.folder / self.size

    @property
    def narrow(self) -> Path:
        """The stand-in for the tests, which compare with a CPU."""
        return self.folder / "quick"

    @property
    def wide_audio(self) -> Path:
        """The checkpoint for the distances of number formats."""
        return self.checkpoint or self.folder / ("quick" if self.quick else "wide-audio")


@dataclass(frozen=True)
class Part:
    """`seconds`: it is begun only if there is so much time, and ended after it."""

    name: str
    seconds: float
    run: Callable[[Plan, float], Result]


def machine(plan: Plan, _deadline: float) -> Result:
    """What it is."""
    found: Result = {"python": sys.version.split()[0], "torch": torch.__version__, "cores": os.cpu_count()}
    if plan.on_cuda:
        properties = torch.cuda.get_device_properties(plan.device)
        found |= {"gpu": properties.name, "gpu_gib": round(properties.total_memory / 2**30, 1)}
        found |= {"cuda": torch.version.cuda, "used_before_mib": device_memory_mib()}
    return found


def stand_ins(plan: Plan, _deadline: float) -> Result:
    """Writes those that the other parts need."""
    written: Result = {}
    for folder in dict.fromkeys((plan.narrow, plan.wide_audio, plan.served)):
        if folder == plan.checkpoint or (folder / "complete").exists():
            continue
        rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        sizes = write_standin(folder, BY_NAME[folder.name], device=plan.device)
        ratio = QUICK_RATIO if plan.quick else RATIO
        (folder / "llm" / "generation.json").write_text(json.dumps({"min_ratio": ratio, "max_ratio": ratio}))
        (folder / "complete").touch()
        written[folder.name] = {"bytes": sizes.size_bytes, "seconds": round(time.monotonic() - start, 1)}
    return written


def tests(plan: Plan, deadline: float) -> Result:
    """tests/test_cuda.py on the narrow stand-in."""
    environment = {"GLMTTS_TEST_DEVICE": plan.device, "GLMTTS_TEST_CHECKPOINT": str(plan.narrow)}
    options = ["-q", "-p", "no:cacheprovider", "-W", "default", *(["-k", "not program"] if plan.quick else [])]
    output = run([sys.executable, "-m", "pytest", "tests/test_cuda.py", *options], deadline, environment)
    return {"summary": output.strip().splitlines()[-1]}


def stages(plan: Plan, deadline: float) -> Result:
    """Each stage in float32 and in bfloat16, as scripts/benchmarks/stages.py measures them."""
    file = plan.folder / "stages.json"
    batches = ["1", "2"] if plan.quick else ["1", "16", "64"]
    flags = ["--checkpoint", str(plan.served), "--device", plan.device, "--bfloat16"]
    flags += ["--batches", *batches, "--json", str(file), *(["--quick"] if plan.quick else [])]
    run([sys.executable, "scripts/benchmarks/stages.py", *flags], deadline)
    return dict(json.loads(file.read_text(encoding="utf-8")))


def distances(plan: Plan, deadline: float) -> Result:
    """How far bfloat16 is from float32 on this device, as scripts/benchmarks/precision.py measures it."""
    file = plan.folder / "distances.json"
    flags = ["--checkpoint", str(plan.wide_audio), "--device", plan.device, "--sentences", "1", "--json", str(file)]
    run([sys.executable, "-m", "scripts.benchmarks.precision", *flags], deadline)
    return {"distances": json.loads(file.read_text(encoding="utf-8"))}


def run(command: list[str], deadline: float, environment: Mapping[str, str] | None = None) -> str:
    """The standard output of a program. Raises PartError if it fails, with the end of what it wrote, or is too slow."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=max(1.0, deadline - time.monotonic()),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PartError(f"out of time after {error.timeout:.0f} s") from error
    if done.returncode != 0:
        raise PartError((done.stdout + done.stderr)[-TAIL_CHARS:])
    return done.stdout


PARTS = (
    Part("machine", 10.0, machine),
    Part("stand-ins", 60.0, stand_ins),
    Part("tests", 90.0, tests),
    Part("stages", 90.0, stages),
    Part("distances", 60.0, distances),
)
"""Those before the listeners, in order."""
SERVER, SERVER_SECONDS, LEVEL_SECONDS = "server", 110.0, 25.0
"""The start of the server, which each pass with listeners needs, and a level of listeners."""


def level_name(listeners: int) -> str:
    return f"listeners {listeners}"


def missing_parts(plan: Plan, state: State) -> list[str]:
    """Those without a result; no listeners if there is no server for them."""
    names = [part.name for part in PARTS]
    if not (state.is_done(SERVER) and SERVER in state.failures()):
        names += map(level_name, plan.levels)
    return [name for name in names if not state.is_done(name)]


def run_pass(plan: Plan, state: State, deadline: float) -> None:
    """Runs the missing parts in order, while there is time for the next one; `deadline` is of the monotonic clock."""
    for part in PARTS:
        if state.is_done(part.name):
            continue
        end = time.monotonic() + part.seconds * plan.patience
        if end > deadline:
            return
        state.attempt(part.name, partial(part.run, plan, end))
    missing = [listeners for listeners in plan.levels if level_name(listeners) in missing_parts(plan, state)]
    if missing and time.monotonic() + (SERVER_SECONDS + LEVEL_SECONDS) * plan.patience < deadline:
        run_levels(plan, state, missing, deadline)


def run_levels(plan: Plan, state: State, missing: list[int], deadline: float) -> None:
    """Starts the server, and runs the missing levels while there is time."""
    texts = Texts()
    with ExitStack() as stack:
        servers: list[RunningServer] = []

        def start() -> Result:
            timeout = SERVER_SECONDS * plan.patience
            try:
                servers.append(
                    stack.enter_context(serve(plan.served, plan.device, plan.folder, max(plan.levels), timeout))
                )
            except ProcessError as error:
                log = (plan.folder / "server.log").read_text(encoding="utf-8", errors="replace")
                raise PartError(f"{error}\n{log[-TAIL_CHARS:]}") from error
            shapes = recorded_shapes(metrics_of(servers[0]))
            return {"ready_seconds": servers[0].ready_seconds, "device_mib": device_memory_mib(), **shapes}

        state.attempt(SERVER, start)
        for listeners in missing if servers else ():
            end = time.monotonic() + LEVEL_SECONDS * plan.patience
            if end > deadline:
                return
            each = 1 if plan.quick else 3
            state.attempt(level_name(listeners), partial(hear, servers[0], listeners, each, texts, end))
