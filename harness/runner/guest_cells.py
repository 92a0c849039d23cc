"""The cells of one guest: booted for them, and again for those that are retried."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from foothold_lab.harness.guests.catalogue import GuestType
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame, FootholdError, GuestError
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner.booted_guest import (
    BootedGuest,
    BootRequest,
    group_name,
    subject_support,
)
from foothold_lab.harness.runner.cell_run import run_cell, unsupported
from foothold_lab.harness.runner.guest_pool import Pool
from foothold_lab.harness.runner.options import RunOptions
from foothold_lab.harness.runner.retries import RetryQueue
from foothold_lab.harness.subjects.subject import Root
from foothold_lab.images.errors import ImageError

PROGRESS_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class CellGroup:
    """Cells of one guest whose subjects have the same root file system: they share its boots.

    `large` gives the guest the memory of a guest for programs. The cells may be a part of a group,
    and the guest has the memory of the whole group: then the verdicts are the same.
    """

    kind: GuestType
    root: Root
    cells: Sequence[Cell]
    large: bool

    @property
    def name(self) -> str:
        """The name of their guest, as that of a boot."""
        return group_name(self.kind, self.root)


class Results:
    """Final verdicts, counted and reported. Any thread may add one.

    `kept` has those of the cells that are named in `keep`.
    """

    def __init__(self, emit: Emit, keep: frozenset[str] = frozenset()) -> None:
        self._emit = emit
        self._keep = keep
        self.kept: dict[str, Verdict] = {}
        self._guard = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.blames: set[Blame] = set()
        self.missing: list[str] = []

    def add(self, verdict: Verdict, boot: str = "") -> None:
        """Add the final verdict of a cell, from this boot if it got one."""
        with self._guard:
            self.counts[verdict.result.value] += 1
            if verdict.cell in self._keep:
                self.kept[verdict.cell] = verdict
            if verdict.blame and verdict.result is not Result.FAIL:
                self.blames.add(verdict.blame)
        self._emit(events.CellFinished(cell=verdict.cell, verdict=verdict, boot=boot))

    def tell(self, event: events.CellStarted | events.CellRetried) -> None:
        """Report what happens to a cell before it has its final verdict."""
        self._emit(event)

    def add_missing(self, guest: str) -> None:
        """Add a required guest that this machine cannot boot."""
        with self._guard:
            self.missing.append(guest)


def run_group(group: CellGroup, processor: int, pool: Pool, results: Results) -> None:
    """Run all cells of a group to their verdicts, even if the guest dies."""
    suitable = []
    for cell in group.cells:
        support = subject_support(pool.options.subjects[cell.subject], group.kind, pool.options)
        if support.ok:
            suitable.append(cell)
        else:
            finding = Finding(Code.UNSUPPORTED_SUBJECT, support.reason)
            results.add(unsupported(cell, finding, support.remedy))
    if suitable:
        _GroupRun(group, suitable, pool, results).run(processor)


def boot_request(group: CellGroup, processor: int, options: RunOptions) -> BootRequest:
    """Return the request for the guest of a group, with the subjects of all its cells."""
    names = dict.fromkeys(cell.subject for cell in group.cells)
    return BootRequest(
        kind=group.kind,
        boot=group.name,
        processor=processor,
        subjects=[options.subjects[name] for name in names],
        large=group.large,
    )


def measure_group(group: CellGroup, processor: int, pool: Pool, results: Results) -> None:
    """Boot the guest of a group and stop it. Its cells pass if it was measured."""
    request = boot_request(group, processor, pool.options)
    verdicts = [Verdict(cell=each.id, result=Result.PASS, seconds=0.0) for each in group.cells]
    try:
        with pool.boot(request):
            pass
    except (FootholdError, ImageError, OSError) as error:
        if pool.is_stopping():
            return
        verdicts = [without_guest(cell, error) for cell in group.cells]
    for verdict in verdicts:
        results.add(verdict)


class _GroupRun:
    def __init__(self, group: CellGroup, cells: list[Cell], pool: Pool, results: Results) -> None:
        self._group = group
        self._pool = pool
        self._options = pool.options
        self._results = results
        names = dict.fromkeys(cell.subject for cell in cells)
        self._subjects = [self._options.subjects[name] for name in names]
        self._queue = RetryQueue(cells, self._options.retries, self._options.fresh)
        self._replaced = ""  # why the last guest is not used again

    def run(self, processor: int) -> None:
        kind = self._group.kind
        boots = self._pool.boot_names(self._group.name)
        while (batch := self._queue.next_batch()) and not self._pool.is_stopping():
            boot = next(boots)
            request = BootRequest(
                kind=kind,
                boot=boot,
                processor=processor,
                subjects=self._subjects,
                large=self._group.large,
            )
            try:
                with contextlib.ExitStack() as stack:
                    booted = stack.enter_context(self._pool.boot(request))
                    booted.replaces, self._replaced = self._replaced, ""
                    if self._run_batch(batch, booted, boot):
                        self._offer(booted, boot, stack)
            except (FootholdError, ImageError, OSError) as error:
                if not self._pool.is_stopping():
                    self._lose_guest(error, boot)
        for verdict in self._queue.abandon():
            self._results.add(verdict)

    def _run_batch(self, batch: Sequence[Cell], booted: BootedGuest, boot: str) -> bool:
        """Run cells one after another; say whether all of them ran, and the guest is sound."""
        for cell in batch:
            if self._pool.is_stopping():
                return False
            self._pool.emit(events.CellStarted(cell=cell.id))
            directory = self._options.directory / "cells" / cell.id
            if (attempt := self._queue.attempt(cell)) > 1:
                directory /= f"try-{attempt}"
            subject = self._options.subjects[cell.subject]
            with _progress(self._pool.emit, booted.name, cell):
                verdict = run_cell(booted, cell, subject, directory)
            if verdict.result is Result.ERROR and self._pool.is_stopping():
                return False  # not a verdict: the guest was stopped under the cell
            self._record(cell, verdict, boot)
            if booted.damaged:
                self._replaced = f"fresh boot: the cell before, {cell.id}, had spoiled its guest"
                return False
        return True

    def _offer(self, booted: BootedGuest, boot: str, guest_context: contextlib.ExitStack) -> None:
        """Let a guest outlive its cells, if it is to be kept."""
        retention = self._options.retention
        if retention and retention.retains(booted.verdicts):
            end = guest_context.pop_all().close
            retention.take_over(boot, booted.guest, booted.facts, end)

    def _record(self, cell: Cell, verdict: Verdict, boot: str, *, booted: bool = True) -> None:
        final = self._queue.record(cell, verdict, booted=booted)
        if final:
            self._results.add(final, boot)
        else:
            attempt = verdict.as_attempt()
            self._pool.emit(events.CellRetried(cell=cell.id, attempt=attempt, boot=boot))

    def _lose_guest(self, error: Exception, boot: str) -> None:
        """Give all waiting cells the verdict that their guest did not boot, or could not stay."""
        name = self._group.kind.name
        finding = _finding(error)
        blame = error.blame if isinstance(error, FootholdError) else Blame.INFRASTRUCTURE
        console = error.console if isinstance(error, GuestError) else ""
        argv = error.argv if isinstance(error, GuestError) else ()
        self._pool.emit(
            events.GuestFailed(
                guest=name,
                code=finding.code,
                message=finding.text,
                remedy=_remedy(error),
                blame=blame.value,
                console=console,
                argv=argv,
                boot=boot,
            )
        )
        is_missing = blame is Blame.UNSUPPORTED and name in self._options.require
        if is_missing:
            self._results.add_missing(name)
        for cell in list(self._queue.waiting):
            verdict = without_guest(cell, error)
            if is_missing:
                verdict = replace(verdict, result=Result.FAIL)
            self._record(cell, verdict, boot, booted=False)


def without_guest(cell: Cell, error: Exception) -> Verdict:
    """Return the verdict on a cell whose guest did not boot, or could not stay."""
    blame = error.blame if isinstance(error, FootholdError) else Blame.INFRASTRUCTURE
    return Verdict(
        cell=cell.id,
        result=Result.UNSUPPORTED if blame is Blame.UNSUPPORTED else Result.ERROR,
        seconds=0.0,
        expected=cell.expected,
        findings=(_finding(error),),
        blame=blame,
        remedy=_remedy(error),
        console=error.console if isinstance(error, GuestError) else "",
        command=cell.command,
    )


def _remedy(error: Exception) -> str:
    return error.remedy if isinstance(error, FootholdError | ImageError) else ""


@contextlib.contextmanager
def _progress(emit: Emit, guest: str, cell: Cell) -> Iterator[None]:
    """Say how long a cell has been running, every PROGRESS_SECONDS."""
    started, done = time.monotonic(), threading.Event()

    def report() -> None:
        while not done.wait(PROGRESS_SECONDS):
            what = f"{cell.id} has been running for {time.monotonic() - started:.0f} s"
            emit(events.Progress(what=what, guest=guest))

    thread = threading.Thread(target=report, name=f"progress {cell.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _finding(error: Exception) -> Finding:
    """Return the finding for an error of any origin."""
    if isinstance(error, FootholdError):
        return error.finding
    code = Code.INFRASTRUCTURE_IMAGE if isinstance(error, ImageError) else Code.INFRASTRUCTURE_HOST
    return Finding(code, str(error))
