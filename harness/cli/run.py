"""`foothold run`: cells in, verdicts out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.common import (
    FAILED,
    FINDING,
    INTERRUPTED,
    OK,
    name_of_now,
    packaged,
    read_plan,
    state,
    stop_as_by_ctrl_c,
)  # fmt: skip
from harness.cli.subject import Asked, subject_options, subjects_of
from harness.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from harness.plan import PlanFile
    from harness.run import Summary


@click.command()
@click.argument("plan", default="default", metavar="[PLAN]")
@click.option("--guest", "guests", multiple=True, metavar="G", help="This guest instead.")
@click.option("--limit", "limits", multiple=True, metavar="L", help="none, rlimit_as=300M, …")
@click.option("--policy", "policies", multiple=True, metavar="P", help="The allocator's policy.")
@click.option("--workload", "workloads", multiple=True, metavar="W", help="And this one for it.")
@click.option("--uml", type=click.Path(path_type=Path), metavar="FILE", help="A UML kernel.")
@click.option("--kernel", type=click.Path(path_type=Path), metavar="FILE", help="One for QEMU.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), metavar="N", help="Guests at once.")
@click.option("--json", "json_file", metavar="FILE", help="All of it as JSON; - is stdout.")
@click.option("--junit", "junit_file", metavar="FILE", help="All of it as JUnit's XML.")
@click.option("--require", multiple=True, metavar="G", help="Fail if this guest is unsupported.")
@click.option("--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep it here.")
@click.option("--locked", is_flag=True, help="Only packages that the lock names.")
@click.option("--fresh", is_flag=True, help="Boot each guest anew for every cell.")
@click.option("--trace/--no-trace", default=True, help="System calls as the third witness.")
@click.option("-q", "--quiet", is_flag=True, help="Only what failed, and the sum.")
@subject_options
def run(
    plan: str,
    guests: tuple[str, ...],
    limits: tuple[str, ...],
    policies: tuple[str, ...],
    workloads: tuple[str, ...],
    uml: Path | None,
    kernel: Path | None,
    jobs: int | None,
    json_file: str | None,
    junit_file: str | None,
    require: tuple[str, ...],
    run_dir: Path | None,
    locked: bool,
    fresh: bool,
    trace: bool,
    quiet: bool,
    asked: Asked,
) -> int:
    """Run a plan: a shipped one by its name, or a TOML file.

    With --uml or --kernel, on a kernel of your own instead of the plan's guests.
    """
    from harness import events
    from harness import run as laboratory
    from harness.guests.own import OwnKernels
    from harness.sinks import Bus
    from harness.sinks.junit import Junit
    from harness.sinks.rundir import RunDirectory
    from harness.sinks.summary_json import SummaryJson
    from harness.sinks.terminal import Terminal, is_live
    from images.builder import Builder

    stream = sys.stderr if json_file == "-" else sys.stdout
    with Bus([Terminal(stream, live=is_live(stream), quiet=quiet)]) as bus:

        def say(what: str, /, *, passing: bool = False) -> None:
            bus(events.Progress(what=what, passing=passing))

        builder = Builder(locked=locked, say=say)
        own = OwnKernels(uml, kernel)
        own.check()
        read = read_plan(plan, builder, own)
        read, subjects = asked.plan(read)
        cells = asked.declare(
            read.cells((*own.guests, *guests), limits, policies, subjects, workloads)
        )
        cells = tuple(replace(cell, where=own.where(cell.guest)) for cell in cells)
        required = _required(read, require, {cell.guest for cell in cells})
        directory = _run_directory(run_dir)
        bus.add(RunDirectory(directory))
        if json_file:
            bus.add(SummaryJson(json_file))
        if junit_file:
            bus.add(Junit(junit_file))
        stop_as_by_ctrl_c()
        summary = laboratory.run(
            cells,
            laboratory.Options(
                directory=directory,
                builder=builder,
                own=own,
                jobs=jobs or 0,
                fresh=fresh,
                trace=trace,
                subjects=subjects_of(cells, read, packaged(builder)),
                require=required,
                plan=read.name,
                command=("foothold", *map(_printable, sys.argv[1:])),
            ),
            bus,
        )
    code = _exit_code(summary, len(cells))
    return FAILED if code == OK and bus.failed else code  # a report that was asked for is missing


def _required(plan: PlanFile, asked: Sequence[str], guests: set[str]) -> frozenset[str]:
    """Return the guests that must be there; those asked for by hand must also have cells."""
    names = frozenset(plan.known.guest(each) for each in asked)
    if idle := sorted(names - guests):
        raise UsageError(
            f"{', '.join(idle)} is required and has no cell in this run",
            "add it with --guest, or leave --require",
        )
    return names | plan.require & guests


def _run_directory(chosen: Path | None) -> Path:
    """Make the run's directory, which no other run has."""
    directory = (chosen or state() / "runs" / name_of_now()).absolute()
    if (directory / "run.json").exists():
        raise UsageError(f"{directory} holds a run already", "give --run-dir a new directory")
    try:
        directory.mkdir(parents=True, exist_ok=chosen is not None)
    except OSError as error:
        raise InfrastructureError(
            f"{directory} cannot be made: {error.strerror}", "give --run-dir another directory"
        ) from error
    return directory


def _printable(argument: str) -> str:
    """An argument that is not UTF-8 has to be written down all the same."""
    return argument.encode(errors="backslashreplace").decode()


def _exit_code(summary: Summary, cells: int) -> int:
    """A finding counts more than a failure of the laboratory: it is certain, the other is a gap."""
    if summary.interrupted:
        return INTERRUPTED
    if summary.required_missing or summary.counts.get("fail"):
        return FINDING
    if summary.counts.get("error") or sum(summary.counts.values()) < cells:
        return FAILED
    return OK
