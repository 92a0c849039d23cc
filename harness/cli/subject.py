"""The options by which `foothold run` takes its subjects, and what they come to: the allocator,
those that a plan or the catalogue of packaged ones knows by name, or a program of the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.plan import PlanFile, Program
    from harness.subjects import Root, Subject
    from harness.verdict import Expectation

F = TypeVar("F", bound=Callable[..., Any])
Make = Callable[[], "Subject"]
_OPTIONS = (
    click.option("--subject", "subjects", multiple=True, metavar="S",
                 help="This subject instead: a name that the plan knows, or a program."),
    click.option("--arg", "arguments", multiple=True, metavar="A", help="One of its arguments."),
    click.option("--file", "files", multiple=True, metavar="F", help="A file beside it."),
    click.option("--env", "environment", multiple=True, metavar="K=V", help="In its environment."),
    click.option("--expect", metavar="E",
                 help="starts, path:high, path:low, path:refused, dies:REGEX, anything."),
    click.option("--root", type=click.Choice(["image", "host"]), default="image",
                 help="Its root file system: ours, or read-only this machine's own."),
    click.option("--sysroot", type=click.Path(exists=True, file_okay=False),
                 help="Where the libraries of a program of another machine are."),
    click.option("--patience", type=click.FloatRange(0.1, 3600), metavar="S",
                 help="Seconds after which it counts as running, and is ended (10)."),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What was asked for, in the words of the command line."""

    subjects: tuple[str, ...]
    arguments: tuple[str, ...]
    files: tuple[str, ...]
    environment: tuple[str, ...]
    expect: str | None
    root: str
    sysroot: str | None
    patience: float | None

    def plan(self, plan: PlanFile) -> tuple[PlanFile, tuple[str, ...]]:
        """Return the plan, which also knows the program that was given, and the subjects asked for.

        A name that the plan knows is that subject; a program of the same name is given by its path.
        Raises UsageError.
        """
        names: list[str] = []
        programs = 0
        for given in self.subjects:
            if plan.knows(given):
                names.append(given)
                continue
            program = self._program(given)
            if program.name in names or plan.knows(program.name):
                raise UsageError(
                    f"--subject {given}: there is a subject {program.name} already",
                    "give the program another name, by a link",
                )
            plan = plan.with_program(program)
            names.append(program.name)
            programs += 1
        if self._words() and programs != 1:
            raise UsageError(
                f"{self._words()[0]} is for a program of yours", "name one with --subject PROGRAM"
            )
        return plan, tuple(names)

    def declare(self, cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
        """Return the cells with what `--expect` declares of them, if it was given."""
        expected = self._expected()
        if expected is None:
            return cells
        more = ("--expect", cast("str", self.expect))
        return tuple(replace(each, declared=expected, asked=each.asked + more) for each in cells)

    def _expected(self) -> Expectation | None:
        from harness.verdict import Expectation

        try:
            return Expectation.parse(self.expect) if self.expect is not None else None
        except ValueError as error:
            raise UsageError(f"--expect {error}") from error

    def _program(self, given: str) -> Program:
        from harness.plan import Program
        from harness.subjects import called

        return Program(
            called(given), given, self.arguments, self.files, self.environment,
            cast("Root", self.root), self.patience, sysroot=self.sysroot or "",
            asked=("--subject", given, *self._words()),
        )  # fmt: skip

    def _words(self) -> tuple[str, ...]:
        """The options that describe a program, as they were given."""
        words: list[str] = []
        many = {"--arg": self.arguments, "--file": self.files, "--env": self.environment}
        for name, values in many.items():
            for value in values:
                words += [name, value]
        if self.root != "image":
            words += ["--root", self.root]
        if self.sysroot is not None:
            words += ["--sysroot", self.sysroot]
        if self.patience is not None:
            words += ["--patience", f"{self.patience:g}"]
        return tuple(words)


def subjects_of(
    cells: Sequence[Cell], plan: PlanFile, packaged: Mapping[str, Make]
) -> dict[str, Subject]:
    """Return what runs in these cells, by name; only what they need is looked for, or built.

    Raises UsageError for a program that cannot run, ImageError if a packaged one cannot be built.
    """
    from harness import subjects

    found: dict[str, Subject] = {}
    for name in dict.fromkeys(cell.subject for cell in cells):
        if name == subjects.ALLOCATOR.name:
            found[name] = subjects.ALLOCATOR
        elif name in plan.programs:
            found[name] = _of_program(plan.programs[name])
        else:
            found[name] = packaged[name]()
    return found


def _of_program(this: Program) -> Subject:
    from harness import subjects

    return subjects.of_program(
        this.program, this.arguments, name=this.name, files=this.files,
        environment=this.environment, root=this.root, patience=this.patience or subjects.PATIENCE,
        sysroot=Path(this.sysroot) if this.sysroot else None,
    )  # fmt: skip


def subject_options(function: F) -> F:
    """Add the options to a command, which gets them as one argument, `asked`."""

    def together(**values: Any) -> Any:
        names = Asked.__dataclass_fields__
        asked = Asked(**{name: values.pop(name) for name in names})
        return function(asked=asked, **values)

    together.__doc__ = function.__doc__
    together.__name__ = function.__name__
    together.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        option(together)
    return cast("F", together)
