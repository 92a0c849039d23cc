"""`foothold watch`: tests a program again whenever it changes."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.cli.context import (
    handle_termination,
    make_builder,
    make_run_directory,
    packaged_subjects,
    read_plan,
)
from foothold_lab.harness.cli.parameters import SectionedCommand
from foothold_lab.harness.cli.plan_options import (
    SECTIONS,
    Overrides,
    arguments_for_program,
    choose_plan,
    plan_options,
)
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile
    from foothold_lab.harness.watch.session import Selection
    from foothold_lab.harness.watch.view import View
    from foothold_lab.images.builder import Builder

_EXAMPLES = (
    (
        "foothold watch -- make",
        "Run make when a source changes, and test the program that it makes.",
    ),
    (
        "foothold watch ./server --ready-pattern listening -- cargo build",
        "The same for one of several programs.",
    ),
    ("foothold watch ./server --guest uml-6.1", "Test this program whenever it is written again."),
)


class _WatchCommand(SectionedCommand):
    """Keeps what follows `--` apart: it is another command line."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            context.meta["build"] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(context, args)


@click.command(
    cls=_WatchCommand,
    sections=SECTIONS,
    examples=_EXAMPLES,
    short_help="Test a program again whenever it changes.",
)
@click.argument("programs", nargs=-1, metavar="[PROGRAM] [-- COMMAND [ARG]...]")
@click.option(
    "--plan",
    default="default",
    show_default=True,
    metavar="PLAN",
    help="The plan whose cells run: a name or a file.",
)
@plan_options()
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the evidence of the last run of the cells here.",
)
@click.pass_context
def watch(
    context: click.Context,
    programs: tuple[str, ...],
    plan: str,
    overrides: Overrides,
    run_dir: Path | None,
) -> None:
    """Test a program in guests that stay booted, again whenever it changes.

    With COMMAND, it runs in the current directory at the start and whenever a file below that
    directory changes, except files that git ignores. When it has succeeded, the program is tested.
    Without PROGRAM, it is the only program that COMMAND makes. The answers are redrawn in place; * marks
    those that differ from the answers for the program before. Ctrl-C ends it.
    """
    build = context.meta.get("build")
    if build == ():
        raise UsageError("-- needs a command after it", "name one: foothold watch -- make")
    program = _program(programs, overrides, has_build=build is not None)
    _watch(program, plan, overrides, run_dir, build)


def _program(words: tuple[str, ...], overrides: Overrides, *, has_build: bool) -> str | None:
    """Return the program that a command line names. Raises UsageError."""
    named = (*words[:1], *overrides.given["subjects"])
    if len(words) > 1:
        raise UsageError(
            f"unexpected argument {words[1]!r}",
            f"to pass arguments to the program: {arguments_for_program(words[1:])}",
        )
    if len(named) > 1:
        raise UsageError("foothold watch tests one program", f"name only one: {named[0]}")
    if not named and not has_build:
        raise UsageError(
            "there is nothing to watch",
            "name a program, ./PROGRAM, or a command that makes it: foothold watch -- make",
        )
    return named[0] if named else None


def _watch(
    word: str | None,
    plan_name: str,
    overrides: Overrides,
    run_dir: Path | None,
    command: tuple[str, ...] | None,
) -> None:
    from foothold_lab.harness.guests import native
    from foothold_lab.harness.reporters.terminal import is_live
    from foothold_lab.harness.runner import RunOptions
    from foothold_lab.harness.watch.build import Build
    from foothold_lab.harness.watch.inotify import Inotify
    from foothold_lab.harness.watch.programs import find_program
    from foothold_lab.harness.watch.session import Session
    from foothold_lab.harness.watch.sources import SourceWatch
    from foothold_lab.harness.watch.view import make_view

    handle_termination()
    here = Path.cwd()
    builder = make_builder()
    plan = read_plan(choose_plan((plan_name,), overrides), builder)
    program = _path(word) if word else None
    _select(plan, overrides, program or here / "program")  # mistakes are reported now
    build = None
    if command:
        agent = builder.image(native.needs(builder)[0]) / "agent"
        build = Build(argv=command, directory=here, agent=agent)
    directory = make_run_directory(run_dir)
    options = RunOptions(
        directory=directory,
        builder=builder,
        machines=plan.vocabulary.machines,
        trace=overrides.value("trace", plan) is not False,
        plan=plan.name,
        command=("foothold", "watch"),
    )
    with Inotify() as inotify, contextlib.ExitStack() as stack:
        view: View = make_view(sys.stdout, live=is_live(sys.stdout))
        stack.callback(view.end)
        Session(
            program=program,
            select=functools.partial(_chosen, plan, builder, overrides),
            find=functools.partial(find_program, here),
            build=build,
            watch=SourceWatch(inotify, here if build else None, directory),
            options=options,
            view=view,
        ).run()


def _path(word: str) -> Path:
    """Return the path of a program, which need not exist if it has a slash. Raises UsageError."""
    if "/" in word or Path(word).is_file():
        return Path(word).absolute()
    if found := shutil.which(word):
        return Path(found).absolute()
    raise UsageError(f"the program {word} does not exist", f"give the path of a program: ./{word}")


def _select(
    plan: PlanFile, overrides: Overrides, program: Path
) -> tuple[PlanFile, tuple[Cell, ...]]:
    """Return the cells of a program, and the plan that knows it. Raises UsageError."""
    from foothold_lab.harness.plan.references import with_references

    plan, cells = overrides.with_values(subjects=(str(program),)).select_cells(plan)
    return plan, with_references(cells)


def _chosen(plan: PlanFile, builder: Builder, overrides: Overrides, program: Path) -> Selection:
    """Return what is run of a program as it is now. Raises UsageError if it cannot run."""
    from foothold_lab.harness.watch.session import Selection

    plan, cells = _select(plan, overrides, program)
    return Selection.now(cells, subjects_of(cells, plan, packaged_subjects(builder)))
