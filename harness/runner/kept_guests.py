"""Guests that stay booted from one run to the next, so that a run takes the time of its cells.

A guest is replaced when a cell has damaged it, or when a program no longer brings a file that it has
brought before. Guests for which the machine has no memory are booted for each run instead.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.interruptible import InterruptibleGuest
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.model import events
from foothold_lab.harness.model.errors import FootholdError, GuestError
from foothold_lab.harness.model.events import AnyEvent, Emit
from foothold_lab.harness.runner.booted_guest import (
    BootedGuest,
    BootRequest,
    LiveGuests,
    boot_guest,
)
from foothold_lab.harness.runner.guest_cells import CellGroup, Results, run_group
from foothold_lab.harness.runner.host_memory import available_memory
from foothold_lab.harness.runner.options import RunOptions
from foothold_lab.harness.runner.run import estimate
from foothold_lab.harness.runner.schedule import Job
from foothold_lab.images.errors import ImageError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A guest that is booted. `arrival` has the events of its boot, `end` stops it."""

    booted: BootedGuest
    boot: str
    files: frozenset[str]
    arrival: Sequence[AnyEvent]
    end: Callable[[], None]


class KeptGuests:
    """The guests that are booted now, over many runs. Stopped at the end of the context."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}  # by the name of the group
        self._starting: dict[str, Future[None]] = {}
        self._names: dict[str, Iterator[int]] = defaultdict(itertools.count)
        self._places: dict[str, tuple[int, bool]] = {}  # processor, and whether it is kept
        self._live = LiveGuests()
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(thread_name_prefix="replaced guest")

    def __enter__(self) -> KeptGuests:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def boots(self) -> tuple[str, ...]:
        """The boots of the guests that are booted now."""
        with self._guard:
            return tuple(sorted(each.boot for each in self._kept.values()))

    def close(self) -> None:
        """Stop all guests."""
        self._live.stop_all()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for group in list(self._kept):
            self.end(group)

    def place(self, jobs: Sequence[Job[CellGroup]], processors: Sequence[int]) -> None:
        """Give each new guest a processor, and decide whether it is kept, in the order of `jobs`.

        A guest stays on its processor, so that all processors get about the same work.
        """
        free = available_memory()
        work = dict.fromkeys(processors, 0.0)
        for job in sorted(jobs, key=lambda each: -each.seconds):
            group = job.task.name
            if group not in self._places:
                # what a program takes of the memory of this machine is returned with its end
                memory = job.memory if job.task.kind.capabilities.own_kernel else 0
                fits = memory <= free
                free -= memory if fits else 0
                self._places[group] = (min(work, key=lambda each: work[each]), fits)
            processor, _ = self._places[group]
            work[processor] = work.get(processor, 0.0) + job.seconds

    def placed(self, group: str) -> tuple[int, bool]:
        """Return the processor of a guest, and whether it is kept."""
        return self._places[group]

    def next_boot(self, group: str) -> str:
        """Name the boot that a group uses next: the one that is kept, or a new one."""
        with self._guard:
            if kept := self._kept.get(group):
                return kept.boot
            number = next(self._names[group])
            return f"{group}+{number}" if number else group

    def take(self, request: BootRequest, options: RunOptions, emit: Emit) -> BootedGuest:
        """Return the kept guest for a request with the files of its subjects, or boot one.

        Emits the events of its boot in either case. Raises as `boot_guest`.
        """
        group = request.group
        files = _files(request)
        kept = self._kept.get(group)
        if kept and not (
            kept.boot == request.boot and kept.files <= files and _renew(kept, request)
        ):
            self.end(group)
            kept = None
        if kept:
            for event in kept.arrival:
                emit(event)
        else:
            kept = self._boot(request, options, emit)
        kept.booted.options = options
        self._kept[group] = replace(kept, files=files)
        return kept.booted

    def end(self, group: str) -> None:
        """Stop a guest, and remove its directory."""
        with self._guard:
            kept = self._kept.pop(group, None)
        if kept:
            with contextlib.suppress(FootholdError, OSError):
                kept.end()
            shutil.rmtree(kept.booted.directory, ignore_errors=True)

    def replace(self, requests: Sequence[BootRequest], options: RunOptions) -> None:
        """Boot guests for later runs, in threads of their own."""
        for request in requests:
            if request.group not in self._kept and not self._live.is_stopping():
                named = replace(request, boot=self.next_boot(request.group))
                boot = self._threads.submit(self._boot_quietly, named, options)
                self._starting[request.group] = boot

    def wait_for(self, group: str) -> None:
        """Wait for the guest of a group that is being booted."""
        if starting := self._starting.pop(group, None):
            starting.result()

    def _boot_quietly(self, request: BootRequest, options: RunOptions) -> None:
        """Boot a guest. Its failure is reported by the run that needs it, which tries again."""
        with contextlib.suppress(FootholdError, ImageError, OSError):
            self._boot(request, options, lambda _: None)

    def _boot(self, request: BootRequest, options: RunOptions, emit: Emit) -> _Kept:
        arrival: list[AnyEvent] = []

        def note(event: AnyEvent) -> None:
            if isinstance(event, events.GuestBooting | events.GuestReady):
                arrival.append(event)
                emit(event)

        before = {each.place: subjects.content(each) for each in request.subjects}
        with contextlib.ExitStack() as stack:
            booted = stack.enter_context(boot_guest(request, options, note, self._live))
            for subject in request.subjects:
                # of files that have changed during the boot, it is not known which the guest has
                if before[subject.place] == (now := subjects.content(subject)):
                    booted.deployed[subject.place] = now
            kept = _Kept(
                booted=booted,
                boot=request.boot,
                files=_files(request),
                arrival=arrival,
                end=stack.pop_all().close,
            )
        with self._guard:
            self._kept[request.group] = kept
        return kept


class KeptWorkforce:
    """Runs groups of cells in guests that are kept.

    `is_ended` says that the run is not needed any longer: it ends at once, and the guests stay.
    """

    def __init__(
        self,
        guests: KeptGuests,
        options: RunOptions,
        emit: Emit,
        is_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self.options = options
        self.emit = emit
        self.is_stopping = is_ended
        self._guests = guests
        self._requests: dict[str, BootRequest] = {}

    def run(self, groups: Sequence[CellGroup], results: Results) -> None:
        """Run groups side by side: the guests of a processor one after another, quick ones first.
        Then those that are not kept.
        """
        jobs = [estimate(group, self.options) for group in groups]
        self._guests.place(jobs, self.options.processors)
        lanes: dict[int, list[CellGroup]] = defaultdict(list)
        late = []
        for job in sorted(jobs, key=lambda each: each.task.kind.cell_seconds):
            processor, is_kept = self._guests.placed(job.task.name)
            if is_kept:
                lanes[processor].append(job.task)
            else:
                late.append((job.task, processor))

        def run_lane(processor: int) -> None:
            for group in lanes[processor]:
                if not self.is_stopping():
                    run_group(group, processor, self, results)

        with ThreadPoolExecutor(max(len(lanes), 1), thread_name_prefix="guest") as threads:
            for done in [threads.submit(run_lane, each) for each in list(lanes)]:
                done.result()
        for group, processor in late:
            run_group(group, processor, self, results)
        lost = [each for each in self._requests.values() if self._guests.placed(each.group)[1]]
        self._guests.replace(lost, self.options)

    def boot_names(self, group: str) -> Iterator[str]:
        """Name the boots for a group of cells; the one that is kept, if there is one."""
        self._guests.wait_for(group)
        while True:
            yield self._guests.next_boot(group)

    @contextlib.contextmanager
    def boot(self, request: BootRequest) -> Iterator[BootedGuest]:
        """Return the guest for a request. It is stopped if it is damaged afterwards, or not kept."""
        booted = self._guests.take(request, self.options, self.emit)
        self._requests[request.group] = request
        booted.is_stopping = self.is_stopping
        booted.guest = InterruptibleGuest(booted.guest, self.is_stopping).as_guest()
        try:
            yield booted
        finally:
            _, is_kept = self._guests.placed(request.group)
            if booted.damaged or not is_kept:
                self._guests.end(request.group)


def _renew(kept: _Kept, request: BootRequest) -> bool:
    """Give a guest the files of the subjects as they are now; say whether it is still alive."""
    booted = kept.booted
    try:
        if isinstance(machine := InterruptibleGuest.unwrapped(booted.guest), VirtualMachine):
            assert machine.process_id
        for subject in request.subjects:
            booted.deploy(subject)
    except GuestError:
        return False
    booted.verdicts.clear()
    booted.missing_files.clear()
    return True


def _files(request: BootRequest) -> frozenset[str]:
    """Return the names of all files that the subjects bring."""
    return frozenset(
        f"{subject.place}/{name}"
        for subject in request.subjects
        for name in (*subject.files, *subject.links)
    )
