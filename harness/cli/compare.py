"""`foothold compare`: what changed from one run to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import FAILED, FINDING, OK
from foothold_lab.harness.cli.formatting import (
    Styled,
    count_results,
    plural,
    print_json,
    print_lines,
    print_text,
)
from foothold_lab.harness.cli.history_options import (
    database_option,
    json_option,
    open_history,
    plan_option,
)

if TYPE_CHECKING:
    from foothold_lab.harness.results_db.compare import (
        Change,
        Comparison,
        Difference,
        ProbeChange,
    )
    from foothold_lab.harness.results_db.reader import StoredRun

_MOST_NAMES = 12  # in a list of cells


@click.command(short_help="Show what changed from one run to another.")
@click.argument("a", default="last~1", metavar="[A]")
@click.argument("b", default="last", metavar="[B]")
@plan_option
@json_option
@database_option
def compare(a: str, b: str, plan: str, as_json: bool, file: Path) -> int:
    """Show what changed from run A to run B (default: from the last run but one to the last).

    Runs are named as in `foothold show`. The exit code is 1 if B has failures that A does not have,
    and 3 if it has none but did not finish.
    """
    from foothold_lab.harness.results_db import reader
    from foothold_lab.harness.results_db.compare import compare_runs
    from foothold_lab.harness.results_db.models import State

    with open_history(file, a, b) as database:
        before, now = (reader.find(database, word, plan) for word in (a, b))
        found = compare_runs(before, now, reader.earlier_durations(database, now))
    is_finished = now.run.state is State.FINISHED
    if as_json:
        print_json(found)
    else:
        print_lines(_describe(found, before, now))
    if not is_finished:
        print_text(f"{now.run.name} is {now.run.state}: {count_results(now.run.counts)}", err=True)
    if found.new_failures:
        return FINDING
    return OK if is_finished else FAILED


def _describe(found: Comparison, before: StoredRun, now: StoredRun) -> Iterator[str | Styled]:
    for name, kept in (("A", before), ("B", now)):
        run = kept.run
        yield f"{name}  {run.name}  {run.plan}  {count_results(run.counts, run.flaky)}"
    yield f"{plural(found.common, 'cell')} in both{', no difference' if found.same else ''}"
    shown = {change.cell for change in (*found.new_failures, *found.repaired)}
    paths = [change for change in found.changed_paths if change.cell not in shown]
    yield from _section("new failures", "red", _changes(found.new_failures))
    yield from _section("repaired", "green", _changes(found.repaired))
    yield from _section("different path", "yellow", _changes(paths))
    yield from _section("no verdict any more", "yellow", _changes(found.lost_answers))
    yield from _section("probes that no longer conform", "red", _probes(found.broken_probes))
    yield from _section("repaired probes", "green", _probes(found.repaired_probes))
    yield from _section("flaky: a retry had another verdict", "yellow", found.flaky)
    yield from _section(
        "slower than the noise of earlier runs",
        "yellow",
        (
            f"{each.cell}: {each.seconds:.2f} s; usually {each.typical:.2f} s, at most "
            f"{each.longest:.2f} s in {each.samples} earlier runs"
            for each in found.slowdowns
        ),
    )
    yield from _section("versions and settings of the runs", "", _others(found.changed_inputs))
    yield from _section("kernels and images", "yellow", _others(found.changed_kernels))
    yield from _section("facts", "yellow", _others(found.changed_facts))
    yield from _section("only in A", "", _first(found.only_a))
    yield from _section("only in B", "", _first(found.only_b))


def _section(title: str, colour: str, lines: Iterable[str]) -> Iterator[str | Styled]:
    from foothold_lab.harness.model.escape import escape_line

    lines = list(lines)
    if lines:
        yield ""
        yield Styled(text=title, colour=colour or None, bold=True)
        yield from (f"  {escape_line(line, 600)}" for line in lines)


def _changes(changes: Iterable[Change]) -> Iterator[str]:
    for each in changes:
        yield f"{each.cell}: {each.before} → {each.now}"
        if each.finding:
            yield f"    {each.finding.text} [{each.finding.code}]"


def _probes(changes: Iterable[ProbeChange]) -> Iterator[str]:
    return (f"{each.probe} in {each.cell}: {each.measured}" for each in changes)


def _others(changes: Iterable[Difference]) -> Iterator[str]:
    for each in changes:
        guest = f"{each.guest}: " if each.guest else ""
        yield f"{guest}{each.what} {each.before or 'none'} → {each.now or 'none'}"


def _first(names: tuple[str, ...]) -> Iterator[str]:
    yield from names[:_MOST_NAMES]
    if len(names) > _MOST_NAMES:
        yield f"and {len(names) - _MOST_NAMES} more"
