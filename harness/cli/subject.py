"""The options by which `foothold run` takes a program of the user's, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.subjects import Root, Subject

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--subject", metavar="PROGRAM", help="This program instead of the allocator."),
    click.option("--arg", "arguments", multiple=True, metavar="A", help="One of its arguments."),
    click.option("--file", "files", multiple=True, metavar="F", help="A file beside it."),
    click.option("--env", "environment", multiple=True, metavar="K=V", help="In its environment."),
    click.option("--expect", metavar="E", help="starts, path:high, path:low, dies:REGEX (starts)."),
    click.option("--root", type=click.Choice(["image", "host"]), default="image",
                 help="Its root file system: ours, or read-only this machine's own."),
    click.option("--patience", type=click.FloatRange(0.1, 3600), metavar="S",
                 help="Seconds after which it counts as running, and is ended (10)."),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What was asked for, in the words of the command line."""

    subject: str | None
    arguments: tuple[str, ...]
    files: tuple[str, ...]
    environment: tuple[str, ...]
    expect: str | None
    root: str
    patience: float | None

    def resolve(self) -> Subject:
        """Return the subject. Raises UsageError."""
        from harness import subjects

        if self.subject is None:
            if self.words():
                raise UsageError(
                    f"{self.words()[0]} is for a program of yours", "name it with --subject PROGRAM"
                )
            return subjects.ALLOCATOR
        return subjects.of_program(
            self.subject, self.arguments, files=self.files, environment=self.environment,
            root=cast("Root", self.root), patience=self.patience or subjects.PATIENCE,
        )  # fmt: skip

    def cells(self, cells: tuple[Cell, ...], subject: Subject) -> tuple[Cell, ...]:
        """Make a plan's cells those of the subject: it has no policy, and `--expect` declares."""
        from harness.verdict import Expectation

        if subject.reports:
            return cells
        try:
            declared = Expectation.parse(self.expect or "starts")
        except ValueError as error:
            raise UsageError(f"--expect {error}") from error
        asked = tuple(self.words())
        mine = (
            replace(cell, policy="", subject=subject.name, declared=declared, asked=asked)
            for cell in cells
        )
        return tuple(dict.fromkeys(mine))

    def words(self) -> list[str]:
        """The options as they were given."""
        words = []
        one = {"--subject": self.subject, "--expect": self.expect}
        many = {"--arg": self.arguments, "--file": self.files, "--env": self.environment}
        for name, value in one.items():
            words += [name, value] if value is not None else []
        for name, values in many.items():
            for value in values:
                words += [name, value]
        if self.root != "image":
            words += ["--root", self.root]
        if self.patience is not None:
            words += ["--patience", f"{self.patience:g}"]
        return words


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
