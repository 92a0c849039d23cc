"""`foothold compare`: what is new in one run, seen from another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import FAILED, FINDING, OK
from foothold_lab.harness.cli.history import (
    counted,
    database_option,
    json_option,
    opened,
    plan_option,
    say_json,
)

if TYPE_CHECKING:
    from foothold_lab.harness.results_db.compare import Change, Comparison, Other
    from foothold_lab.harness.results_db.reader import Kept

_MOST = 12  # names in a list that nobody reads to its end


@click.command()
@click.argument("a", default="last~1", metavar="[A]")
@click.argument("b", default="last", metavar="[B]")
@plan_option
@json_option
@database_option
def compare(a: str, b: str, plan: str, as_json: bool, file: Path) -> int:
    """Say what is new in run B, seen from run A; left out, they are the last two.

    Runs are named as for `foothold show`. Exit code 1: B has failures that A has not. 3: it has
    none, but it did not come to its end.
    """
    from foothold_lab.harness.results_db import reader
    from foothold_lab.harness.results_db.compare import compare as side_by_side
    from foothold_lab.harness.results_db.models import State

    with opened(file, a, b) as database:
        before, now = (reader.find(database, word, plan) for word in (a, b))
        found = side_by_side(before, now, reader.earlier(database, now))
    whole = now.run.state is State.FINISHED
    if as_json:
        say_json(found)
    else:
        for line in _told(found, before, now):
            click.echo(line)
    if not whole:
        click.echo(f"{now.run.name} is {now.run.state}: {counted(now.run.counts)}", err=True)
    if found.new_failures:
        return FINDING
    return OK if whole else FAILED


def _told(found: Comparison, before: Kept, now: Kept) -> Iterator[str]:
    for name, kept in (("A", before), ("B", now)):
        run = kept.run
        yield f"{name}  {run.name}  {run.plan}  {counted(run.counts, run.flaky)}"
    cells = f"{found.both} cell{'' if found.both == 1 else 's'}"
    yield f"{cells} in both{', and nothing differs' if found.same else ''}"
    told = {change.cell for change in (*found.new_failures, *found.repaired)}
    paths = [change for change in found.paths if change.cell not in told]
    yield from _section("new failures", "red", _changes(found.new_failures))
    yield from _section("repaired", "green", _changes(found.repaired))
    yield from _section("another path", "yellow", _changes(paths))
    yield from _section("no answer any more", "yellow", _changes(found.lost))
    yield from _section("came to something else when they were asked again", "yellow", found.flaky)
    yield from _section(
        "slower than noise explains",
        "yellow",
        (
            f"{each.cell}: {each.seconds:.2f} s; usual is {each.usual:.2f} s, at most {each.most:.2f}"
            f" s, by {each.samples} earlier runs"
            for each in found.slower
        ),
    )
    yield from _section("the runs themselves", "", _others(found.made))
    yield from _section("kernels and images", "yellow", _others(found.kernels))
    yield from _section("facts", "yellow", _others(found.facts))
    yield from _section("only in A", "", _some(found.only_a))
    yield from _section("only in B", "", _some(found.only_b))


def _section(title: str, colour: str, lines: Iterable[str]) -> Iterator[str]:
    from foothold_lab.harness.reporters.sanitize import clean

    lines = list(lines)
    if lines:
        yield ""
        yield click.style(title, fg=colour or None, bold=True)
        yield from (f"  {clean(line, 600)}" for line in lines)


def _changes(changes: Iterable[Change]) -> Iterator[str]:
    for each in changes:
        yield f"{each.cell}: {each.before} → {each.now}"
        if each.finding:
            yield f"    {each.finding}"


def _others(changes: Iterable[Other]) -> Iterator[str]:
    for each in changes:
        of = f"{each.guest}: " if each.guest else ""
        yield f"{of}{each.what} {each.before or 'none'} → {each.now or 'none'}"


def _some(names: tuple[str, ...]) -> Iterator[str]:
    yield from names[:_MOST]
    if len(names) > _MOST:
        yield f"and {len(names) - _MOST} more"
