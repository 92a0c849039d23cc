"""Which guest is started when, and where: by what each needs, and by what the machine has.

A job is one boot and all that runs in it. The longest that fits is started first, on a processor of
its own; one that fits nowhere waits until memory is given back, and is started alone if need be, so
that a small machine is slow and not stuck.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
MARGIN = 0.8  # of the memory that is free: others live here too
_CGROUP = Path("/sys/fs/cgroup")


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


def memory_here() -> int:
    """Return how much memory guests may take on this machine, in MiB.

    What the kernel says is available, or what is left to our cgroup if that is less.
    """
    available = [_meminfo() or 1 << 40]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            free = int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text())
            available.append(max(free, 0))
    return int(min(available) * MARGIN) >> 20


def _meminfo() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return 0
