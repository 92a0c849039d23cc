"""Reading a run directory that `reporters.rundir` and the runner wrote.

A directory that is not a run directory is an error of the user. A truncated one is read as far as
possible, with notes. Files of subjects are as untrusted as during the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from foothold_lab.harness.evidence import emulator, maps
from foothold_lab.harness.evidence.allocator_report import Report, read_report
from foothold_lab.harness.evidence.mapping_calls import Call
from foothold_lab.harness.evidence.observe import CHECKPOINTS
from foothold_lab.harness.evidence.program import RUNNING
from foothold_lab.harness.evidence.strace import SubjectTrace, follow_subject, parse_trace
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import AnyEvent, RunFinished, RunStarted
from foothold_lab.harness.model.ledger import AddressSpace, replay
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.reporters.result import RunResult
from foothold_lab.harness.reporters.rundir import SCHEMA

LARGEST = 8 << 20  # bytes of one file that are read: a page of more would be of no use
TAIL = 16 << 10  # bytes of what a subject printed, or of its raw evidence, that a page may show
_HINT = "give the directory that a run named at its end, or `last`"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, read from its directory. `notes` describe what is missing."""

    directory: Path
    version: str
    result: RunResult
    notes: tuple[str, ...] = ()

    def inside(self, name: str) -> Path | None:
        """Return a file or directory of the run; None if it is missing or outside of the run directory."""
        try:
            path = (self.directory / name).resolve(strict=True)
            return path if path.is_relative_to(self.directory.resolve()) else None
        except (OSError, ValueError):  # a name from a damaged list may be anything
            return None

    @property
    def started(self) -> RunStarted:
        """The event of the start, which every run has."""
        assert self.result.started
        return self.result.started


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The evidence of one cell. `maps` are by checkpoint; `raw` is the text of the files, shortened.

    `problems` describe what could not be read.
    """

    maps: Mapping[str, tuple[maps.MappedRange, ...]] = field(default_factory=dict)
    report: Report | None = None
    subject_trace: SubjectTrace | None = None
    address_space: AddressSpace = field(default_factory=AddressSpace)
    ending: Ending | None = None
    raw: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class _Kind(msgspec.Struct):
    schema: int


class _Head(_Kind):
    foothold: str
    started: RunStarted | None = None
    finished: RunFinished | None = None


def read_run(directory: Path) -> Run:
    """Read a run. Raises UsageError if the directory holds no readable run."""
    head = _head(directory)
    if head.started is None:
        raise UsageError(f"{directory}: the run ended before it had cells", _HINT)
    result = RunResult()
    result(head.started)
    notes = list(_events(directory / "events.jsonl", result))
    mine = {cell.id for cell in result.cells}
    verdicts = result.verdicts.items()
    if strangers := [cell for cell, one in verdicts if cell not in mine or cell != one.cell]:
        raise UsageError(
            f"{directory} has a verdict of no cell of its own: {strangers[0][:200]!r}",
            "the run directory is damaged",
        )
    if head.finished and not result.finished:
        result(head.finished)
    if not result.finished:
        notes.append("the run has no end: it is still running, or was killed")
    return Run(directory=directory, version=head.foothold, result=result, notes=tuple(notes))


def _head(directory: Path) -> _Head:
    path = directory / "run.json"
    if not directory.is_dir():
        raise UsageError(f"{directory}: there is no such directory", _HINT)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"{directory} is not a run directory: it has no run.json", _HINT
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    try:
        schema = msgspec.json.decode(data, type=_Kind).schema
        if schema == SCHEMA:
            return msgspec.json.decode(data, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}",
            "the run directory is damaged, or belongs to another program",
        ) from error
    raise UsageError(
        f"{path} has schema {schema}; this Foothold reads {SCHEMA}",
        "use the Foothold that made the run: `foothold --version` and run.json tell theirs",
    )


def _events(path: Path, result: RunResult) -> Iterator[str]:
    """Tell `result` every event; the last line may be cut, as by kill -9 or a full disk."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror or error}", "the run directory is damaged: run it again"
        ) from error
    cut = lines.pop()
    decoder = msgspec.json.Decoder(AnyEvent)
    for number, line in enumerate(lines, start=1):
        try:
            result(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{path}, line {number}: {error}",
                "the run directory is damaged, or another Foothold made it",
            ) from error
    if cut:
        yield "the list of events ends within a line: the run was cut short"


