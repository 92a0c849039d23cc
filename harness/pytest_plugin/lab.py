"""What a test session has of the laboratory: guests that are booted once, and asked many times."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.base import Guest, Support
from foothold_lab.harness.guests.catalogue import GuestType, catalogue, known_guests
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame, FootholdError, UsageError, did_you_mean
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Expectation, Verdict
from foothold_lab.harness.runner.run import Opened, Options, opened
from foothold_lab.harness.subjects.subject import ALLOCATOR, Subject
from foothold_lab.images.builder import Builder


@dataclass
class Booted:
    """A guest that answers. `verdicts` are those of the cells that it was asked, in order."""

    name: str
    opened: Opened = field(repr=False)
    verdicts: list[Verdict] = field(default_factory=list, repr=False)

    @property
    def facts(self) -> Facts:
        """Its address space, as measured."""
        return self.opened.facts

    @property
    def guest(self) -> Guest:
        """The guest itself, with its seven verbs."""
        return self.opened.guest


@dataclass
class Lab:
    """The guests of a session. `root` is where evidence is kept, `say` is told what takes time."""

    root: Path
    say: Callable[..., None]
    _builder: Builder | None = None
    _booted: Booted | None = None
    _ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _count: Iterator[int] = field(default_factory=itertools.count)

    @property
    def builder(self) -> Builder:
        """What makes images, the first time that they are needed."""
        if self._builder is None:
            self._builder = Builder(say=self.say)
        return self._builder

    def name(self, guest: str) -> str:
        """Return a guest's canonical name. Raises UsageError."""
        known = known_guests(self.builder)
        if guest not in known:
            raise UsageError(
                f"there is no guest {guest!r}{did_you_mean(guest, known)}",
                f"guests are: {', '.join(known)}",
            )
        return known[guest]

    def guests(self) -> Mapping[str, GuestType]:
        """All guests by canonical name."""
        return catalogue(self.builder)

    def support(self, guest: str) -> Support:
        """Say whether this machine can boot it; nothing is booted."""
        return self.guests()[guest].supported(self.builder, self.root)

    def shared(self, guest: str) -> Booted:
        """Return the guest that one test after another shares, booting it first if need be.

        The one before it is ended; one that a cell has hurt is replaced. Raises FootholdError.
        """
        if self._booted:
            hurt = any(each.blame is Blame.GUEST for each in self._booted.verdicts)
            if self._booted.name == guest and not hurt:
                return self._booted
            self.close()
        with contextlib.ExitStack() as made:
            self._booted = made.enter_context(self.fresh(guest))
            self._ending = made.pop_all()
        return self._booted

    @contextlib.contextmanager
    def fresh(self, guest: str) -> Iterator[Booted]:
        """A guest of one's own, gone afterwards. Raises FootholdError."""
        options = Options(self.root / f"boot-{next(self._count)}", self.builder, jobs=1)
        with opened(guest, options, _nobody) as one:
            yield Booted(guest, one)

    def ask(
        self,
        booted: Booted,
        limits: Limits,
        *,
        policy: str,
        workload: str,
        program: Subject | None,
        expect: Expectation | None,
    ) -> Verdict:
        """Take a cell to its verdict in a guest that is booted."""
        subject = program or ALLOCATOR
        cell = Cell(
            booted.name,
            limits,
            "" if program else policy,
            subject.name,
            workload="default" if program else workload,
            expected=expect,
        )
        verdict = booted.opened.ask(cell, subject, self.root / f"cell-{next(self._count)}")
        booted.verdicts.append(verdict)
        return verdict

    def close(self) -> None:
        """End the guest that is shared."""
        self._booted = None
        with contextlib.suppress(FootholdError):
            self._ending.close()


def program(
    name: str,
    arguments: Sequence[str],
    files: Sequence[str],
    environment: Mapping[str, str],
    timeout: float | None,
) -> Subject:
    """Make a subject of a program of this machine; see `subjects.of_program`."""
    return subjects.of_program(
        name,
        arguments,
        files=files,
        environment=[f"{key}={value}" for key, value in environment.items()],
        timeout=timeout or subjects.TIMEOUT,
    )


def _nobody(_: events.AnyEvent) -> None:
    """Tests have their own report."""
