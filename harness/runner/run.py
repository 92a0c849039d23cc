"""The orchestrator: cells go in, events come out. What is common to all guests is done here."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foothold_lab.harness import evidence, subjects
from foothold_lab.harness.guests.base import BOOT_SECONDS, Guest, GuestConfig, Support
from foothold_lab.harness.guests.catalogue import NO_OWN, GuestType, catalogue
from foothold_lab.harness.guests.custom_kernels import OwnKernels
from foothold_lab.harness.guests.limit_support import measure, support_for
from foothold_lab.harness.model import events, provenance
from foothold_lab.harness.model.cells import ALLOCATOR, Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import (
    Blame,
    FootholdError,
    GuestError,
    InfrastructureError,
    UnsupportedError,
)
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner.execution import CELL_SECONDS, deadline_for, keep, run_trial
from foothold_lab.harness.runner.host_memory import memory_here
from foothold_lab.harness.runner.retries import Tries
from foothold_lab.harness.runner.schedule import Job, Schedule
from foothold_lab.harness.runner.unasked import prediction, unsupported
from foothold_lab.harness.subjects import bytecode
from foothold_lab.harness.subjects.subject import Root, Subject
from foothold_lab.images.builder import Builder
from foothold_lab.images.errors import ImageError

if TYPE_CHECKING:
    from foothold_lab.harness.interactive.guest_server import Kept

BUILD_SECONDS = 0.2  # that images take for each MiB of packages
PROGRAM_MEMORY = 2048  # MiB of a guest for any program; a UML guest takes what is used of it


@dataclass(frozen=True)
class Options:
    """How a run is done. `jobs` guests live at once, each pinned to a processor of its own.

    With `trace`, the subject's system calls are the third witness. `subjects` are what runs in
    cells, by name. A cell that does not pass is asked up to `retries` times again. `handed`
    has the subjects' files, as they were once; None: what they are now. `keeper` may take guests
    over. `here` is a directory of the host to have at hand in a guest, `memory` what a guest has,
    in MiB, if not what its subjects need.
    """

    directory: Path
    builder: Builder
    own: OwnKernels = NO_OWN
    jobs: int = 0
    fresh: bool = False
    retries: int = 0
    trace: bool = True
    subjects: Mapping[str, Subject] = field(default_factory=lambda: {ALLOCATOR: subjects.ALLOCATOR})
    handed: Path | None = None
    keeper: Kept | None = None
    here: Path | None = None
    memory: int | None = None
    require: frozenset[str] = frozenset()
    plan: str = ""
    command: tuple[str, ...] = ()

    @property
    def processors(self) -> list[int]:
        """The processors that guests are pinned to, one for each job."""
        usable = sorted(os.sched_getaffinity(0))
        wanted = self.jobs or len(usable)
        return [usable[i % len(usable)] for i in range(wanted)]


@dataclass(frozen=True)
class Summary:
    """What a run came to: cells by result, required guests that were not to be had, and who is to
    blame for cells that have no answer.
    """

    counts: dict[str, int]
    interrupted: bool = False
    blames: frozenset[Blame] = frozenset()
    required_missing: tuple[str, ...] = ()


def run(cells: Sequence[Cell], options: Options, emit: Emit) -> Summary:
    """Run all cells, one boot for all cells of a guest, and tell `emit` everything.

    On KeyboardInterrupt every guest is ended, cells without a verdict are left
    out, and the summary says so.
    """
    return _Run(options, emit).all(cells)


@dataclass(frozen=True)
class Opened:
    """A guest that answers, and can be asked: one cell after another, of any of its subjects."""

    guest: Guest
    facts: Facts
    _kind: GuestType
    _run: _Run

    def ask(self, cell: Cell, subject: Subject, directory: Path) -> Verdict:
        """Take one cell to its verdict; its evidence is kept below `directory`.

        Raises UsageError if a file of the subject's cannot be read.
        """
        support = self._run.can_run(self._kind, subject)
        if not support.ok:
            return unsupported(cell, support.reason, support.remedy)
        share = self._run.options.directory / "guests" / self.guest.name / "share"
        subjects.copy_into_guest(
            self.guest, share, subject, Deadline.after(CELL_SECONDS * self.guest.scale)
        )
        options = replace(self._run.options, directory=directory, subjects={cell.subject: subject})
        return _Run(options, self._run.emit).ask(cell, self.guest, self.facts)


@contextlib.contextmanager
def opened(guest: str, options: Options, emit: Emit, cpu: int | None = None) -> Iterator[Opened]:
    """Boot one guest, by canonical name, on a processor; it is gone afterwards.

    Raises UnsupportedError if this machine cannot, GuestError if it does not come up.
    """
    kind = catalogue(options.builder, options.own)[guest]
    one = _Run(options, emit)
    with one.booted(kind, guest, options.processors[0], list(options.subjects.values())) as (
        booted,
        facts,
    ):
        yield Opened(booted, facts, kind, one)


@dataclass
class _Run:
    options: Options
    emit: Emit
    counts: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    _blames: set[Blame] = field(default_factory=set)
    _alive: set[Guest] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def all(self, cells: Sequence[Cell]) -> Summary:
        started = time.monotonic()
        self.emit(
            events.RunStarted(
                run=self.options.directory.name,
                plan=self.options.plan,
                directory=str(self.options.directory),
                command=self.options.command,
                cells=tuple(cells),
                provenance=provenance.here(),
                trace=self.options.trace,
                subjects={
                    name: subjects.digest(self.options.subjects[name])
                    for name in sorted({cell.subject for cell in cells})
                },
            )
        )
        kinds = catalogue(self.options.builder, self.options.own)
        groups: dict[tuple[str, Root], list[Cell]] = {}
        for cell in cells:
            root = self.options.subjects[cell.subject].root
            groups.setdefault((cell.guest, root), []).append(cell)
        processors = self.options.processors
        jobs = [self._job(kinds[name], group) for (name, _), group in groups.items()]
        schedule = Schedule(jobs, processors, memory_here())
        interrupted = False
        pool = ThreadPoolExecutor(len(processors), thread_name_prefix="guest")
        try:
            for future in [pool.submit(self._jobs, schedule) for _ in processors]:
                future.result()
        except KeyboardInterrupt:
            interrupted = True
            schedule.stop()
            self._end_everything()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        blames = frozenset(self._blames)
        summary = Summary(dict(self.counts), interrupted, blames, tuple(self.missing))
        seconds = time.monotonic() - started
        self.emit(
            events.RunFinished(seconds=seconds, counts=summary.counts, interrupted=interrupted)
        )
        return summary

    def _job(self, kind: GuestType, cells: list[Cell]) -> Job[tuple[GuestType, list[Cell]]]:
        memory = kind.memory
        if memory and not all(self.options.subjects[cell.subject].reports for cell in cells):
            memory += PROGRAM_MEMORY
        # a first run is made of builds, and those of downloads
        build = (self.options.builder.to_download(kind.images) >> 20) * BUILD_SECONDS
        return Job((kind, cells), build + kind.boot + kind.weight * len(cells), memory)

    def _jobs(self, schedule: Schedule[tuple[GuestType, list[Cell]]]) -> None:
        """What one thread does: one guest after another."""
        while True:
            with schedule.next() as job:
                if job is None:
                    return
                (kind, cells), cpu = job
                self._guest(kind, cells, cpu)

    @contextlib.contextmanager
    def booted(
        self,
        kind: GuestType,
        label: str,
        cpu: int,
        deployed: Sequence[Subject] = (subjects.ALLOCATOR,),
    ) -> Iterator[tuple[Guest, Facts]]:
        """A guest that answers, with these subjects, which have one root; gone afterwards. `label`
        names its directory in the run.
        """
        directory = self.options.directory / "guests" / label
        share = directory / "share"
        share.mkdir(parents=True, exist_ok=True)
        builder, port = self.options.builder, kind.port
        memory = self.options.memory
        if memory is None and not all(each.reports for each in deployed):
            memory = PROGRAM_MEMORY
        shown = tuple(dict.fromkeys(each.image for each in deployed if each.image))
        place = GuestConfig(
            directory,
            share,
            builder,
            cpu,
            deployed[0].root,
            memory,
            self.options.here,
            images=shown,
        )
        guest = kind.make(place)
        support = guest.supported()
        if not support.ok:
            raise UnsupportedError(support.reason, support.remedy)
        # before the deadline of the boot begins
        images = {name: builder.image(name).name for name in kind.needs(shown)}
        images |= {str(path): subjects.hash_of(path) for path in kind.files}
        if self.options.handed:
            shutil.copytree(self.options.handed, share, dirs_exist_ok=True)
        else:
            # where all of it is carried in, only what that guest's Python needs
            compiled = bytecode.for_guest(port, builder)
            subjects.deploy(share, deployed, compiled, sources=guest.shares_live)
        subjects.remember(directory, deployed)
        started = time.monotonic()
        with self._guard:
            if self._stopping.is_set():
                raise InfrastructureError("the run is being ended")
            self._alive.add(guest)
        try:
            self.emit(events.GuestBooting(guest=kind.name, boot=label, images=images))
            facts = guest.boot(Deadline.after(BOOT_SECONDS * max(1.0, guest.scale / 3)))
            record = guest.boot_record
            self.emit(
                events.GuestReady(
                    guest=kind.name,
                    seconds=time.monotonic() - started,
                    facts=facts,
                    argv=record.argv,
                    provenance=record.provenance,
                    notes=tuple(record.notes),
                    boot=label,
                )
            )
            yield guest, facts
        finally:
            guest.stop()
            with self._guard:
                self._alive.discard(guest)
            self.emit(events.GuestStopped(guest=kind.name, boot=label))

    def _guest(self, kind: GuestType, cells: list[Cell], cpu: int) -> None:
        """Take cells of one guest, whose subjects have one root, to their verdicts, whatever
        happens to the guest.
        """
        if not (cells := list(self._suited(kind, cells))):
            return
        tries = Tries(cells, self.options.retries, self.options.fresh)
        deployed = [self.options.subjects[name] for name in dict.fromkeys(c.subject for c in cells)]
        labels = _labels(kind.name, deployed[0].root)
        while (batch := tries.batch()) and not self._stopping.is_set():
            label = next(labels)
            try:
                with contextlib.ExitStack() as stack:
                    guest, facts = stack.enter_context(self.booted(kind, label, cpu, deployed))
                    verdicts = []
                    for cell in batch:
                        if self._stopping.is_set():
                            break
                        verdict = self.ask(cell, guest, facts, tries.number(cell))
                        if verdict.result is Result.ERROR and self._stopping.is_set():
                            break  # no answer: its guest was ended under it
                        self._take(tries, cell, verdict, label)
                        if verdict.blame is Blame.GUEST:
                            break  # a guest that has been hurt is not used again
                        verdicts.append(verdict)
                    else:
                        keeper = self.options.keeper
                        if keeper and keeper.wants(verdicts):
                            keeper.take(label, guest, facts, stack.pop_all().close)
            except (FootholdError, ImageError, OSError) as error:
                if not self._stopping.is_set():
                    self._lost(kind, tries, error, label)
        for verdict in tries.give_up():
            self._finish(verdict)

    def _suited(self, kind: GuestType, cells: Sequence[Cell]) -> Iterator[Cell]:
        """Leave out the cells whose subject is for another machine: they have their verdict."""
        for cell in cells:
            support = self.can_run(kind, self.options.subjects[cell.subject])
            if support.ok:
                yield cell
            else:
                self._finish(unsupported(cell, support.reason, support.remedy))

    def can_run(self, kind: GuestType, subject: Subject) -> Support:
        builder = self.options.builder
        kinds = catalogue(builder, self.options.own).values()
        others = [each.name for each in kinds if subject.machine in each.machines]
        if subject.interpreter and kind.port:
            root = builder.image(kind.port.image("root"))
            if lack := subjects.lacks(subject, root):
                return Support(False, lack, "take --root host, /bin/sh or the root's Python")
        return subjects.can_run(subject, kind.name, kind.machines, others)

    def ask(self, cell: Cell, guest: Guest, facts: Facts, number: int = 1) -> Verdict:
        self.emit(events.CellStarted(cell=cell.id))
        started = time.monotonic()
        directory = self.options.directory / "cells" / cell.id
        if number > 1:
            directory /= f"try-{number}"
        trace, notes = self._traceable(guest, facts, cell)
        subject = self.options.subjects[cell.subject]
        if not (support := support_for(guest, facts, cell.limits, subject.machine)).ok:
            return unsupported(cell, support.reason, support.remedy)
        deadline = deadline_for(cell, subject, guest)
        predicted = None
        try:
            facts = measure(guest, facts, cell.limits, deadline)
            if subject.reports:
                predicted, notes = prediction(cell, facts, notes)
            trial = run_trial(
                cell, subject, guest, deadline, trace=trace, pointers=facts.pointer_size
            )
        except UnsupportedError as error:
            return unsupported(cell, str(error), error.remedy)
        except FootholdError as error:
            console = error.console if isinstance(error, GuestError) else guest.diagnose()
            return Verdict(
                cell=cell.id,
                result=Result.ERROR,
                seconds=time.monotonic() - started,
                expected=cell.expected,
                findings=(str(error),),
                blame=error.blame,
                remedy=error.remedy,
                notes=notes,
                console=console,
                command=cell.command,
                artefacts=str(directory),
            )
        keep(trial, directory, reports=subject.reports)
        if trial.untraced:
            notes = (*notes, "run again without a tracer, under which it did not come to an end")
        return evidence.judge(
            cell,
            predicted,
            trial.observation,
            seconds=time.monotonic() - started,
            notes=notes,
            console=guest.diagnose(),
            artefacts=str(directory),
        )

    def _traceable(self, guest: Guest, facts: Facts, cell: Cell) -> tuple[bool, tuple[str, ...]]:
        """Say whether a cell's subject is traced, and what its verdict has to note."""
        notes = tuple(guest.boot_record.notes)
        if not (self.options.trace and cell.trace):
            return False, (*notes, "not traced: report and maps are the witnesses")
        if facts.tools.ptrace and guest.tracer == "strace":
            return False, (*notes, f"not traced: ptrace is refused (errno {facts.tools.ptrace})")
        return True, notes

    def _take(self, tries: Tries, cell: Cell, verdict: Verdict, boot: str, **how: bool) -> None:
        if final := tries.take(cell, verdict, **how):
            self._finish(final, boot)
        else:
            self.emit(events.CellRetried(cell=cell.id, attempt=verdict.as_attempt(), boot=boot))

    def _finish(self, verdict: Verdict, boot: str = "") -> None:
        with self._guard:
            self.counts[verdict.result.value] += 1
            if verdict.blame and verdict.result is not Result.FAIL:
                self._blames.add(verdict.blame)
        self.emit(events.CellFinished(cell=verdict.cell, verdict=verdict, boot=boot))

    def _lost(self, kind: GuestType, tries: Tries, error: Exception, boot: str) -> None:
        """The guest was not to be had: none of its cells can be answered now."""
        blame = error.blame if isinstance(error, FootholdError) else Blame.INFRASTRUCTURE
        remedy = error.remedy if isinstance(error, FootholdError | ImageError) else ""
        console = error.console if isinstance(error, GuestError) else ""
        argv = error.argv if isinstance(error, GuestError) else ()
        self.emit(
            events.GuestFailed(
                guest=kind.name,
                message=str(error),
                remedy=remedy,
                blame=blame.value,
                console=console,
                argv=argv,
                boot=boot,
            )
        )
        result = Result.ERROR
        if blame is Blame.UNSUPPORTED:
            required = kind.name in self.options.require
            result = Result.FAIL if required else Result.UNSUPPORTED
            if required:
                with self._guard:
                    self.missing.append(kind.name)
        for cell in list(tries.waiting):
            verdict = Verdict(
                cell=cell.id,
                result=result,
                seconds=0.0,
                expected=cell.expected,
                findings=(str(error),),
                blame=blame,
                remedy=remedy,
                console=console,
                command=cell.command,
            )
            self._take(tries, cell, verdict, boot, ran=False)

    def _end_everything(self) -> None:
        self._stopping.set()
        self.options.builder.stop()
        with self._guard:
            alive = list(self._alive)
        for guest in alive:
            guest.stop()


def _labels(name: str, root: Root) -> Iterator[str]:
    """Name the boots of a guest: one that boots more than once has a directory for each."""
    name = name if root == "image" else f"{name}+{root}"
    return itertools.chain([name], (f"{name}+{n}" for n in itertools.count(1)))
