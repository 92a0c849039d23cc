"""Which guest is started when, and where: by what each needs, and by what the machine has.

A job is one boot and all that runs in it. The longest that fits is started first, on a processor of
its own; one that fits nowhere waits until memory is given back, and is started alone if need be, so
that a small machine is slow and not stuck. How much memory there is: `memory`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """Something to do: about how long it takes in seconds, what memory it needs in MiB."""

    what: T
    seconds: float
    memory: int


class Schedule(Generic[T]):
    """Hands out jobs to threads, each with a processor. `memory` is what there is, in MiB."""

    def __init__(self, jobs: Sequence[Job[T]], processors: Sequence[int], memory: int) -> None:
        self._waiting = sorted(jobs, key=lambda job: -job.seconds)  # stable: as the plan has them
        self._processors = list(processors)
        self._memory = memory
        self._running = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def next(self) -> Iterator[tuple[T, int] | None]:
        """The next job, and the processor for it; None when there is none left.

        Waits until one fits. What it was given is free again afterwards.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._fitting() is not None)
            job = self._fitting()
            if job is None:
                taken = None
            else:
                self._waiting.remove(job)
                taken = (job.what, self._processors.pop(0))
                self._memory -= job.memory
                self._running += 1
                self._changed.notify_all()
        try:
            yield taken
        finally:
            if job is not None and taken is not None:
                with self._changed:
                    self._processors.append(taken[1])
                    self._memory += job.memory
                    self._running -= 1
                    self._changed.notify_all()

    def stop(self) -> None:
        """Hand out no more."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def _fitting(self) -> Job[T] | None:
        if not self._waiting or not self._processors:
            return None
        for job in self._waiting:
            if job.memory <= self._memory:
                return job
        return None if self._running else self._waiting[-1]
