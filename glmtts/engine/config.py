"""How an engine is to be run: sizes, bounds and how many threads. No torch, so that a server can hold it."""

from __future__ import annotations

from dataclasses import dataclass, field

from glmtts.engine.scheduling.active_job import Limits
from glmtts.engine.scheduling.chunking import Ladder


@dataclass(frozen=True)
class SoundLimits:
    """frames: of one flow batch, padding included (a single block may have more). piece: frames that a vocoder makes
    in one go. prompt: tokens of the voice that stand before a listener's blocks, None for all there are. voices: bytes
    that may be kept of what the flow remembers of voices."""

    frames: int = 400
    piece: int = 400
    prompt: int | None = 125
    voices: int = 512 * 2**20


@dataclass(frozen=True)
class Options:
    """slots: jobs that are drawn at once. waiting: jobs that may stand in line behind them. threads: one alone draws
    and makes sound in turn; of more, one draws and the others make sound, each of other jobs. deterministic: a job's
    tokens do not depend on its neighbours (fixed shapes, float32), which costs speed. threads and sound: None is what
    suits the device."""

    slots: int = 16
    waiting: int = 64
    threads: int | None = None
    deterministic: bool = False
    ladder: Ladder = field(default_factory=Ladder)
    limits: Limits = field(default_factory=Limits)
    sound: SoundLimits | None = None

    def __post_init__(self) -> None:
        if self.slots < 1 or self.waiting < 0 or (self.threads is not None and self.threads < 1):
            raise ValueError(f"{self}: slots from 1, waiting from 0 and threads from 1 are wanted")


DEFAULTS = Options()
