"""The head and the events of a run directory: run.json and events.jsonl.

The values are checked against each other as well as against their types. So a reader meets no
verdict on an unknown cell, no second run, and no time that a calendar does not have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import msgspec

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    CellRetried,
    CellStarted,
    GuestBooting,
    GuestFailed,
    GuestReady,
    GuestStopped,
    RunFinished,
    RunStarted,
)
from foothold_lab.harness.run_directory.documents import DAMAGED, decode
from foothold_lab.harness.run_directory.files import RunFiles

SCHEMA = 2  # of run.json
MOST_LINE = 64 << 20  # bytes of one event
MOST_EVENTS = 1 << 20
_CUT = "the list of events ends within a line: the run was cut short"
_LATEST = 253402300799  # seconds since 1970: the end of the year 9999, Python's last
_MOST_STATUS = 1 << 31
_LONGEST_NAME = 1000
_REMEDY = "give the directory that a run named at its end, or `last`"


class _Schema(msgspec.Struct):
    schema: int


class Head(_Schema):
    """run.json: the version of Foothold, the first event, and the last one."""

    foothold: str
    started: RunStarted | None = None
    finished: RunFinished | None = None


def read_head(directory: Path) -> Head:
    """Read run.json. Raises UsageError."""
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise UsageError(f"{directory} {what}", _REMEDY)
    path = str(directory / "run.json")
    try:
        data = RunFiles(directory).read("run.json")
    except FileNotFoundError as error:
        raise UsageError(
            f"{directory} is not a run directory: it has no run.json", _REMEDY
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", DAMAGED) from error
    _check_schema(data, path)
    head: Head = decode(data, Head, path)
    checker = _Checker()
    for event in (head.started, head.finished):
        if event:
            _check(checker, event, path)
    return head


def _check_schema(data: bytes, path: str) -> None:
    """Raise UsageError if run.json is of another Foothold."""
    schema = decode(data, _Schema, path).schema
    if schema != SCHEMA:
        raise UsageError(
            f"{path} has schema {schema}; this Foothold reads {SCHEMA}",
            "use the Foothold that made the run: `foothold --version` and run.json tell theirs",
        )


def read_events(directory: Path, notes: list[str] | None = None) -> Iterator[AnyEvent]:
    """Yield the events of a run from its start on. An incomplete last line adds a sentence to
    `notes`. Raises UsageError.
    """
    path = directory / "events.jsonl"
    checker = _Checker()
    files = RunFiles(directory)
    try:
        if files.is_file("run.json"):  # a list of events alone can be read, too
            _check_schema(files.read("run.json"), str(directory / "run.json"))
        with closing(files.open(path.name)) as file:
            for number, line in enumerate(_lines(file), 1):
                where = f"{path}, line {number}"
                if not line.endswith(b"\n"):
                    if len(line) == MOST_LINE:
                        raise UsageError(f"{where} has more than {MOST_LINE >> 20} MiB", DAMAGED)
                    if notes is not None:
                        notes.append(_CUT)
                    break
                if number > MOST_EVENTS:
                    raise UsageError(f"{path} has more than {MOST_EVENTS} events", DAMAGED)
                event: AnyEvent = decode(line, AnyEvent, where)
                _check(checker, event, where)
                if checker.has_started:
                    yield event
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", DAMAGED) from error
    if not checker.has_started:
        raise UsageError(f"{directory} has no run", _REMEDY)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MOST_LINE):
        yield line


def _check(checker: _Checker, event: AnyEvent, where: str) -> None:
    try:
        checker.check(event)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", DAMAGED) from error


class _Checker:
    """Checks events against those before them. Raises ValueError."""

    def __init__(self) -> None:
        self.has_started = False
        self._cells: set[str] = set()
        self._finished: set[str] = set()

    def check(self, event: AnyEvent) -> None:
        """Check the next event."""
        _check_numbers(msgspec.to_builtins(event))
        if not 0 <= event.at <= _LATEST:
            raise ValueError(f"{event.at} is not a time")
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, GuestBooting | GuestReady | GuestFailed | GuestStopped):
            check_name(event.guest)
            if event.boot:
                check_name(event.boot)
        elif isinstance(event, CellStarted | CellRetried | CellFinished) and self.has_started:
            if event.cell not in self._cells:
                raise ValueError(f"an event of no cell of this run: {event.cell[:200]!r}")
            if isinstance(event, CellFinished):
                self._finish(event)

    def _start(self, event: RunStarted) -> None:
        if self.has_started:
            raise ValueError("a second run starts")
        self.has_started = True
        for cell in event.cells:
            check_name(cell.id)
            if cell.id in self._cells:
                raise ValueError(f"{cell.id[:200]!r} is a cell of this run twice")
            self._cells.add(cell.id)

    def _finish(self, event: CellFinished) -> None:
        if event.verdict.cell != event.cell:
            raise ValueError(f"a verdict of no cell of this run: {event.verdict.cell[:200]!r}")
        if event.cell in self._finished:
            raise ValueError(f"a second verdict on {event.cell[:200]!r}")
        self._finished.add(event.cell)
        seen = event.verdict.observed
        if seen and not -_MOST_STATUS <= seen.status < _MOST_STATUS:
            raise ValueError(f"{seen.status} is not an exit status")


def check_name(name: str) -> None:
    """Raise ValueError if a name is not a relative path that stays in the directory."""
    parts = name.split("/")
    if "\0" in name or len(name) > _LONGEST_NAME or {"", ".", ".."} & set(parts):
        raise ValueError(f"{name[:200]!r} is not a name")


def _check_numbers(value: object) -> None:
    """Raise ValueError for numbers that are not finite, or do not fit into 64 bits."""
    pending = [value]
    while pending:
        match pending.pop():
            case dict() as members:
                pending += members.values()
            case list() as elements:
                pending += elements
            case int() as number if not -(1 << 63) <= number < 1 << 64:
                raise ValueError("a number has more than 64 bits")
            case float() as number if not math.isfinite(number):
                raise ValueError(f"{number} is not a finite number")
