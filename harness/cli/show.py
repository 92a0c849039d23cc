"""`foothold show`: a run of the history, or a cell of it in full."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.history import (
    columns,
    counted,
    database_option,
    json_option,
    made_with,
    moment,
    opened,
    plan_option,
    say_json,
)

if TYPE_CHECKING:
    from foothold_lab.harness.model.verdict import Verdict
    from foothold_lab.harness.results_db.models import BootRow, KeptCell
    from foothold_lab.harness.results_db.reader import Kept


@click.command()
@click.argument("run", default="last", metavar="[RUN]")
@click.argument("cell", default="", metavar="[CELL]")
@plan_option
@json_option
@database_option
def show(run: str, cell: str, plan: str, as_json: bool, file: Path) -> int:
    """Show a run, or one of its cells: verdict, witnesses, facts.

    RUN is `last` (as it is if you leave it), `last~1` for the one before, the name of a run or the
    beginning of it, or its directory. CELL is its name, or a part of it that no other has.
    """
    from foothold_lab.harness.results_db import reader

    with opened(file, run) as database:
        kept = reader.find(database, run, plan)
        if not cell:
            whole = {"run": kept.run, "boots": kept.boots, "cells": kept.cells}
            say_json(whole) if as_json else _say(_run(kept))
            return OK
        one = kept.cell(cell)
        boot = next((boot for boot in kept.boots if boot.id == one.boot), None)
        verdict = kept.verdict(one)
    if as_json:
        say_json({"run": kept.run, "boot": boot, "cell": one, "verdict": verdict})
    else:
        _say(_cell(kept, one, verdict, boot))
    return OK


def _say(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _run(kept: Kept) -> Iterator[str]:
    run = kept.run
    took = "" if run.seconds is None else f" after {run.seconds:.1f} s"
    yield f"{run.name}: {run.plan or 'no plan'}, {run.state}{took}, begun {moment(run.started)}"
    yield f"  {shlex.join(run.command)}"
    provenance = run.provenance
    yield f"  by Foothold {made_with(run)}, Python {provenance.python}, on Linux {provenance.kernel}"
    yield f"  kept in {run.directory}"
    cells = f"{len(kept.cells)} cell{'' if len(kept.cells) == 1 else 's'}"
    yield f"{cells}: {counted(run.counts, run.flaky)}"
    if kept.boots:
        yield ""
        rows = [
            (boot.guest, boot.release or "-", _booted(boot), "; ".join(boot.notes))
            for boot in kept.boots
        ]
        yield from columns([("guest", "kernel", "boot", "notes"), *rows])
    yield ""
    yield from columns(
        [
            ("result", "cell", "time", "seen"),
            *(
                (cell.result or "not run", cell.name, _seconds(cell.seconds), _seen(cell))
                for cell in kept.cells
            ),
        ]
    )


def _booted(boot: BootRow) -> str:
    return f"failed: {boot.failure}" if boot.failure else _seconds(boot.seconds)


def _seen(cell: KeptCell) -> str:
    """What was seen, what is wrong with it, and at which try, if it was not the first."""
    told = [cell.seen] if cell.path or cell.outcome else []
    told += cell.findings[:1] if cell.result != "pass" else []
    flaky = "flaky, " if cell.flaky else ""
    again = f" ({flaky}at try {cell.retries + 1})" if cell.retries else ""
    return ": ".join(told) + again


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s"


def _cell(
    kept: Kept, cell: KeptCell, verdict: Verdict | None, boot: BootRow | None
) -> Iterator[str]:
    from foothold_lab.harness.reporters.sanitize import clean, clean_lines

    yield f"{cell.name} of {kept.run.name}: {cell.result or 'not run'}"
    if verdict is None:
        yield f"  the run was {kept.run.state} before it"
        return
    for who, said in (
        ("expected", verdict.expected),
        ("predicted", verdict.predicted),
        ("observed", verdict.observed),
    ):
        if said:
            yield f"  {who:<10} {clean(str(said))}"
    if verdict.predicted and verdict.predicted.reason:
        yield f"  {'since':<10} {clean(verdict.predicted.reason)}"
    for name, values in (("finding", verdict.findings), ("note", verdict.notes)):
        for value in values:
            yield f"  {name}: {clean(value)}"
    for number, attempt in enumerate(verdict.attempts, 1):
        told = (*attempt.findings, str(attempt.observed or ""))[0]
        yield f"  try {number}: {attempt.result} in {attempt.seconds:.2f} s: {clean(told)}"
    if verdict.observed:
        yield "witnesses"
        for who, said_of_it in verdict.observed.evidence.items():
            yield f"  {clean(who)}: {clean(said_of_it)}"
    if boot:
        yield from _guest(kept, boot)
    if verdict.console:
        yield "the console's last lines"
        yield from (f"  | {line}" for line in clean_lines(verdict.console))
    if verdict.remedy:
        yield f"remedy: {clean(verdict.remedy)}"
    yield f"took {verdict.seconds:.2f} s; {moment(kept.run.started)}"
    if verdict.artefacts:
        yield f"kept in {clean(verdict.artefacts)}"
    yield f"again: {clean(shlex.join(verdict.command))}"


def _guest(kept: Kept, boot: BootRow) -> Iterator[str]:
    from foothold_lab.harness.reporters.sanitize import clean

    yield f"guest {boot.guest}: {_booted(boot)}; {kept.run.directory}/guests/{boot.name}"
    for title, values in (("image", boot.images), ("from", boot.provenance)):
        for name, value in sorted(values.items()):
            yield f"  {title} {clean(name)}: {clean(value)}"
    for note in boot.notes:
        yield f"  note: {clean(note)}"
    if boot.facts:
        yield "facts"
        yield from (f"  {clean(line)}" for line in _flat(boot.facts))


def _flat(facts: Mapping[str, object], under: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{under}{name}.")
        elif isinstance(value, int) and value > 1 << 16:
            yield f"{under}{name}: {value:#x}"
        else:
            yield f"{under}{name}: {value}"
