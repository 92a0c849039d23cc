"""From the events of a run to the database. A cell is stored when it has a verdict."""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path

import msgspec

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    GuestBooting,
    GuestFailed,
    GuestReady,
    RunFinished,
    RunStarted,
)
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.results_db import fingerprints, process
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import State, StoredThreshold
from foothold_lab.harness.run_directory import DAMAGED, SURVEY_FILE, RunFiles, decode, read_events


class HistoryReporter:
    """The reporter of the history. It opens the database when a run starts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: Database | None = None
        self._recorder: Recorder | None = None
        self._failed = False

    def __call__(self, event: AnyEvent) -> None:
        """Record the event. Raises HistoryError."""
        try:
            if isinstance(event, RunStarted):
                self._database = Database(self._path)
                self._recorder = Recorder(self._database, process.this_process())
            if self._recorder:
                self._recorder(event)
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        """Store the state of the run. After a failure, later errors are not raised."""
        quiet = contextlib.suppress(Exception) if self._failed else contextlib.nullcontext()
        with contextlib.ExitStack() as stack:
            if self._database:
                stack.callback(self._database.close)
            with quiet:
                if self._recorder:
                    self._recorder.close()


@dataclass(frozen=True)
class _Boot:
    """The row of a boot, and its images."""

    row: int
    images: Mapping[str, str]


class Recorder:
    """Writes the events of one run, each in a transaction.

    `writer` names the process that runs the cells; it is empty for a run that is over. `run` is the
    row of the run.
    """

    def __init__(self, database: Database, writer: str = "") -> None:
        self._database = database
        self._writer = writer
        self.run = 0
        self._started: RunStarted | None = None
        self._cells: dict[str, tuple[int, Cell]] = {}
        self._boots: dict[str, _Boot] = {}
        self._ended = True

    def __call__(self, event: AnyEvent) -> None:
        """Store an event. Raises HistoryError."""
        with self._database.transaction():
            if isinstance(event, RunStarted):
                self._start(event)
            elif isinstance(event, GuestBooting):
                self._booting(event, event.images)
                self._packages(event)
            elif isinstance(event, GuestReady):
                self._ready(event)
            elif isinstance(event, GuestFailed):
                self._failed(event)
            elif isinstance(event, CellFinished):
                self._finish(*self._cells[event.cell], event.verdict, event.boot)
            elif isinstance(event, RunFinished):
                state = State.INTERRUPTED if event.interrupted else State.FINISHED
                self._end(state, event.seconds)

    @property
    def begun(self) -> bool:
        """Has the run started?"""
        return self._started is not None

    @property
    def started_at(self) -> float:
        """When the run started, in seconds since the epoch; 0 before that."""
        return self._started.at if self._started else 0.0

    def close(self) -> None:
        """Mark a run without an end as broken."""
        if not self._ended:
            with self._database.transaction():
                self._end(State.BROKEN, None)

    def _start(self, event: RunStarted) -> None:
        self._started = event
        self.run = self._insert(
            "runs",
            name=self._free_name(event.run),
            plan=event.plan,
            command=_json(event.command),
            directory=event.directory,
            subjects=_json(event.subjects),
            traced=event.trace,
            started=event.at,
            state=State.RUNNING,
            process=self._writer,
            **asdict(event.provenance),
        )
        self._ended = False
        for cell in event.cells:
            name = cell.id
            row = self._insert(
                "cells",
                run=self.run,
                name=name,
                guest=cell.guest,
                limits=str(cell.limits),
                subject=cell.subject,
                policy=cell.policy,
                workload=cell.workload,
                base_name=replace(cell, repeat=1).id if cell.repeat > 1 else name,
            )
            self._cells[name] = row, cell

    def _free_name(self, name: str) -> str:
        """Return an unused name: a directory may have held a run before."""
        known = "SELECT 1 FROM runs WHERE name = ?"
        names = itertools.chain([name], (f"{name}+{n}" for n in itertools.count(2)))
        return next(each for each in names if not self._database.value(known, each))

    def _booting(
        self, event: GuestBooting | GuestReady | GuestFailed, images: Mapping[str, str]
    ) -> _Boot:
        row = self._insert(
            "boots", run=self.run, name=event.boot, guest=event.guest, images=_json(images)
        )
        self._boots[event.boot] = _Boot(row, images)
        return self._boots[event.boot]

    def _packages(self, event: GuestBooting) -> None:
        statement = "INSERT OR IGNORE INTO images (name, packages) VALUES (?, ?)"
        rows = [(image, _json(versions)) for image, versions in event.packages.items()]
        self._database.execute_many(statement, rows)

    def _ready(self, event: GuestReady) -> None:
        boot = self._boots.get(event.boot) or self._booting(event, {})
        self._update(
            "boots",
            boot.row,
            seconds=event.seconds,
            facts=_json(event.facts),
            provenance=_json(event.provenance),
            notes=_json(event.notes),
            argv=_json(event.argv),
            guest_hash=fingerprints.guest_hash(msgspec.to_builtins(event.facts), event.provenance),
        )

    def _failed(self, event: GuestFailed) -> None:
        boot = self._boots.get(event.boot) or self._booting(event, {})
        self._update(
            "boots", boot.row, failure=event.message, code=event.code, argv=_json(event.argv)
        )

    def _finish(self, row: int, cell: Cell, verdict: Verdict, name: str) -> None:
        assert self._started
        boot, seen = self._boots.get(name), verdict.observed
        known = boot and boot.images
        self._update(
            "cells",
            row,
            boot=boot.row if boot else None,
            inputs_hash=fingerprints.inputs_hash(self._started, cell, known) if known else None,
            result=verdict.result,
            outcome_key=fingerprints.outcome_key(verdict),
            path=seen and seen.path,
            outcome=seen and seen.outcome,
            status=seen and seen.status,
            blame=verdict.blame,
            findings=_json(verdict.findings),
            seconds=verdict.seconds,
            retries=len(verdict.attempts),
            flaky=verdict.flaky,
        )
        self._insert("verdicts", cell=row, json=zlib.compress(msgspec.json.encode(verdict)))

    def _end(self, state: State, seconds: float | None) -> None:
        self._update("runs", self.run, state=state, seconds=seconds)
        self._ended = True

    def _insert(self, table: str, **values: object) -> int:
        names, places = ", ".join(values), ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608
        return self._database.execute(statement, *values.values())

    def _update(self, table: str, row: int, **values: object) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        statement = f"UPDATE {table} SET {names} WHERE id = ?"  # noqa: S608
        self._database.execute(statement, *values.values(), row)


def replay(directory: Path, database: Database) -> None:
    """Store the run of a directory, and the thresholds of a survey in it, all of it or nothing.

    Raises UsageError if its files cannot be read, HistoryError if they cannot be stored.
    """
    recorder = Recorder(database)
    with database.transaction():
        for event in read_events(directory):
            recorder(event)
        record_thresholds(database, _surveyed(directory, recorder.started_at), recorder.run)
        recorder.close()


class _Search(msgspec.Struct):
    edge: str
    smallest: int | None = None
    largest: int | None = None


class _Threshold(msgspec.Struct):
    """A threshold of survey.json, without its evidence."""

    guest: str
    subject: str
    policy: str
    kind: str
    search: _Search


class _Survey(msgspec.Struct):
    thresholds: list[_Threshold] = []


def _surveyed(directory: Path, at: float) -> Iterator[StoredThreshold]:
    """Yield the thresholds of the survey in a run directory, if there is one. Raises UsageError."""
    files = RunFiles(directory)
    if not files.is_file(SURVEY_FILE):
        return
    where = str(directory / SURVEY_FILE)
    try:
        survey: _Survey = decode(files.read(SURVEY_FILE), _Survey, where)
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror or error}", DAMAGED) from error
    yield from stored_thresholds(survey.thresholds, at)


def stored_thresholds(found: Sequence[object], at: float) -> Iterator[StoredThreshold]:
    """Yield thresholds for the history, of `threshold.Threshold` or of survey.json, found at a time."""
    for each in msgspec.convert(found, list[_Threshold], from_attributes=True):
        yield StoredThreshold(
            at=at,
            guest=each.guest,
            subject=each.subject,
            policy=each.policy,
            kind=each.kind,
            edge=each.search.edge,
            smallest=each.search.smallest,
            largest=each.search.largest,
        )


def record_thresholds(
    database: Database, thresholds: Iterable[StoredThreshold], run: int | None = None
) -> None:
    """Store thresholds. `run` is the row of the run that found them, if one did."""
    columns = [each.name for each in fields(StoredThreshold)]
    places = ", ".join("?" * (len(columns) + 1))
    statement = f"INSERT INTO thresholds (run, {', '.join(columns)}) VALUES ({places})"  # noqa: S608
    with database.transaction():
        database.execute_many(statement, [(run, *astuple(each)) for each in thresholds])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
