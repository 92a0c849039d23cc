"""A guest that stays open and runs one cell after another."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

from foothold_lab.harness import runner, subjects
from foothold_lab.harness.api.errors import image_errors_converted
from foothold_lab.harness.api.vocabulary import canonical_guest
from foothold_lab.harness.guests.base import Guest
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.secret_values import mask_environment
from foothold_lab.harness.model.verdict import Expectation, Verdict
from foothold_lab.harness.subjects.subject import ALLOCATOR, Subject
from foothold_lab.images.builder import Builder


class CellOptions(TypedDict, total=False):
    """How `OpenGuest.run_cell` runs a cell. All keys are optional.

    expect: `starts` (the default for a program), or another expectation of
        docs/reading-a-verdict.md. Without it, only the oracle judges the allocator.
    limits: a `Limits` value, or its words, such as `rlimit_as=300M+overcommit=2`.
    policy, workload: of the allocator; a program has neither.
    files: more files of this machine that are copied beside the program.
    environment: variables of the program.
    timeout: seconds after which a program that still runs counts as running.
    ready_pattern: a regular expression; the program is ready when a line of its output matches.
    ready_port: the program is ready when it listens on this TCP port.
    ready_file: the program is ready when this file, a path as it sees it, appears.
    ready_notify: the program is ready when it sends READY=1 as sd_notify(3) does.
    """

    expect: str
    limits: Limits | str
    policy: str
    workload: str
    files: Sequence[str | Path]
    environment: Mapping[str, str]
    timeout: float
    ready_pattern: str
    ready_port: int
    ready_file: str
    ready_notify: bool


@dataclass(frozen=True, kw_only=True)
class _Request:
    """One call of `run_cell`: a program and its arguments, or the allocator."""

    program: str | Path | None
    arguments: tuple[str, ...]
    expect: str = ""
    limits: Limits | str = "none"
    policy: str = "after"
    workload: str = "default"
    files: Sequence[str | Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = subjects.TIMEOUT
    ready_pattern: str = ""
    ready_port: int = 0
    ready_file: str = ""
    ready_notify: bool = False

    def subject(self) -> Subject:
        """Return what runs. Raises UsageError for a program that cannot run in any guest."""
        if self.program is None:
            return ALLOCATOR
        options = subjects.ProgramOptions(
            files=[str(each) for each in self.files],
            environment=[f"{name}={value}" for name, value in self.environment.items()],
            timeout=self.timeout,
            ready_pattern=self.ready_pattern,
            ready_port=self.ready_port,
            ready_file=self.ready_file,
            ready_notify=self.ready_notify,
        )
        return subjects.of_program(str(self.program), self.arguments, options)

    def cell(self, guest: str, subject: Subject) -> Cell:
        """Return the cell. Raises UsageError for a limit or an expectation that does not exist."""
        limits = Limits.parse(self.limits) if isinstance(self.limits, str) else self.limits
        expect = self.expect or ("" if subject.reports else "starts")
        expected = Expectation.parse(expect).with_output_read(Path()) if expect else None
        if expected and expected.same_output_as:
            raise UsageError(
                f"{expect}: an open guest cannot run a cell in another guest",
                "run the plan of both guests with foothold_lab.run",
            )
        return Cell(
            guest=guest,
            limits=limits,
            policy=self.policy if subject.reports else "",
            subject=subject.name,
            workload=self.workload if subject.reports else "default",
            expected=expected,
            asked=tuple(self._words(expect)),
        )

    def _words(self, expect: str) -> Iterator[str]:
        """Return the options of `foothold run` that give the same cell."""
        if self.program is None:
            if self.workload != "default":
                yield from ("--workload", self.workload)
        else:
            yield from ("--subject", str(self.program))
            yield from (word for each in self.arguments for word in ("--arg", each))
            yield from (word for each in self.files for word in ("--file", str(each)))
            for name, value in mask_environment(self.environment).items():
                yield from ("--env", f"{name}={value}")
            if self.timeout != subjects.TIMEOUT:
                yield from ("--timeout", f"{self.timeout:g}")
            if self.ready_pattern:
                yield from ("--ready-pattern", self.ready_pattern)
            if self.ready_port:
                yield from ("--ready-port", str(self.ready_port))
            if self.ready_file:
                yield from ("--ready-file", self.ready_file)
            if self.ready_notify:
                yield "--ready-notify"
        if expect:
            yield from ("--expect", expect)


@dataclass
class OpenGuest:
    """A guest that has booted.

    `directory` keeps the evidence: the console, and a directory for each cell.
    """

    name: str
    directory: Path = field(repr=False)
    booted: runner.BootedGuest = field(repr=False)

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts of the cells that it ran, in order."""
        return self.booted.verdicts

    @property
    def facts(self) -> Facts:
        """The measured properties of its address space."""
        return self.booted.facts

    @property
    def guest(self) -> Guest:
        """The guest of the harness: `open`, `push`, `pull`, `diagnose`. Not part of the interface."""
        return self.booted.guest

    @property
    def console(self) -> str:
        """The last lines that the guest printed on its console."""
        return self.booted.guest.diagnose()

    def run_cell(
        self, program: str | Path | None = None, *arguments: str, **options: Unpack[CellOptions]
    ) -> Verdict:
        """Run a program of this machine in the guest, or the allocator if none is given.

        A dynamically linked program brings its libraries along. Raises UsageError if the program,
        a limit or an expectation makes no sense. A cell that this guest cannot run has the result
        `unsupported`; an error of the guest or of the laboratory has the result `error`.
        """
        request = _Request(program=program, arguments=arguments, **options)
        subject = request.subject()
        place = self.directory / f"cell-{len(self.verdicts) + 1}"
        cell = request.cell(self.name, subject)
        with image_errors_converted():
            return self._run(cell, subject, place)

    def _run(self, cell: Cell, subject: Subject, directory: Path) -> Verdict:
        return runner.run_added_cell(self.booted, cell, subject, directory)


@contextlib.contextmanager
def open_guest(
    name: str, *, builder: Builder | None = None, directory: Path | None = None
) -> Iterator[OpenGuest]:
    """Boot a guest, and stop it at the end of the `with` block.

    `builder` makes the images, by default in the cache of the user. `directory` keeps the evidence,
    by default a new temporary directory that is not deleted. Raises UsageError for an unknown name,
    UnsupportedError if this machine cannot boot the guest, GuestError if the guest does not answer,
    InfrastructureError if an image cannot be built.
    """
    builder = builder or Builder()
    directory = directory or new_directory()
    with contextlib.ExitStack() as stack:
        with image_errors_converted():
            canonical = canonical_guest(name, builder)
            options = runner.RunOptions(
                directory=directory, builder=builder, jobs=1, memory=runner.PROGRAM_MEMORY
            )
            one = stack.enter_context(runner.open_guest(canonical, options, _ignore))
        yield OpenGuest(canonical, directory, one)


def new_directory() -> Path:
    """Make a directory for the evidence of one run. It is not deleted."""
    return Path(tempfile.mkdtemp(prefix="foothold-"))


def _ignore(_: AnyEvent) -> None:
    """An open guest has no reporter: its caller holds the verdicts."""
