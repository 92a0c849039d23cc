"""`foothold run`: cells in, verdicts out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.cli.bisect import Done, answer
from foothold_lab.harness.cli.context import (
    FAILED,
    FINDING,
    INTERRUPTED,
    OK,
    history_file,
    packaged,
    read_plan,
    run_directory,
    stop_as_by_ctrl_c,
)
from foothold_lab.harness.cli.keep_options import Keep, check, keep_options, stay
from foothold_lab.harness.cli.kernel_options import kernel_options
from foothold_lab.harness.cli.plan_options import Asked, chosen_shard, plan_options, shard_option
from foothold_lab.harness.cli.subject import subjects_of
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import OwnKernels
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile
    from foothold_lab.harness.runner.run import Summary


@click.command()
@click.argument("plan", default="default", metavar="[PLAN]")
@plan_options(run=True)
@shard_option
@click.option("--json", "json_file", metavar="FILE", help="All of it as JSON; - is stdout.")
@click.option("--junit", "junit_file", metavar="FILE", help="All of it as JUnit's XML.")
@click.option("--html", "html_file", metavar="FILE", help="All of it as one HTML page.")
@click.option("--github/--no-github", default=None, help="Annotations, a summary: on GitHub.")
@click.option("--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep it here.")
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Remember it in this history.",
)
@click.option("--no-history", is_flag=True, help="Leave no trace of it in the history.")
@click.option("--locked", is_flag=True, help="Only packages that the lock names.")
@click.option("-q", "--quiet", is_flag=True, help="Only what failed, and the sum.")
@keep_options
@kernel_options
def run(own: OwnKernels, asked: Asked, **given: Any) -> int:
    """Run a plan: a shipped one by its name, or a TOML file.

    With --uml or --kernel, on a kernel of your own instead of the plan's guests. If --expect is
    given as well, the exit code is one for `git bisect run`: 0 as expected, 1 not so, 125 for a
    kernel that is not there or does not boot, 255 if the laboratory failed; and the question is
    one cell, with no limit and the policy `after`, if nothing else is asked for.
    """
    if own.guests and asked.words["expect"]:
        return answer(own, asked, lambda asked: _run(own=own, asked=asked, **given))
    own.check()
    done = _run(own=own, asked=asked, **given)
    # a report that was asked for and is missing is a failure of the laboratory
    return FAILED if done.code == OK and done.incomplete else done.code


def _run(
    plan: str,
    asked: Asked,
    shard: str | None,
    json_file: str | None,
    junit_file: str | None,
    html_file: str | None,
    github: bool | None,
    run_dir: Path | None,
    history: Path | None,
    no_history: bool,
    locked: bool,
    quiet: bool,
    keep: Keep | None,
    keep_for: float | None,
    own: OwnKernels,
) -> Done:
    from foothold_lab.harness.html_report.sink import Html
    from foothold_lab.harness.interactive.guest_server import Kept
    from foothold_lab.harness.model import events
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.github import GitHub, is_github
    from foothold_lab.harness.reporters.junit import Junit
    from foothold_lab.harness.reporters.rundir import RunDirectory
    from foothold_lab.harness.reporters.summary_json import SummaryJson
    from foothold_lab.harness.reporters.terminal import Terminal, is_live
    from foothold_lab.harness.results_db.writer import History
    from foothold_lab.harness.runner import run as laboratory
    from foothold_lab.images.builder import Builder

    check(keep, keep_for)
    stream = sys.stderr if json_file == "-" else sys.stdout
    bus = Bus([Terminal(stream, live=is_live(stream), quiet=quiet)])
    with contextlib.ExitStack() as stack:
        stack.enter_context(bus)

        def say(what: str, /, *, passing: bool = False) -> None:
            bus(events.Progress(what=what, passing=passing))

        builder = Builder(locked=locked, say=say)
        read = read_plan(plan, builder, own)
        read, cells = asked.cells(read, own.guests)
        required = _required(read, asked.value("require", read), cells)
        jobs = asked.value("jobs", read) or read.jobs or 0
        fresh, retries = asked.value("fresh", read), asked.value("retries", read)
        cells = tuple(
            replace(each, where=own.where(each.guest)) for each in chosen_shard(shard).of(cells)
        )
        directory = run_directory(run_dir)
        kept = stack.enter_context(Kept(directory, keep or "failed"))
        bus.add(RunDirectory(directory))
        if not no_history:
            bus.add(History(history_file(history)))
        if json_file:
            bus.add(SummaryJson(json_file))
        if junit_file:
            bus.add(Junit(junit_file))
        if html_file:
            bus.add(Html(Path(html_file), directory))
        if is_github() if github is None else github:
            bus.add(GitHub(stream))
        stop_as_by_ctrl_c()
        summary = laboratory.run(
            cells,
            laboratory.Options(
                directory=directory,
                builder=builder,
                own=own,
                jobs=jobs,
                fresh=read.fresh if fresh is None else fresh,
                retries=read.retries if retries is None else retries,
                trace=asked.value("trace", read) is not False,
                keeper=kept if keep else None,
                subjects=subjects_of(cells, read, packaged(builder)),
                require=required & {cell.guest for cell in cells},
                plan=read.name,
                command=("foothold", *map(_printable, sys.argv[1:])),
            ),
            bus,
        )
        bus.close()  # what was asked for is written: nobody need wait for it
        if not summary.interrupted:
            stay(kept, keep_for)
    return Done(_exit_code(summary, len(cells)), summary.blames, bool(bus.failed))


def _required(plan: PlanFile, asked: Sequence[str], cells: Sequence[Cell]) -> frozenset[str]:
    """Return the guests that must be there; those asked for by hand must also have cells."""
    guests = {cell.guest for cell in cells}
    if idle := sorted(set(asked) - guests):
        raise UsageError(
            f"{', '.join(idle)} is required and has no cell in this run",
            "add it with --guest, or leave --require",
        )
    return plan.require & guests | frozenset(asked)


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
