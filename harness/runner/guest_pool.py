"""Worker threads that boot guests: as many at once as processors and memory allow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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


class GuestPool:
    """Runs jobs on worker threads, each with a processor for the guests that it boots."""

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
            self._live.stop_starting()
            self.options.builder.stop()
            self._live.stop_all()
            raise
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    @contextlib.contextmanager
    def boot(self, request: BootRequest) -> Iterator[BootedGuest]:
        """Boot a guest; it is stopped at the end of the context. Raises as `boot_guest`."""
        with boot_guest(request, self.options, self.emit, self._live) as booted:
            yield booted
