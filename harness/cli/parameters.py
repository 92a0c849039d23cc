"""Building blocks for command lines: options gathered into a value, files to write, sections."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from foothold_lab.harness.cli.streams import was_stdout_closed
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.images.regular_file import is_directory

F = TypeVar("F", bound=Callable[..., Any])
STDOUT = "-"


def gather(
    argument: str, make: Callable[..., object], options: Sequence[click.Option]
) -> Callable[[F], F]:
    """Add options to a command, which gets their values as one argument, made by `make`.

    `make` takes the value of each option by the option's parameter name.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def gathered(**values: Any) -> Any:
            mine = {str(each.name): values.pop(str(each.name)) for each in options}
            return function(**values, **{argument: make(**mine)})

        # click reads this list from its end
        parameters: list[click.Parameter] = [*getattr(function, "__click_params__", ())]
        gathered.__click_params__ = [*parameters, *reversed(options)]  # type: ignore[attr-defined]
        return cast("F", gathered)

    return decorate


def check_output_file(option: str, path: Path, creates: Path | None = None) -> None:
    """Raise UsageError if an option's file cannot be written: before anything runs, not after.

    Its directory has to exist, because a mistyped path must not create one; or it is `creates`,
    a directory that the command itself creates, or within it.
    """
    if is_directory(path):
        raise UsageError(f"{option}: {path} is a directory", "give the path of a file")
    parent = path.absolute().parent
    if creates and parent.is_relative_to(creates.absolute()):
        return
    closed = any(
        is_directory(each) and not os.access(each, os.X_OK) for each in path.absolute().parents
    )
    if not closed and not parent.is_dir():
        raise UsageError(f"{option}: there is no directory {parent}", f"mkdir -p {parent}")
    if closed or not os.access(path if path.exists() else parent, os.W_OK):
        raise UsageError(f"{option}: {path} cannot be written", "choose another file")


def check_stdout(option: str) -> None:
    """Raise UsageError if standard output, to which an option writes, is closed."""
    if was_stdout_closed():
        raise UsageError(f"{option} -: standard output is closed", f"give a file: {option} FILE")


def output_option(*declarations: str, help: str, stdout: bool = False) -> Callable[[F], F]:
    """Add an option for a file to be written, checked by `check_output_file`.

    With `stdout`, `-` is standard output.
    """

    def check(_: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
        if path and stdout and path == Path(STDOUT):
            check_stdout(parameter.opts[-1])
        elif path:
            check_output_file(parameter.opts[-1], path)
        return path

    return click.option(
        *declarations, type=click.Path(path_type=Path), metavar="FILE", help=help, callback=check
    )


class SectionedCommand(click.Command):
    """A command whose help groups its options into sections, and shows examples.

    `sections` maps a title to the parameter names of its options, in the order of the help. A
    section without any of the command's options is left out. `examples` are pairs of a command
    line and its meaning.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Sequence[str]],
        examples: Sequence[tuple[str, str]] = (),
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.sections = sections
        self.examples = examples

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section; then those that are in none."""
        options = {
            str(each.name): each
            for each in self.get_params(context)
            if isinstance(each, click.Option) and not each.hidden
        }
        for title, names in self.sections.items():
            _write_section(
                title, (options.pop(name) for name in names if name in options), context, formatter
            )
        _write_section("Other options", options.values(), context, formatter)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for command, meaning in self.examples:
                    formatter.write(f"  {command}\n")
                    formatter.write(f"      {meaning}\n")
        super().format_epilog(context, formatter)


def _write_section(
    title: str,
    options: Iterable[click.Option],
    context: click.Context,
    formatter: click.HelpFormatter,
) -> None:
    records = [record for each in options if (record := each.get_help_record(context))]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