def read_evidence(run: Run, cell: str, *, reports: bool) -> Evidence:
    """Read what is kept of a cell. Never raises for what is in it.

    `reports` says whether its subject is one that reports.
    """
    folder = run.inside(f"cells/{cell}")
    if folder is None or not folder.is_dir():
        return Evidence()
    files = _Files(folder)
    subject_trace = None
    if log := files.read("emulator.log"):
        said = emulator.read_log(log)
        pid = next((each.pid for each in said.entries if isinstance(each, Call)), 0)
        subject_trace, mapped = emulator.follow_subject(said, pid), files.maps(emulated=(said, pid))
    else:
        if trace := files.read("strace"):
            parsed = parse_trace(trace)
            # the log begins with the agent, which becomes the subject (images/agent/strace_exec.c)
            subject_trace = follow_subject(parsed, parsed.calls[0].pid if parsed.calls else 0)
        mapped = files.maps()
    stdout = files.read("stdout.jsonl" if reports else "stdout")
    return Evidence(
        maps=mapped,
        report=read_report(stdout) if reports and stdout else None,
        subject_trace=subject_trace,
        address_space=replay(subject_trace.steps) if subject_trace else AddressSpace(),
        ending=files.ending(),
        raw=files.raw,
        problems=tuple(files.problems),
    )


def _moment(name: str) -> tuple[int, str]:
    """Order the moments as they come; files lose their times when a run is copied."""
    moment = name.removeprefix("maps-")
    known = (*CHECKPOINTS, RUNNING)
    return (known.index(moment) if moment in known else -1, moment)


class _Files:
    """The directory of a cell. Collects problems with its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[str] = []
        self.raw: dict[str, str] = {}

    def read(self, name: str) -> bytes:
        """Return the start of a file, or nothing if it is missing."""
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(LARGEST)
                if file.read(1):
                    self.problems.append(f"{name}: only the first {LARGEST >> 20} MiB are read")
        except FileNotFoundError:
            return b""
        except OSError as error:
            self.problems.append(f"{name}: {error.strerror or error}")
            return b""
        if data:
            self.raw[name] = data[-TAIL:].decode(errors="backslashreplace")
        return data

    def maps(
        self, emulated: tuple[emulator.Log, int] | None = None
    ) -> dict[str, tuple[maps.MappedRange, ...]]:
        """Return the maps by the moment, the last one last. If the program was `emulated`, by what
        the emulator said, and the program's pid, they are that of its own addresses.
        """
        paths = sorted(self._folder.glob("maps-*"), key=lambda path: _moment(path.name))
        texts = {
            path.name.removeprefix("maps-"): self.read(path.name).decode(errors="backslashreplace")
            for path in paths
        }
        read = {}
        for moment, text in texts.items():
            try:
                if emulated:
                    log, pid = emulated
                    record = Record(
                        argv=(),
                        pid=pid,
                        ending=Ending(status=0),
                        stdout=b"",
                        stderr=b"",
                        maps=texts,
                        stopped=RUNNING in texts,
                    )
                    read[moment] = emulator.maps_at(record, log, moment)
                else:
                    read[moment] = maps.parse_maps(text)
            except maps.MapsError as error:
                self.problems.append(f"maps-{moment}: {error}")
        return read

    def ending(self) -> Ending | None:
        """Return how the subject ended, or None without a record of it."""
        if not (data := self.read("ending.json")):
            return None
        try:
            return msgspec.json.decode(data, type=Ending)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.problems.append(f"ending.json: {error}")
            return None
