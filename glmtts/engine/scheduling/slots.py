"""Which job holds which slot of the KV cache, and whether there is one for another job."""

from __future__ import annotations

from collections.abc import Iterator

from glmtts.engine.api import Job
from glmtts.engine.scheduling.active_job import ActiveJob


class Slots:
    """The slots 0 … count − 1, for streams in at most `max_voices` voices at once; None: in any number."""

    def __init__(self, count: int, max_voices: int | None = None) -> None:
        self._free = list(range(count))[::-1]
        self._max_voices = max_voices
        self._jobs: dict[int, ActiveJob] = {}
        self._released: list[int] = []

    def __iter__(self) -> Iterator[ActiveJob]:
        """The active jobs, in order of admission."""
        return iter(list(self._jobs.values()))

    def __contains__(self, job: ActiveJob) -> bool:
        return self._jobs.get(job.slot) is job

    @property
    def num_free(self) -> int:
        return len(self._free)

    def admits(self, spec: Job) -> bool:
        """Whether a slot is free, and memory for the job's voice: streams keep their voice's prompt in the flow."""
        if not self._free or self._max_voices is None or not spec.stream:
            return bool(self._free)
        voices = {_voice(job.spec) for job in self if job.spec.stream}
        return len(voices | {_voice(spec)}) <= self._max_voices

    def reserve(self) -> int:
        """Takes the lowest free slot: a decode step costs as much as the rows up to the highest slot in use."""
        return self._free.pop()

    def add(self, job: ActiveJob) -> None:
        """Adds a job that has reserved its slot."""
        self._jobs[job.slot] = job

    def remove(self, job: ActiveJob) -> None:
        """Frees the slot of a job."""
        del self._jobs[job.slot]
        self._free.append(job.slot)
        self._free.sort(reverse=True)
        self._released.append(job.slot)

    def pop_released(self) -> list[int]:
        """Slots freed since the last call: whoever runs decode steps must stop these rows before the next one."""
        released, self._released = self._released, []
        return released


def _voice(spec: Job) -> tuple[str, int]:
    """What streams that share a voice's prompt have in common."""
    return spec.voice.digest, spec.sample_rate
