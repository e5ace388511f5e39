"""Shared by the training stages: a resumable training loop, learning rate schedules, averaged weights, progress.

Randomness is a function of (stage, step) alone, so a resumed run sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import math
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

SAVE_SECONDS = 120.0


def arguments(doc: str | None, *, steps: int) -> argparse.ArgumentParser:
    """The options of every stage."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"), help="folder of corpus, states and results")
    parser.add_argument("--extra", type=Path, help="folder with manifest.jsonl and FLAC files of additional voices")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def with_learning_rate(parser: argparse.ArgumentParser, peak: float) -> argparse.ArgumentParser:
    """Adds the peak learning rate as an option: choose a lower one to continue from trained weights."""
    parser.add_argument("--rate", type=float, default=peak, help="peak learning rate (default: %(default)s)")
    return parser


def state_path(work: Path, stage: str) -> Path:
    """The file of a stage's state."""
    return work / "states" / f"{stage}.pt"


def save_state(
    path: Path, modules: Mapping[str, nn.Module], step: int = 0, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Writes a state for a Run to resume from, atomically. Modules and optimizers not included start afresh."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimizer": None if optimizer is None else optimizer.state_dict(),
    }
    write_state(path, state)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replaces a state file atomically."""
    torch.save(state, path.with_suffix(".partial"))
    path.with_suffix(".partial").rename(path)


class Run:
    """The training loop of a stage. Resumes from `states/STAGE.pt`, which it writes every two minutes."""

    def __init__(
        self, work: Path, stage: str, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, steps: int
    ) -> None:
        self.path = state_path(work, stage)
        self.stage, self.modules, self.optimizer, self.steps = stage, modules, optimizer, steps
        self.step = 0
        self._shown: dict[str, float] = {}
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.step = state["step"]
            for name, weights in state["modules"].items():
                modules[name].load_state_dict(weights)
            if state["optimizer"] is not None:
                optimizer.load_state_dict(state["optimizer"])

    def save(self) -> None:
        """Writes the state atomically."""
        save_state(self.path, self.modules, self.step, self.optimizer)

    def __iter__(self) -> Iterator[tuple[int, np.random.Generator]]:
        """Yields (step, random generator of that step) until `steps`; seeds torch's generator with the same number."""
        saved = time.monotonic()
        with tqdm(total=self.steps, initial=self.step, desc=self.stage, mininterval=5) as bar:
            while self.step < self.steps:
                seed = zlib.crc32(f"{self.stage}:{self.step}".encode())
                torch.manual_seed(seed)
                yield self.step, np.random.default_rng(seed)
                self.step += 1
                bar.update()
                if self.step % 10 == 0:
                    bar.set_postfix({k: f"{v:.3f}" for k, v in self._shown.items()}, refresh=False)
                if time.monotonic() - saved > SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def optimize(self, loss: torch.Tensor, rate: float, *, clip: float = 1.0) -> None:
        """One optimizer step at learning rate `rate`, with gradients clipped to norm `clip`; skipped if not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if torch.isfinite(nn.utils.clip_grad_norm_(parameters, clip)):
            self.optimizer.step()

    def show(self, **losses: torch.Tensor) -> None:
        """Updates the running means in the progress bar."""
        for name, value in losses.items():
            old = self._shown.get(name)
            self._shown[name] = float(value.detach()) if old is None else 0.98 * old + 0.02 * float(value.detach())


def cosine(step: int, steps: int, peak: float, *, warm: int = 200, floor: float = 0.05) -> float:
    """Learning rate: a linear warm-up, then half a cosine from `peak` down to `floor` × `peak`."""
    if step < warm:
        return peak * (step + 1) / warm
    phase = min((step - warm) / max(steps - warm, 1), 1.0)
    return peak * (floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * phase)))


def configure_torch(args: argparse.Namespace) -> None:
    """Sets the number of threads, and turns off denormal numbers, which are slow."""
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)


def add_dropout(parts: Iterable[nn.Module], share: float) -> None:
    """Adds dropout to the outputs of these modules, while they are in training mode."""

    def drop(module: nn.Module, _inputs: Any, out: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(out, share, module.training)

    for part in parts:
        part.register_forward_hook(drop)


def mixed_precision() -> torch.autocast:
    """An autocast context for forward passes: bfloat16 if this CPU multiplies it faster than float32.

    With AMX it is several times as fast; without AVX-512 many times slower.
    """
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return torch.autocast("cpu", torch.bfloat16, enabled=seconds[torch.bfloat16] < seconds[torch.float32])


class Average(nn.Module):
    """Exponential moving average of a module's weights, saved as one more module of a Run."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.values = nn.ParameterDict(
            {n.replace(".", "/"): nn.Parameter(p.detach().clone(), False) for n, p in module.named_parameters()}
        )

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Moves towards the module's weights; faster in the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            self.values[name.replace(".", "/")].lerp_(parameter, 1 - decay)

    def state(self) -> dict[str, Any]:
        """The averaged weights under the module's parameter names."""
        return {name.replace("/", "."): p.detach() for name, p in self.values.items()}


def averaged(work: Path, stage: str, module: nn.Module) -> dict[str, Any]:
    """`module`'s state dict with the stage's averaged weights."""
    state = torch.load(state_path(work, stage), weights_only=True)["modules"]["average"]
    average = Average(module, 0.0)
    average.load_state_dict(state)
    return {**module.state_dict(), **average.state()}
