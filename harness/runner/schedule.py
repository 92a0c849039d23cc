"""Which job starts when, and on which processor.

A job is one boot and all cells that run in it. The longest job that fits into memory starts first,
on a processor of its own. A job that does not fit waits until memory is returned. A job that needs
more memory than there is runs alone, so that a small machine is slow but not stuck. How much memory
there is: `host_memory`.
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
    """A task, the estimated time that it takes in seconds, and the memory that it needs in MiB."""

    task: T
    seconds: float
    memory: int


class Schedule(Generic[T]):
    """Gives jobs to threads, each with a processor. `memory` is what guests may use, in MiB."""

    def __init__(self, jobs: Sequence[Job[T]], processors: Sequence[int], memory: int) -> None:
        self._waiting = sorted(
            jobs, key=lambda job: -job.seconds
        )  # stable: keeps the order of the plan
        self._processors = list(processors)
        self._memory = memory
        self._running = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def next(self) -> Iterator[tuple[T, int] | None]:
        """Wait for a job that fits; return its task and processor, or None if no jobs are left.

        Processor and memory are free again at the end of the context.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._fitting() is not None)
            job = self._fitting()
            if job is None:
                given = None
            else:
                self._waiting.remove(job)
                given = (job.task, self._processors.pop(0))
                self._memory -= job.memory
                self._running += 1
                self._changed.notify_all()
        try:
            yield given
        finally:
            if job is not None and given is not None:
                with self._changed:
                    self._processors.append(given[1])
                    self._memory += job.memory
                    self._running -= 1
                    self._changed.notify_all()

    def stop(self) -> None:
        """Drop all waiting jobs."""
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
