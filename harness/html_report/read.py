"""Reading a run directory that `reporters.rundir` and the runner wrote.

A directory that is not a run directory is an error of the user. A truncated one is read as far as
possible, with notes. Files of subjects are as untrusted as during the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness.evidence import emulator, maps
from foothold_lab.harness.evidence.allocator_report import Report, read_report
from foothold_lab.harness.evidence.mapping_calls import Call
from foothold_lab.harness.evidence.observe import CHECKPOINTS
from foothold_lab.harness.evidence.program import RUNNING
from foothold_lab.harness.evidence.strace import SubjectTrace, follow_subject, parse_trace
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import RunStarted
from foothold_lab.harness.model.ledger import PAGE, AddressSpace, replay
from foothold_lab.harness.model.record import Ending, Record
from foothold_lab.harness.reporters.result import RunResult
from foothold_lab.harness.run_directory import RunFiles, decode, read_events, read_head

LARGEST = 8 << 20  # bytes of one file that are read: a page of more would be of no use
TAIL = 16 << 10  # bytes of what a subject printed, or of its raw evidence, that a page may show
_MOST_MOMENTS = 64  # of a cell at which its maps are read
_REMEDY = "give the directory that a run named at its end, or `last`"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, read from its directory. `notes` describe what is missing."""

    directory: Path
    version: str
    result: RunResult
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> RunFiles:
        """The files of the run."""
        return RunFiles(self.directory)

    @property
    def started(self) -> RunStarted:
        """The event of the start, which every run has."""
        assert self.result.started
        return self.result.started


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The evidence of one cell. `maps` are by checkpoint; `raw` is the text of the files, shortened.

    `problems` describe what could not be read. `page_size` is that of the guest, in bytes.
    """

    maps: Mapping[str, tuple[maps.MappedRange, ...]] = field(default_factory=dict)
    report: Report | None = None
    subject_trace: SubjectTrace | None = None
    address_space: AddressSpace = field(default_factory=AddressSpace)
    ending: Ending | None = None
    raw: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    page_size: int = PAGE


def read_run(directory: Path) -> Run:
    """Read a run. Raises UsageError if the directory holds no readable run."""
    head = read_head(directory)
    if head.started is None:
        raise UsageError(f"{directory}: the run ended before it had cells", _REMEDY)
    result = RunResult()
    notes: list[str] = []
    for event in read_events(directory, notes):
        result(event)
    if head.finished and not result.finished:
        result(head.finished)
    if not result.finished:
        notes.append("the run has no end: it is still running, or was killed")
    return Run(directory=directory, version=head.foothold, result=result, notes=tuple(notes))


def read_evidence(run: Run, cell: str, *, reports: bool, page_size: int = PAGE) -> Evidence:
    """Read what is kept of a cell. Never raises for what is in it.

    `reports` says whether its subject is one that reports, `page_size` is that of its guest in bytes.
    """
    folder = f"cells/{cell}"
    if not run.files.is_directory(folder):
        return Evidence()
    files = _Files(run.files.beneath(folder))
    subject_trace = None
    if log := files.read("emulator.log"):
        said = emulator.read_log(log)
        pid = next((each.pid for each in said.entries if isinstance(each, Call)), 0)
        subject_trace, mapped = emulator.follow_subject(said, pid), files.maps(emulated=(said, pid))
    else:
        if trace := files.read("strace"):
            parsed = parse_trace(trace)
            # the log begins with the agent, which becomes the subject (images/agent/strace_exec.c)
            first = parsed.calls[0].pid if parsed.calls else 0
            subject_trace = follow_subject(parsed, first, page_size=page_size)
        mapped = files.maps()
    stdout = files.read("stdout.jsonl" if reports else "stdout")
    return Evidence(
        maps=mapped,
        report=read_report(stdout) if reports and stdout else None,
        subject_trace=subject_trace,
        address_space=(
            replay(subject_trace.steps, page_size=page_size) if subject_trace else AddressSpace()
        ),
        page_size=page_size,
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

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self.problems: list[str] = []
        self.raw: dict[str, str] = {}

    def read(self, name: str) -> bytes:
        """Return the start of a file, or nothing if it is missing."""
        try:
            data, is_cut = self._files.read_start(name, LARGEST)
        except FileNotFoundError:
            return b""
        except OSError as error:
            self.problems.append(f"{name}: {error.strerror or error}")
            return b""
        if is_cut:
            self.problems.append(f"{name}: only the first {LARGEST >> 20} MiB are read")
        if data:
            self.raw[name] = data[-TAIL:].decode(errors="backslashreplace")
        return data

    def maps(
        self, emulated: tuple[emulator.Log, int] | None = None
    ) -> dict[str, tuple[maps.MappedRange, ...]]:
        """Return the maps by the moment, the last one last. If the program was `emulated`, by what
        the emulator said, and the program's pid, they are that of its own addresses.
        """
        names = [name for name in self._files.names() if name.startswith("maps-")]
        texts = {
            name.removeprefix("maps-"): self.read(name).decode(errors="backslashreplace")
            for name in sorted(names, key=_moment)[:_MOST_MOMENTS]
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
            ending: Ending = decode(data, Ending, "ending.json")
        except UsageError as error:
            self.problems.append(str(error))
            return None
        return ending
