"""A job that has a slot, and its segments on their way from ids to sound: state, and how it is bounded.

Knows nothing about tensors, models, threads, or why anything changes: `scheduler` does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from glmtts.dsp.audio import Wave
from glmtts.engine.api import Job
from glmtts.engine.config import ChunkSchedule
from glmtts.engine.scheduling.chunking import Chunk, Chunker
from glmtts.engine.scheduling.job_handle import JobHandle
from glmtts.models.llm.history import History, Prompt, SpokenSegment
from glmtts.text.frontend import Segment


@dataclass(eq=False)
class Utterance:
    """One segment on its way from ids to sound."""

    segment: Segment
    prompt: Prompt
    chunker: Chunker
    fed: int = 0
    """Ids of its prompt that are in the slot."""
    tokens: list[int] = field(default_factory=list)
    over: bool = False
    """Whether all its tokens have been drawn."""
    block: Chunk | None = None
    """What is to be made sound of next."""
    sounded: int = 0
    """Tokens that have become sound."""
    after: tuple[SpokenSegment, ...] = ()
    """What is remembered once it has been said."""

    @property
    def prefill(self) -> int:
        """Ids that must be fed before the first step: all but the last, which the step itself feeds."""
        return len(self.prompt.text) + len(self.segment.ids) + len(self.prompt.speech)

    def look(self) -> Chunk | None:
        """The block that is to be made now, if there is one."""
        self.block = self.block or self.chunker.next_chunk(len(self.tokens), self.over)
        return self.block


@dataclass(eq=False)
class Stream:
    """A job that has a slot."""

    handle: JobHandle
    slot: int
    history: History
    ladder: ChunkSchedule
    since: float
    """When it was taken up or let begin, or its last sound was made."""
    todo: deque[Segment]
    drawn: Utterance | None = None
    """The segment whose tokens are being drawn."""
    spoken: deque[Utterance] = field(default_factory=deque)
    """Segments that have not wholly become sound, the one that sounds first."""
    speaking: bool = False
    """Whether it may sound."""
    due: float | None = None
    """When its first block became due."""
    kept: list[Wave] = field(default_factory=list)
    """Sound that was made before it might be heard."""

    @property
    def job(self) -> Job:
        return self.handle.job

    @property
    def lead(self) -> float:
        """Seconds of sound that are kept."""
        return sum(map(len, self.kept)) / self.job.sample_rate
