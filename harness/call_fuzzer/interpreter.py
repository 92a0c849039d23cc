"""Runs programs of calls in one guest. A guest that a program has ended is booted again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from threading import Lock

from foothold_lab.harness import subjects
from foothold_lab.harness.call_fuzzer.report import (
    GUEST_ENDS,
    Answers,
    Program,
    program_text,
    read_call_report,
)
from foothold_lab.harness.guests.base import run_program
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, InfrastructureError, SubjectError
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.kernel_log import kernel_faults
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.runner import BootedGuest, ConsoleLog, RunOptions, open_guest
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder
from foothold_lab.images.probes import CALL_PROGRAMS, IMAGE

_AT_ONCE = 250  # programs of one start: their output fits into what is kept of it
_SECONDS = 60.0  # of one start in a guest of native speed; a program that hangs takes 3
_LIMITS = Limits()


def interpreter_subject(builder: Builder) -> Subject:
    """Return the interpreter as a subject. Raises ImageError if its image cannot be built."""
    image = str(builder.image(IMAGE))
    return Subject(
        name=CALL_PROGRAMS,
        argv=(f"{image}/{CALL_PROGRAMS}",),
        image=IMAGE,
        image_directory=image,
        timeout=_SECONDS,
        ends=True,
        machine="x86_64",
    )


class Interpreter:
    """A guest that runs programs of calls: a context manager. `guest` is its canonical name.

    `boots` counts how often it was booted.
    """

    def __init__(self, guest: str, options: RunOptions) -> None:
        self.guest = guest
        self.boots = 0
        self._options = options
        self._subject = next(iter(options.subjects.values()))
        self._stack = ExitStack()
        self._booted: BootedGuest | None = None
        self._guard = Lock()  # guests in several threads are compared with one reference

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def booted(self) -> BootedGuest:
        """The guest, booted if it does not run. Raises UnsupportedError, GuestError, ImageError."""
        if self._booted is None:
            self.boots += 1
            directory = self._options.directory / f"{self.guest}-{self.boots}"
            options = replace(self._options, directory=directory)
            self._booted = self._stack.enter_context(open_guest(self.guest, options, _ignore))
        return self._booted

    def run(self, programs: Sequence[Program]) -> list[Answers]:
        """Return the answers of each program. Raises what `booted` raises, and InfrastructureError.

        A program after which the kernel reports a fault of its own has the message as last answer.
        """
        answers: list[Answers] = []
        with self._guard:
            while len(answers) < len(programs):
                answers += self._start(programs[len(answers) : len(answers) + _AT_ONCE])
        return answers

    def _start(self, programs: Sequence[Program]) -> list[Answers]:
        """Return the answers of the first programs, at least of one."""
        booted = self.booted
        cell = Cell(guest=self.guest, limits=_LIMITS, policy="", subject=self._subject.name)
        guest = booted.guest
        command = subjects.command(self._subject, cell, guest.paths, trace=False)
        how = subjects.supervision(self._subject, guest.paths, guest.scale, trace=False)
        argv = (*command, *map(program_text, programs))
        deadline = Deadline.after(2 * _SECONDS * guest.scale)
        # without its boot, of which an emulated kernel reports a lockup if its host is busy
        console = ConsoleLog(booted.directory)
        try:
            record = run_program(guest, argv, _LIMITS, deadline, how=how)
        except (GuestError, SubjectError) as error:
            self._stop()
            if not error.record:
                raise
            return _before_death(error.record.stdout)
        answers = list(read_call_report(record.stdout).answers)
        if not answers:
            text = record.stderr.decode(errors="replace").strip() or "it printed nothing"
            raise InfrastructureError(f"{CALL_PROGRAMS} in {self.guest}: {text}", "report this")
        guest.diagnose()  # it completes the log
        if faults := kernel_faults(console.read()):
            self._stop()
            return self._blame(programs[: len(answers)], answers, faults[0].splitlines()[0])
        return answers

    def _blame(
        self, programs: Sequence[Program], answers: Sequence[Answers], fault: str
    ) -> list[Answers]:
        """Find the program after which the kernel reports a fault, by running halves again."""
        if len(programs) == 1:
            return [(*answers[0], f"kernel: {fault}")]
        middle = len(programs) // 2
        return self._start(programs[:middle])

    def _stop(self) -> None:
        self._booted = None
        self._stack.close()


def _before_death(stdout: bytes) -> list[Answers]:
    """Return the answers of the programs before the one that ended its guest, and of this one."""
    report = read_call_report(stdout)
    ends: list[Answers] = [(GUEST_ENDS,)] if report.unfinished or not report.answers else []
    return [*report.answers, *ends]


def _ignore(_: AnyEvent) -> None:
    """Boots are not reported."""
