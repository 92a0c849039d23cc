"""`foothold survey`: which runtime starts where, by which reservation, and under how little."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import (
    FAILED,
    INTERRUPTED,
    OK,
    builder,
    packaged,
    read_plan,
    run_directory,
    stop_as_by_ctrl_c,
)
from foothold_lab.harness.cli.plan_options import Asked, plan_options
from foothold_lab.harness.cli.subject import subjects_of
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.runner.run import Opened, Options
    from foothold_lab.harness.subjects.subject import Subject
    from foothold_lab.harness.threshold.batch import Missing
    from foothold_lab.harness.threshold.bisection import Threshold

PLAN = "runtimes"


@click.command()
@click.argument("plan", default=PLAN, metavar="[PLAN]")
@plan_options(run=True)
@click.option(
    "--thresholds/--no-thresholds",
    default=True,
    help="The smallest limits as well, in guests that the plan limits.",
)
@click.option("--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep it here.")
@click.option(
    "--from",
    "earlier",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the page of this run again, and measure nothing.",
)
def survey(
    plan: str, asked: Asked, thresholds: bool, run_dir: Path | None, earlier: Path | None
) -> int:
    """Run all runtimes in all guests, find the smallest limits, and print docs/survey.md.

    Cells are chosen as by `foothold run`.
    """
    from foothold_lab.harness.survey import markdown, read

    code = OK
    if earlier is None:
        earlier, code = _measure(plan, asked, run_dir, thresholds=thresholds)
    if code != INTERRUPTED:
        click.echo(markdown(read(earlier)), nl=False)
    return code


def _measure(
    plan: str, asked: Asked, run_dir: Path | None, *, thresholds: bool
) -> tuple[Path, int]:
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.rundir import RunDirectory
    from foothold_lab.harness.reporters.terminal import Terminal
    from foothold_lab.harness.runner import run as laboratory
    from foothold_lab.harness.subjects.packaged import RUNTIMES

    maker = builder()
    read, cells = asked.cells(read_plan(plan, maker))
    if strange := {cell.subject for cell in cells} - set(RUNTIMES):
        raise UsageError(
            f"{', '.join(sorted(strange))}: a survey is of the catalogue's runtimes",
            f"take {PLAN}, or --subject with one of {', '.join(RUNTIMES)}",
        )
    directory = run_directory(run_dir)
    with Bus([Terminal(sys.stderr, live=False), RunDirectory(directory)]) as bus:
        stop_as_by_ctrl_c()
        options = laboratory.Options(
            directory=directory,
            builder=maker,
            plan=read.name,
            jobs=asked.value("jobs", read) or read.jobs or 0,
            subjects=subjects_of(cells, read, packaged(maker)),
            command=("foothold", *sys.argv[1:]),
        )
        summary = laboratory.run(cells, options, bus)
        if summary.interrupted:
            return directory, INTERRUPTED
        found, missing = _edges(cells, options, bus) if thresholds else ([], [])
        _write(directory, options, found, missing)
    lost = summary.counts.get("error") or [each for each in missing if not each.unsupported]
    return directory, FAILED if lost else OK


def _edges(
    cells: Sequence[Cell], options: Options, bus: Bus
) -> tuple[list[Threshold], list[Missing]]:
    from foothold_lab.harness.threshold.batch import Edges
    from foothold_lab.harness.threshold.find import find

    def search(subject: Subject, booted: Opened, tell: Callable[[str], None]) -> Threshold:
        return find(subject, booted.guest, booted.facts, tell=tell)

    edges = Edges(options, bus, search)
    edges.all(tuple(dict.fromkeys(cell.guest for cell in cells if cell.limits.rlimit_as)))
    for each in edges.missing:
        click.echo(f"{each.guest}: {each.subject} {each.why}", err=True)
    return edges.found, edges.missing


def _write(
    directory: Path, options: Options, found: Sequence[Threshold], missing: Sequence[Missing]
) -> None:
    import msgspec

    from foothold_lab.harness.reporters.atomic_write import write_whole
    from foothold_lab.harness.subjects.packaged import RUNTIMES, version
    from foothold_lab.harness.survey import FILE, About, Found

    about = {
        name: About(RUNTIMES[name].title, version(name, options.builder))
        for name in options.subjects
    }
    unfound = tuple((each.guest, each.subject, each.why) for each in missing)
    text = msgspec.json.format(msgspec.json.encode(Found(about, tuple(found), unfound)), indent=1)
    write_whole(directory / FILE, text + b"\n")
