"""Runs a chunk on a worker, inside a task of Dask."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from distributed import get_worker
from distributed.core import Status
from distributed.utils import sync

from foothold_lab.harness.cluster import messages
from foothold_lab.harness.cluster.evidence import MOST_OF_CELL, MOST_OF_GUEST, Tree, send_tree
from foothold_lab.harness.cluster.luggage import Depot, on_this_machine
from foothold_lab.harness.cluster.machine import Processors
from foothold_lab.harness.cluster.messages import (
    Alive,
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
    Pack,
    Report,
    Started,
)
from foothold_lab.harness.guests.catalogue import GuestType, catalogue, find_guest
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import FootholdError, InfrastructureError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.placement import split_placement
from foothold_lab.harness.model.verdict import Attempt, Verdict
from foothold_lab.harness.model.workers import WorkerFacts
from foothold_lab.harness.runner.guest_cells import CellGroup, Results, measure_group, run_group
from foothold_lab.harness.runner.guest_pool import GuestPool
from foothold_lab.harness.runner.options import RunOptions
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.harness.threshold import Search, Threshold, search_group
from foothold_lab.images.builder import Builder
from foothold_lab.images.catalogue import HOST_AGENT
from foothold_lab.images.errors import ImageError
from foothold_lab.images.transfer import unpack

if TYPE_CHECKING:
    from distributed import Worker

T = TypeVar("T", bound=Instruction)

ALIVE_SECONDS = 8.0  # between two signs of life
ROOM = 256 << 20  # bytes that the evidence of a chunk needs until it has travelled
_WATCH_SECONDS = 0.25  # between two looks at whether the task is still wanted
_PATIENCE = 5.0  # of one call of the scheduler: an order may take longer, a full queue too
_RUNNING = (Status.running, Status.paused, Status.closing_gracefully)


class Unwanted(Exception):
    """The coordinator is gone, or has given the chunk to another worker."""


@dataclass(frozen=True)
class Place:
    """What a worker has for chunks: a description of itself, processors, a directory for files.

    It takes packs of images of at most `largest_pack` bytes, one at a time: `fetching` is held.
    """

    facts: WorkerFacts
    processors: Processors
    depot: Path
    largest_pack: int
    fetching: threading.Lock = field(default_factory=threading.Lock)


_places: dict[str, Place] = {}  # of the workers in this process, by address
_pools: set[GuestPool] = set()


def prepare(worker: Worker, place: Place) -> None:
    """Let a worker of this process run chunks."""
    _places[worker.address] = place


def stop_all() -> None:
    """Stop all guests of this process."""
    for pool in list(_pools):
        pool.stop()


def work(run: str, attempt: int) -> None:
    """Run the chunk that the coordinator of a run has for this attempt. A task of Dask."""
    worker = get_worker()
    place = _places[worker.address]
    line = Line(worker, run, attempt)
    with contextlib.suppress(Unwanted), place.processors.take() as processor:
        line.send(Started(address=worker.address))
        order = line.receive()
        if not isinstance(order, Order) or not order.cells:
            return
        failure = ""
        try:
            with _scratch(worker) as scratch:
                _Chunk(line, place, order, scratch).run(processor)
        except (FootholdError, ImageError, OSError) as error:
            failure = str(error)
        line.send(Ended(failure=failure))


class Line:
    """The two queues of a task. Any thread may send."""

    def __init__(self, worker: Worker, run: str, attempt: int) -> None:
        self._worker = worker
        self._key = worker.get_current_task()
        self._attempt = attempt
        self._reports = messages.reports_of(run)
        self._orders = messages.orders_of(run, attempt)
        self._guard = threading.Lock()
        self._held: list[Report] = []
        self._size = 0
        self._is_cut = False

    def is_wanted(self) -> bool:
        """Does the coordinator still wait for this task? Dask forgets the tasks of a client that is
        gone, and a worker closes when its scheduler is gone.
        """
        task = self._worker.state.tasks.get(self._key)
        running = task is not None and task.state == "executing"
        return not self._is_cut and running and self._worker.status in _RUNNING

    def send(self, report: Report) -> None:
        """Send a report; wait while the coordinator has many others. Evidence travels with what follows
        it, about a MiB at once. Raises Unwanted.
        """
        with self._guard:
            self._held.append(report)
            if isinstance(report, EvidencePart | EvidenceLink):
                self._size += len(report.data) if isinstance(report, EvidencePart) else 0
                if self._size < messages.PART:
                    return
            reports, self._held, self._size = tuple(self._held), [], 0
            self._send(*reports)

    def sign_of_life(self) -> None:
        """Tell the coordinator that the task is alive, if no report is under way, which tells the same."""
        if self._guard.acquire(blocking=False):
            with contextlib.suppress(Unwanted):
                try:
                    self._send(Alive())
                finally:
                    self._guard.release()

    def expect(self, kind: type[T]) -> T:
        """Wait for the next instruction, which must be of a kind. Raises Unwanted, InfrastructureError."""
        instruction = self.receive()
        if not isinstance(instruction, kind):
            raise InfrastructureError(
                f"{kind.__name__} was expected, not {type(instruction).__name__}",
                code=Code.INFRASTRUCTURE_WORKER,
            )
        return instruction

    def check_wanted(self) -> None:
        """Raise Unwanted if the coordinator does not wait for this task."""
        if not self.is_wanted():
            raise Unwanted

    def receive(self) -> Instruction:
        """Wait for the next instruction. Raises Unwanted."""
        while True:
            with contextlib.suppress(TimeoutError):
                record = self._call("queue_get", name=self._orders, batch=False)
                instruction: Instruction = messages.decode(record["value"], Instruction)
                return instruction

    def _send(self, *reports: Report) -> None:
        data = messages.encode(Letter(attempt=self._attempt, reports=reports))
        while True:
            with contextlib.suppress(TimeoutError):
                self._call("queue_put", name=self._reports, data=data)
                return

    def _call(self, operation: str, **arguments: Any) -> Any:
        self.check_wanted()
        ask = getattr(self._worker.scheduler, operation)
        try:
            return sync(self._worker.loop, ask, timeout=_PATIENCE, **arguments)
        except TimeoutError:
            raise
        except (OSError, KeyError, RuntimeError) as error:  # the queue is gone, or the scheduler
            self._is_cut = True
            raise Unwanted from error


class _Chunk:
    """A chunk that runs: its events and its evidence go to the coordinator."""

    def __init__(self, line: Line, place: Place, order: Order, scratch: Path) -> None:
        self._line = line
        self._place = place
        self._order = order
        self._scratch = scratch
        self._run_directory = scratch / "run"
        self._builder = Builder(locked=order.locked, progress=self._progress)

    def run(self, processor: int) -> None:
        """Run the cells to their verdicts. Raises Unwanted, FootholdError, ImageError, OSError."""
        cells = self._cells()
        name = cells[0].guest
        guest, _ = split_placement(name)  # native@NAME is native, here
        kind = replace(find_guest(catalogue(self._builder), guest), name=name)
        subjects: dict[str, Subject] = {}  # the pool can be stopped before they have come
        options = RunOptions(
            directory=self._run_directory,
            builder=self._builder,
            fresh=self._order.fresh,
            retries=self._order.retries,
            trace=self._order.trace,
            pull=self._order.pull,
            subjects=subjects,
            require=frozenset({kind.name} if self._order.required else ()),
        )
        pool = GuestPool(options, self._emit)
        with _watched(self._line, pool):
            if guest in self._place.facts.guests:
                self._fetch_images(kind)
            subjects |= self._subjects(by_path=kind.capabilities.host_paths)
            group = CellGroup(
                kind=kind,
                root=subjects[cells[0].subject].root,
                cells=cells,
                large=self._order.large,
            )
            self._do(group, processor, pool)
        if pool.is_stopping():
            raise Unwanted

    def _do(self, group: CellGroup, processor: int, pool: GuestPool) -> None:
        """Do with the cells of a group what the order says."""
        results = Results(self._emit)
        if self._order.measure:
            measure_group(group, processor, pool, results)
        elif self._order.query:
            search = Search(query=self._order.query, take=self._found)
            search_group(group, processor, pool, results, search)
        else:
            run_group(group, processor, pool, results)

    def _found(self, cell: str, threshold: Threshold) -> None:
        with contextlib.suppress(Unwanted):
            self._line.send(Found(cell=cell, threshold=threshold))

    def _fetch_images(self, kind: GuestType) -> None:
        """Take the images that this machine lacks from the machine of the run. What does not come is
        built. Raises Unwanted, InfrastructureError.
        """
        builder, fetching = self._builder, self._place.fetching
        mounted = tuple(dict.fromkeys(each.image for each in self._order.subjects if each.image))
        names = (*mounted, *kind.images_to_boot(mounted))
        if not self._place.largest_pack:
            return
        while not fetching.acquire(timeout=_WATCH_SECONDS):
            self._line.check_wanted()
        try:
            # the agent of a machine is made with the compiler of that machine
            if missing := tuple(name for name in builder.missing(names) if name != HOST_AGENT):
                self._line.send(Lacks(images=missing))
                self._unpack(self._line.expect(Pack))
        finally:
            fetching.release()

    def _unpack(self, pack: Pack) -> None:
        """Add the images of a pack to the store, if it is of the right size and all of it is right."""
        most, told = self._place.largest_pack, f"{pack.size >> 20} MiB of images"
        refusal = pack.reason if not pack.key else ""
        if pack.size > most:
            refusal = f"{told} are more than {most >> 20} MiB"
        if refusal:
            self._progress(f"builds images: {refusal}")
            return
        depot = Depot(self._place.depot)
        self._progress(f"fetches {told}")
        self._fetch(depot, [pack.key], pack.size)
        file = depot.path(pack.key)
        try:
            unpack(self._builder, file, self._place.facts.foothold, self._progress)
        except ImageError as error:
            self._progress(f"builds images: {error}")
        finally:
            file.unlink()

    def _subjects(self, *, by_path: bool) -> dict[str, Subject]:
        depot = Depot(self._place.depot)
        keys = [str(key) for each in self._order.subjects for key in each.files.values()]
        self._fetch(depot, [*keys, *self._order.outputs.values()])
        subjects = {each.name: depot.unpack(each, self._builder) for each in self._order.subjects}
        if by_path:
            programs = self._scratch / "programs"
            subjects = {name: on_this_machine(one, programs) for name, one in subjects.items()}
        return subjects

    def _fetch(self, depot: Depot, keys: Sequence[str], most: int = sys.maxsize) -> None:
        """Fetch the files that this machine lacks: at most so many bytes."""
        missing = depot.lacks(keys)
        if not missing:
            return
        self._line.send(Needs(keys=missing))
        for _ in missing:
            part = None
            while part is None or not part.last:
                part = self._line.expect(FilePart)
                if (most := most - len(part.data)) < 0:
                    raise InfrastructureError(
                        "a file is larger than announced", code=Code.INFRASTRUCTURE_WORKER
                    )
                depot.add(part)

    def _cells(self) -> list[Cell]:
        """Return the cells. The files of their expected outputs are those of the depot."""
        cells = []
        for cell in self._order.cells:
            expected = cell.expected
            if expected and expected.stdout_file in self._order.outputs:
                key = self._order.outputs[expected.stdout_file]
                here = self._place.depot / key
                cell = replace(cell, expected=replace(expected, stdout_file=str(here)))
            cells.append(cell)
        return cells

    def _progress(self, text: str, /, *, transient: bool = False) -> None:
        self._emit(events.Progress(what=f"{self._place.facts.name}: {text}", passing=transient))

    def _emit(self, event: events.AnyEvent) -> None:
        """Send an event, after its evidence. A task that is unwanted is stopped by its watch."""
        with contextlib.suppress(Unwanted):
            if isinstance(event, events.CellFinished):
                cut = self._send(f"cells/{event.cell}", MOST_OF_CELL)
                event = msgspec.structs.replace(event, verdict=self._moved(event.verdict, cut))
            elif isinstance(event, events.CellRetried):
                attempt = self._relative(event.attempt)
                event = msgspec.structs.replace(event, attempt=attempt)
            elif isinstance(event, events.GuestStopped):
                self._send(f"guests/{event.boot}", MOST_OF_GUEST)
            self._line.send(Happened(event=event))

    def _send(self, name: str, most: int) -> list[str]:
        directory = self._run_directory / name
        if not directory.is_dir():
            return []
        cut = send_tree(Tree(directory, name, most), self._line.send)
        shutil.rmtree(directory, ignore_errors=True)
        return cut

    def _moved(self, verdict: Verdict, cut: Sequence[str]) -> Verdict:
        return replace(
            verdict,
            artefacts=self._relative_path(verdict.artefacts),
            attempts=tuple(map(self._relative, verdict.attempts)),
            notes=(*verdict.notes, *cut),
        )

    def _relative(self, attempt: Attempt) -> Attempt:
        return replace(attempt, artefacts=self._relative_path(attempt.artefacts))

    def _relative_path(self, path: str) -> str:
        return str(Path(path).relative_to(self._run_directory)) if path else ""


@contextlib.contextmanager
def _watched(line: Line, pool: GuestPool) -> Iterator[None]:
    """Stop the guests of a pool when the task is unwanted; tell that it is alive until then."""
    done = threading.Event()

    def watch() -> None:
        told = time.monotonic()
        while not done.wait(_WATCH_SECONDS):
            if not line.is_wanted():
                pool.stop()
                return
            if time.monotonic() - told > ALIVE_SECONDS:
                line.sign_of_life()
                told = time.monotonic()

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    _pools.add(pool)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _pools.discard(pool)


@contextlib.contextmanager
def _scratch(worker: Worker) -> Iterator[Path]:
    """Yield a directory for a chunk. Raises InfrastructureError if the disk is full."""
    free = shutil.disk_usage(worker.local_directory).free
    if free < ROOM:
        raise InfrastructureError(
            f"{worker.local_directory} has {free >> 20} MiB free, and a chunk needs {ROOM >> 20}",
            "make space there, or start the worker with another --directory",
            code=Code.INFRASTRUCTURE_WORKER,
        )
    with tempfile.TemporaryDirectory(dir=worker.local_directory, prefix="chunk-") as folder:
        yield Path(folder)
