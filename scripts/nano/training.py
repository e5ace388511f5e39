"""What the stages share: a step loop that resumes exactly, schedules, averages of weights, progress.

Randomness is a function of (stage, step) alone, so a resumed run draws what an uninterrupted one would have drawn.
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
    """The options that every stage has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("nano-work"), help="corpus, states and results")
    parser.add_argument("--extra", type=Path, help="folder with manifest.jsonl and FLAC files of more voices")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def with_rate(parser: argparse.ArgumentParser, peak: float) -> argparse.ArgumentParser:
    """The peak learning rate as an option: lower where a stage goes on from trained weights."""
    parser.add_argument("--rate", type=float, default=peak, help="peak learning rate (default %(default)s)")
    return parser


def state_path(work: Path, stage: str) -> Path:
    """Where a stage's state lies."""
    return work / "states" / f"{stage}.pt"


def save_state(
    path: Path, modules: Mapping[str, nn.Module], step: int = 0, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Writes what a Run resumes from, atomically. Modules that it leaves out, and an optimizer, begin anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimizer": None if optimizer is None else optimizer.state_dict(),
    }
    write_state(path, state)


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """A state as it was loaded, or made, in one go: whoever reads meanwhile gets the one before."""
    torch.save(state, path.with_suffix(".partial"))
    path.with_suffix(".partial").rename(path)


class Run:
    """One stage's training: `modules` and `optimizer` live in `states/STAGE.pt`, written every two minutes."""

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
        """Writes the state at once, atomically."""
        save_state(self.path, self.modules, self.step, self.optimizer)

    def __iter__(self) -> Iterator[tuple[int, np.random.Generator]]:
        """Yields (step, its own random generator) until `steps`; torch's generator is seeded alike."""
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

    def descend(self, loss: torch.Tensor, rate: float, *, clip: float = 1.0) -> None:
        """One optimizer step at learning rate `rate`, gradients clipped to norm `clip`; a bad one is left out."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if torch.isfinite(nn.utils.clip_grad_norm_(parameters, clip)):
            self.optimizer.step()

    def show(self, **losses: torch.Tensor) -> None:
        """Running means for the progress bar."""
        for name, value in losses.items():
            old = self._shown.get(name)
            self._shown[name] = float(value.detach()) if old is None else 0.98 * old + 0.02 * float(value.detach())


def cosine(step: int, steps: int, peak: float, *, warm: int = 200, floor: float = 0.05) -> float:
    """Learning rate: a linear warm-up, then half a cosine from `peak` down to `floor` × `peak`."""
    if step < warm:
        return peak * (step + 1) / warm
    phase = min((step - warm) / max(steps - warm, 1), 1.0)
    return peak * (floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * phase)))


def start(args: argparse.Namespace) -> None:
    """Threads, and no denormal numbers, which are slow."""
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)


def drop_out(parts: Iterable[nn.Module], share: float) -> None:
    """From now on a share of what these modules put out is left out at random, while they are in training mode."""

    def drop(module: nn.Module, _given: Any, out: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(out, share, module.training)

    for part in parts:
        part.register_forward_hook(drop)


def mixed_precision() -> torch.autocast:
    """A context for forward passes: bfloat16 products where this CPU makes them faster than float32 ones.

    With AMX they are several times as fast; without AVX-512 many times slower.
    """
    took = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - begun)
        took[dtype] = min(times)
    return torch.autocast("cpu", torch.bfloat16, enabled=took[torch.bfloat16] < took[torch.float32])


class Average(nn.Module):
    """Exponential moving average of a module's weights, kept as one more module of a Run."""

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
        """The averaged weights under the module's own names."""
        return {name.replace("/", "."): p.detach() for name, p in self.values.items()}


def averaged(work: Path, stage: str, module: nn.Module) -> dict[str, Any]:
    """`module`'s state dict with the stage's averaged weights in it."""
    state = torch.load(state_path(work, stage), weights_only=True)["modules"]["average"]
    average = Average(module, 0.0)
    average.load_state_dict(state)
    return {**module.state_dict(), **average.state()}
