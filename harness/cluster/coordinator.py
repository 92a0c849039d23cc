"""Hands out chunks to the workers of a cluster, and writes what comes back into the run."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from distributed import Queue

from foothold_lab.harness.cluster import messages, work
from foothold_lab.harness.cluster.connection import Cluster
from foothold_lab.harness.cluster.cutting import Chunk, cut
from foothold_lab.harness.cluster.evidence import Inbox
from foothold_lab.harness.cluster.luggage import Luggage
from foothold_lab.harness.cluster.machine import guest_resource, resource
from foothold_lab.harness.cluster.messages import (
    Ended,
    EvidenceLink,
    EvidencePart,
    FilePart,
    Found,
    Happened,
    Instruction,
    Lacks,
    Letter,
    Needs,
    Order,
    Report,
    Started,
)
from foothold_lab.harness.cluster.packs import Packs
from foothold_lab.harness.cluster.task import REMEDY, Task
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame, FootholdError, InfrastructureError
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Attempt, Result, Verdict
from foothold_lab.harness.run_directory import TreeBudget
from foothold_lab.harness.runner import RunOptions, estimate
from foothold_lab.harness.runner.guest_cells import CellGroup, Results
from foothold_lab.harness.subjects.subject import Subject, write_deployed
from foothold_lab.harness.threshold import Search

LETTERS = 32  # that the scheduler keeps until they are read: each has at most a MiB
LOOK_SECONDS = 1.0  # between two looks at the workers, at least
WAIT_SECONDS = 10.0  # for a report: the log of the scheduler gets an error if none comes
SILENT_SECONDS = 30.0  # after which a worker counts as hung: it writes every 8 seconds
HOMELESS_SECONDS = 15.0  # for which a chunk waits for a worker that can run it
PORTERS = 4  # workers that get files at once
PATIENCE = 5.0  # seconds of one call of the scheduler: the queue of a worker may be full for longer
TRIES = 2  # workers that may be lost with a cell, or fail at it
SEARCHED = 25  # times that a search for a threshold runs its program, about


class ClusterWorkforce:
    """The workers of a cluster. `seconds` are the typical times of cells, and of the boots of guests,
    from the history. `task` is what Dask calls on a worker.
    """

    def __init__(
        self,
        cluster: Cluster,
        options: RunOptions,
        emit: Emit,
        seconds: Mapping[str, float],
        task: Callable[[str, int], None] = work.work,
    ) -> None:
        self._task_function = task
        self._measures = False
        self._search: Search | None = None
        self._cluster = cluster
        self._options = options
        self._emit = emit
        self._seconds = seconds
        self._guesses: dict[str, float] = {}
        self._luggage = Luggage()
        self._packs = Packs(options.builder, self._luggage, options.directory)
        self._porters = threading.Semaphore(PORTERS)
        self._dropped: queue.SimpleQueue[tuple[Task, Exception]] = queue.SimpleQueue()
        self._run = messages.new_run()
        self._tasks: dict[int, Task] = {}
        self._waiting: list[Chunk] = []
        self._handed_out: tuple[int, ...] = ()
        self._count = 0
        self._losses: dict[str, list[Attempt]] = defaultdict(list)
        self._told: set[str] = set()
        self._behind = 0.0  # when it last had more letters than it had read

    def run(self, groups: Sequence[CellGroup], results: Results) -> None:
        """Run groups to the verdicts of all their cells. Those that no worker is left for are in
        error.

        On KeyboardInterrupt all tasks are cancelled, and their workers stop their guests.
        """
        self._measures, self._search = False, None
        self._run_all(groups, results)

    def measure(self, groups: Sequence[CellGroup], results: Results) -> None:
        """Boot the guests of groups, and run nothing. As `run`."""
        self._measures, self._search = True, None
        self._run_all(groups, results)

    def search(self, groups: Sequence[CellGroup], results: Results, search: Search) -> None:
        """Search for the threshold of each cell. As `run`."""
        self._measures, self._search = False, search
        self._run_all(groups, results)

    def _run_all(self, groups: Sequence[CellGroup], results: Results) -> None:
        cluster = self._cluster
        with cluster.errors():
            reports = Queue(messages.reports_of(self._run), client=cluster.client, maxsize=LETTERS)
        chunks = cut([self._whole(each) for each in groups], cluster.processors, self._seconds_of)
        self._waiting = sorted(chunks, key=lambda chunk: -chunk.seconds)
        try:
            self._greet()
            try:
                self._follow(reports, results)
            except InfrastructureError as error:  # the scheduler is lost
                tasks = [*self._tasks.values(), *map(self._task, self._waiting)]
                self._waiting = []
                self._give_up(tasks, error, results)
        finally:
            for task in self._tasks.values():
                self._cancel(task)
            self._tasks.clear()
            with contextlib.suppress(OSError, RuntimeError):
                reports.close()

    def _follow(self, reports: Queue, results: Results) -> None:
        read = looked = time.monotonic()
        self._hand_out()
        while self._tasks:
            letters = self._receive(reports)
            for data in letters:
                self._read(data, results)
            before, read = read, time.monotonic()
            # a worker is not silent if this process was too busy to read, or was stopped
            if len(letters) >= LETTERS or read - before > 2 * WAIT_SECONDS:
                self._behind = read
            if read - looked > LOOK_SECONDS:
                self._look(results)
                looked = time.monotonic()
            self._hand_out()

    def _whole(self, group: CellGroup) -> Chunk:
        self._guesses[group.kind.name] = group.kind.cell_seconds
        kind, job = group.kind, estimate(group, self._options)
        guessed = kind.boot_seconds + kind.cell_seconds * len(group.cells)
        boot = self._seconds.get(kind.name, kind.boot_seconds)
        seconds = job.seconds - guessed + boot + sum(map(self._seconds_of, group.cells))
        return Chunk(group=group, seconds=seconds, memory=job.memory)

    def _seconds_of(self, cell: Cell) -> float:
        if self._measures:
            return 0.0
        seconds = self._seconds.get(cell.id, self._guesses[cell.guest])
        return seconds * SEARCHED if self._search else seconds

    def _greet(self) -> None:
        """Report the workers and the refusals that have not been reported yet."""
        for address, facts in self._cluster.workers.items():
            if address not in self._told:
                self._emit(events.WorkerJoined(worker=facts))
        for address, why in self._cluster.refused.items():
            if address not in self._told:
                self._emit(events.Progress(what=why))
        self._told |= {*self._cluster.workers, *self._cluster.refused}

    # tasks

    def _task(self, chunk: Chunk) -> Task:
        """Make a task of a chunk. Dask does not know it yet."""
        self._count += 1
        cells = {cell.id: cell for cell in chunk.group.cells}
        return Task(
            number=self._count,
            chunk=chunk,
            directory=self._options.directory,
            orders=None,
            left=cells,
            inbox=Inbox(
                directory=self._options.directory,
                cells=tuple(cells),
                suffix=f".{self._count}",
                budget=TreeBudget(f"the evidence of task {self._count}"),
            ),
        )

    def _hand_out(self) -> None:
        """Give the longest chunks to Dask: one for each processor of the workers that can run it, so
        that a processor which becomes free takes the longest that is left.
        """
        if not self._waiting or self._handed_out == self._state():
            return
        given = Counter(task.able for task in self._tasks.values())
        kept = []
        for chunk in self._waiting:
            able = self._cluster.able(chunk.group.kind.name, chunk.banned)
            if not able or given[able] < self._cluster.processors_of(able):
                self._submit(chunk)
                given[able] += 1
            else:
                kept.append(chunk)
        self._waiting = kept
        self._handed_out = self._state()

    def _state(self) -> tuple[int, ...]:
        """Return what changes when a chunk may be handed out."""
        return self._count, len(self._tasks), len(self._cluster.workers)

    def _submit(self, chunk: Chunk) -> None:
        """Give a chunk to Dask, which chooses the worker by the resources that the chunk needs.

        A guest that no worker supports runs anywhere: its cells get the verdict that says why not.
        """
        cluster, task = self._cluster, self._task(chunk)
        supported = cluster.supporting(task.guest)
        self._tasks[task.number] = task
        task.able = cluster.able(task.guest, chunk.banned)
        allowed = sorted(task.able)
        if not allowed:
            return  # no worker is left: `_look` waits for one
        with cluster.errors():
            name = messages.orders_of(self._run, task.number)
            task.orders = Queue(name, client=cluster.client, maxsize=4)
            task.future = cluster.client.submit(
                self._task_function,
                self._run,
                task.number,
                key=f"{self._run}-{task.number}",
                pure=False,
                priority=chunk.seconds,
                resources={
                    resource("processors"): 1,
                    resource("memory"): min(chunk.memory, cluster.largest),
                    **({guest_resource(task.guest): 1} if supported else {}),
                },
                workers=allowed if chunk.banned else None,
                allow_other_workers=False,
            )

    def _lose(self, task: Task, reason: str, results: Results) -> None:
        """Give up a task. Its cells run elsewhere; those that may have cost the worker, at most twice."""
        self._drop(task)
        if task.name and f"{task.address} {reason}" not in self._told:
            self._told.add(f"{task.address} {reason}")
            self._emit(events.WorkerLost(worker=task.name, reason=reason))
        for boot in task.booted:
            self._emit(task.guest_lost(boot, reason))
        for name in task.blamed():
            attempt = task.lost(reason)
            if len(self._losses[name]) + 1 < TRIES:
                self._losses[name].append(attempt)
                results.tell(events.CellRetried(cell=name, attempt=attempt))
            else:
                cell = task.left.pop(name)
                self._judge(cell, task.without_answer(cell, attempt.findings[0]), "", results)
        for name in task.left:  # a part of its evidence may have come
            shutil.rmtree(self._options.directory / "cells" / name, ignore_errors=True)
        self._again(task, [*task.left.values(), *task.moved])

    def _again(self, task: Task, cells: Sequence[Cell]) -> None:
        """Give cells of a task to another worker."""
        if cells:
            chunk = replace(
                task.chunk,
                group=replace(task.chunk.group, cells=tuple(cells)),
                seconds=sum(map(self._seconds_of, cells)),
                banned=task.chunk.banned | ({task.address} if task.address else set()),
            )
            self._submit(chunk)

    def _give_up(self, tasks: Iterable[Task], error: FootholdError, results: Results) -> None:
        """Give the cells of tasks the verdict that they have none."""
        for task in tasks:
            self._drop(task)
            for cell in [*task.left.values(), *task.moved]:
                self._judge(cell, task.without_answer(cell, error.finding), "", results)

    def _drop(self, task: Task) -> None:
        self._tasks.pop(task.number, None)
        self._cancel(task)

    def _cancel(self, task: Task) -> None:
        """Let Dask forget a task. Its worker, if it lives, notices that and stops its guest."""
        with contextlib.suppress(OSError, RuntimeError, KeyError):
            if task.future:
                task.future.cancel()
                task.orders.close()

    # what workers report

    def _receive(self, reports: Queue) -> list[object]:
        with self._cluster.errors():
            try:
                first = reports.get(timeout=WAIT_SECONDS)
            except TimeoutError:
                return []
            return [first, *reports.get(batch=True)]

    def _read(self, data: object, results: Results) -> None:
        """Read a letter. One of a task that was given up says nothing any more."""
        letter: Letter = messages.decode(data, Letter)
        for report in letter.reports:
            task = self._tasks.get(letter.attempt)
            if task is None:
                return
            task.heard = time.monotonic()
            try:
                self._handle(task, report, results)
            except (FootholdError, ValueError, OSError) as error:
                self._lose(task, str(error), results)

    def _handle(self, task: Task, report: Report, results: Results) -> None:
        match report:
            case Started():
                self._started(task, report.address, results)
            case Lacks():
                self._bring(task, lambda: iter([self._packs.of(report.images)]))
            case Needs():
                self._bring(task, lambda: self._files(report.keys))
            case EvidencePart() | EvidenceLink():
                task.inbox.add(report)
            case Found():
                self._found(task, report)
            case Happened():
                self._happened(task, report.event, results)
            case Ended():
                self._ended(task, report.failure, results)

    def _started(self, task: Task, address: str, results: Results) -> None:
        """Give a worker its order. If Dask starts a task again, its first worker is gone."""
        if task.address:
            self._lose(task, "it left the cluster", results)
            return
        facts = self._cluster.workers.get(address)
        task.address = address
        task.name = facts.name if facts else address
        task.since = time.monotonic()
        self._send(task, self._order(task))

    def _send(self, task: Task, instruction: Instruction) -> None:
        task.orders.put(messages.encode(instruction), timeout=SILENT_SECONDS)

    def _files(self, keys: Iterable[str]) -> Iterator[FilePart]:
        for key in keys:
            yield from self._luggage.parts(key)

    def _bring(self, task: Task, things: Callable[[], Iterator[Instruction]]) -> None:
        """Send what a worker has asked for, in another thread: meanwhile others are listened to."""

        def carry() -> None:
            try:
                with self._porters:
                    for thing in things():
                        self._carry(task, messages.encode(thing))
            except Exception as error:  # of any kind: `_look` gives the task to another worker
                self._dropped.put((task, error))

        threading.Thread(target=carry, name=f"porter {task.number}", daemon=True).start()

    def _carry(self, task: Task, data: bytes) -> None:
        """Put data into the queue of a task, which may be full, unless the task is given up."""
        deadline = time.monotonic() + SILENT_SECONDS
        while task.number in self._tasks:
            try:
                task.orders.put(data, timeout=PATIENCE)
                return
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def _order(self, task: Task) -> Order:
        group, options = task.chunk.group, self._options
        files = [cell.expected.stdout_file for cell in group.cells if cell.expected]
        return Order(
            cells=tuple(group.cells),
            subjects=tuple(map(self._luggage.pack, self._subjects(task))),
            outputs={name: self._luggage.key(Path(name)) for name in files if name},
            measure=self._measures,
            query=self._search.query if self._search else None,
            large=group.large,
            fresh=options.fresh,
            retries=options.retries,
            trace=options.trace,
            pull=options.pull,
            locked=options.builder.is_locked,
            required=task.guest in options.require,
        )

    def _subjects(self, task: Task) -> list[Subject]:
        names = dict.fromkeys(cell.subject for cell in task.chunk.group.cells)
        return [self._options.subjects[name] for name in names]

    def _happened(self, task: Task, event: events.AnyEvent, results: Results) -> None:
        """Pass on an event. Raises ValueError for one that the task cannot have."""
        match event:
            case events.CellFinished():
                self._finished(task, event, results)
            case events.CellStarted():
                task.running = task.check_cell(event.cell).id
                results.tell(events.CellStarted(cell=event.cell))
            case events.CellRetried():
                results.tell(task.retried(event))
            case events.GuestStopped() | events.GuestFailed() | events.GuestBooting():
                self._emit(task.of_guest(event))
            case events.GuestReady():
                ready = task.of_guest(event)
                directory = self._options.directory / "guests" / ready.boot
                directory.mkdir(parents=True, exist_ok=True)
                write_deployed(directory, self._subjects(task))
                self._emit(ready)
            case events.Progress():
                self._emit(
                    events.Progress(what=event.what, passing=event.passing, guest=event.guest)
                )
            case _:
                raise ValueError(f"{type(event).__name__} is not an event of a task")

    def _finished(self, task: Task, event: events.CellFinished, results: Results) -> None:
        if event.cell != event.verdict.cell:
            raise ValueError(f"{event.cell[:200]!r} has the verdict of another cell")
        boot = task.boot(event.boot)
        cell, verdict = task.finish(event.verdict)
        if self._must_move(task, cell, verdict):
            task.moved.append(cell)
            self._losses[cell.id].append(verdict.as_attempt())
            results.tell(events.CellRetried(cell=cell.id, attempt=verdict.as_attempt(), boot=boot))
        else:
            self._judge(cell, verdict, boot, results)

    def _found(self, task: Task, report: Found) -> None:
        """Take a threshold. Raises ValueError for one that the task cannot have found."""
        cell, threshold = task.check_cell(report.cell), report.threshold
        if not self._search or (threshold.guest, threshold.subject) != (cell.guest, cell.subject):
            raise ValueError(f"{report.cell[:200]!r} has no such threshold")
        self._search.take(cell.id, threshold)

    def _must_move(self, task: Task, cell: Cell, verdict: Verdict) -> bool:
        """Must another worker try a cell? This one has failed, not the guest nor the subject."""
        failed = verdict.result is Result.ERROR and verdict.blame is Blame.INFRASTRUCTURE
        others = self._cluster.supporting(cell.guest) - {task.address} - task.chunk.banned
        return failed and bool(others) and len(self._losses[cell.id]) + 1 < TRIES

    def _judge(self, cell: Cell, verdict: Verdict, boot: str, results: Results) -> None:
        """Add the verdict of a cell, with the workers that had it before."""
        if before := self._losses.pop(cell.id, []):
            told = "; ".join(f"{each.worker}: {each.reason}" for each in before)
            verdict = replace(
                verdict,
                attempts=(*before, *verdict.attempts),
                notes=(*verdict.notes, f"it was tried on another worker before: {told}"),
            )
        required = verdict.blame is Blame.UNSUPPORTED and verdict.result is Result.FAIL
        if required and cell.guest not in results.missing:
            results.add_missing(cell.guest)
        results.add(verdict, boot)

    def _ended(self, task: Task, failure: str, results: Results) -> None:
        """End a task. One that has not run all its cells is lost."""
        if failure or task.left:
            task.given_up = True
            self._lose(task, failure or "it ended before its cells had verdicts", results)
            return
        task.inbox.close()
        self._drop(task)
        self._again(task, task.moved)

    # what workers do not report

    def _look(self, results: Results) -> None:
        """Find workers that are gone or hang, and chunks that no worker can run."""
        cluster, now = self._cluster, time.monotonic()
        cluster.look()
        self._greet()
        while not self._dropped.empty():
            task, error = self._dropped.get()
            if task.number in self._tasks:
                self._lose(task, f"it could not be given its files: {error}", results)
        for task in list(self._tasks.values()):
            if not task.address:
                self._find_home(task, now, results)
            elif task.address not in cluster.workers:
                self._lose(task, "it left the cluster", results)
            elif task.future and task.future.status == "error":  # a fault of ours
                self._lose(task, "its task failed: see its log", results)
            elif now - max(task.heard, self._behind) > SILENT_SECONDS:
                self._lose(task, f"it was silent for {SILENT_SECONDS:.0f} s", results)
                self._avoid(task.address)

    def _avoid(self, address: str) -> None:
        """Take the chunks that may wait for a hung worker away from it."""
        for task in list(self._tasks.values()):
            if not task.address:
                self._drop(task)
                self._submit(replace(task.chunk, banned=task.chunk.banned | {address}))

    def _find_home(self, task: Task, now: float, results: Results) -> None:
        """Wait for a worker that can run a chunk; give the chunk up if none comes."""
        cluster, banned = self._cluster, task.chunk.banned
        if cluster.able(task.guest, banned):
            task.homeless = None
            if task.future is None:
                self._drop(task)
                self._submit(task.chunk)
        elif task.homeless is None:
            task.homeless = now
        elif now - task.homeless > HOMELESS_SECONDS:
            error = InfrastructureError(
                f"no worker is left that can run {task.guest}",
                REMEDY,
                code=Code.INFRASTRUCTURE_WORKER,
            )
            self._give_up([task], error, results)
