"""Worker threads that boot guests: as many at once as processors and memory allow."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from foothold_lab.harness.guests.interruptible import InterruptibleGuest
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.runner.booted_guest import (
    BootedGuest,
    BootRequest,
    LiveGuests,
    boot_guest,
)
from foothold_lab.harness.runner.host_memory import available_memory
from foothold_lab.harness.runner.options import RunOptions
from foothold_lab.harness.runner.schedule import Job, Schedule

T = TypeVar("T")


class Pool(Protocol):
    """Gives booted guests to jobs."""

    @property
    def options(self) -> RunOptions:
        """How the run is done."""

    @property
    def emit(self) -> Emit:
        """Takes the events of the run. Any thread may call it."""

    def is_stopping(self) -> bool:
        """Say whether the run has been ended early."""

    def boot_names(self, group: str) -> Iterator[str]:
        """Name the boots for a group of cells, one after another: each has a directory."""

    def boot(self, request: BootRequest) -> contextlib.AbstractContextManager[BootedGuest]:
        """Return a booted guest for the time of the context. Raises as `boot_guest`."""


class GuestPool:
    """Runs jobs on worker threads, each with a processor for the guests that it boots.

    A guest is stopped at the end of its context.
    """

    def __init__(self, options: RunOptions, emit: Emit) -> None:
        self.options = options
        self.emit = emit
        self._live = LiveGuests()

    def is_stopping(self) -> bool:
        """Say whether the user has ended the run."""
        return self._live.is_stopping()

    def run(self, jobs: Sequence[Job[T]], work: Callable[[T, int], None]) -> None:
        """Call `work(task, processor)` for each job, until all jobs are done.

        On KeyboardInterrupt all guests and builds are stopped, the workers end, and it is raised
        again.
        """
        processors = self.options.processors
        schedule = Schedule(jobs, processors, available_memory())

        def worker() -> None:
            while True:
                with schedule.next() as job:
                    if job is None:
                        return
                    work(*job)

        threads = ThreadPoolExecutor(len(processors), thread_name_prefix="guest")
        try:
            for future in [threads.submit(worker) for _ in processors]:
                future.result()
        except KeyboardInterrupt:
            schedule.stop()
            self.stop()
            raise
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def stop(self) -> None:
        """Stop all guests and builds, and refuse further ones. Any thread may call it."""
        self._live.stop_starting()
        self.options.builder.stop()
        self._live.stop_all()

    def boot_names(self, group: str) -> Iterator[str]:
        """Name the boots for a group of cells."""
        return itertools.chain([group], (f"{group}+{n}" for n in itertools.count(1)))

    @contextlib.contextmanager
    def boot(self, request: BootRequest) -> Iterator[BootedGuest]:
        """Boot a guest; it is stopped at the end of the context. Raises as `boot_guest`.

        `stop` also ends the program of a guest that has no process of its own, such as native.
        """
        with boot_guest(request, self.options, self.emit, self._live) as booted:
            booted.guest = InterruptibleGuest(booted.guest, self.is_stopping).as_guest()
            yield booted
