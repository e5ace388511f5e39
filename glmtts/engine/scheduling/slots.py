"""Which job holds which slot of the KV cache."""

from __future__ import annotations

from collections.abc import Iterator

from glmtts.engine.scheduling.active_job import ActiveJob


class Slots:
    """The slots 0 … count − 1."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))[::-1]
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
