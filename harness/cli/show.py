"""`foothold show`: a recorded run, or one of its cells in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import OK
from foothold_lab.harness.cli.formatting import (
    Styled,
    align_columns,
    count_results,
    format_seconds,
    format_time,
    format_version,
    plural,
    print_json,
    print_lines,
)
from foothold_lab.harness.cli.history_options import (
    database_option,
    json_option,
    open_history,
    plan_option,
)

if TYPE_CHECKING:
    from foothold_lab.harness.model.verdict import Verdict
    from foothold_lab.harness.results_db.models import StoredBoot, StoredCell
    from foothold_lab.harness.results_db.reader import StoredRun

_BIG = 1 << 16  # numbers above this are shown in hexadecimal: addresses and sizes


@click.command(short_help="Show a run, or one of its cells in full.")
@click.argument("run", default="last", metavar="[RUN]")
@click.argument("cell", default="", metavar="[CELL]")
@plan_option
@json_option
@database_option
def show(run: str, cell: str, plan: str, as_json: bool, file: Path) -> int:
    """Show a run, or one of its cells in full: verdict, witnesses, facts.

    RUN is `last` (default), `last~1` for the one before, the name of a run or its beginning, or a
    run directory. CELL is the name of a cell, or a part that no other name has.
    """
    from foothold_lab.harness.results_db import reader

    with open_history(file, run) as database:
        kept = reader.find(database, run, plan)
        if not cell:
            if as_json:
                print_json({"run": kept.run, "boots": kept.boots, "cells": kept.cells})
            else:
                print_lines(_describe_run(kept))
            return OK
        one = kept.cell(cell)
        boot = next((boot for boot in kept.boots if boot.id == one.boot), None)
        verdict = kept.verdict(one)
    if as_json:
        print_json({"run": kept.run, "boot": boot, "cell": one, "verdict": verdict})
    else:
        print_lines(_describe_cell(kept, one, verdict, boot))
    return OK


def _describe_run(kept: StoredRun) -> Iterator[str | Styled]:
    from foothold_lab.harness.model.escape import escape_shell

    run, made_by = kept.run, kept.run.provenance
    took = "" if run.seconds is None else f" after {format_seconds(run.seconds, 1)}"
    yield f"{run.name}: plan {run.plan or '-'}, {run.state}{took}, started {format_time(run.started)}"
    yield f"  {escape_shell(run.command)}"
    yield f"  Foothold {format_version(run)}, Python {made_by.python}, Linux {made_by.kernel}"
    yield f"  evidence: {run.directory}"
    yield f"{plural(len(kept.cells), 'cell')}: {count_results(run.counts, run.flaky)}"
    if kept.boots:
        yield ""
        rows = [
            (boot.guest, boot.release or "-", _boot_result(boot), "; ".join(boot.notes))
            for boot in kept.boots
        ]
        yield from align_columns([("guest", "kernel", "boot", "notes"), *rows])
    yield ""
    rows = [
        (cell.result or "not run", cell.name, format_seconds(cell.seconds), _observed(cell))
        for cell in kept.cells
    ]
    yield from align_columns([("result", "cell", "time", "observed"), *rows])


def _boot_result(boot: StoredBoot) -> str:
    from foothold_lab.harness.model.escape import escape_line

    failure = escape_line(boot.failure)
    return f"failed: {failure}" if failure else format_seconds(boot.seconds)


def _observed(cell: StoredCell) -> str:
    """Return what was observed, the first finding, and the retry that the verdict is from."""
    parts = [cell.summary] if cell.path or cell.outcome else []
    parts += [each.text for each in cell.findings[:1]] if cell.result != "pass" else []
    flaky = "flaky, " if cell.flaky else ""
    retried = f" ({flaky}at try {cell.retries + 1})" if cell.retries else ""
    return ": ".join(parts) + retried


def _describe_cell(
    kept: StoredRun, cell: StoredCell, verdict: Verdict | None, boot: StoredBoot | None
) -> Iterator[str]:
    yield f"{cell.name} of {kept.run.name}: {cell.result or 'not run'}"
    if verdict is None:
        yield f"  the run was {kept.run.state} before this cell"
        return
    yield from _describe_verdict(verdict)
    if boot:
        yield from _describe_boot(kept, boot)
    yield from _describe_context(kept, verdict)


def _describe_verdict(verdict: Verdict) -> Iterator[str]:
    from foothold_lab.harness.model.escape import escape_line

    for name, value in (
        ("expected", verdict.expected),
        ("predicted", verdict.predicted),
        ("observed", verdict.observed),
    ):
        if value:
            yield f"  {name:<10} {escape_line(str(value))}"
    if verdict.predicted and verdict.predicted.reason:
        yield f"  {'reason':<10} {escape_line(verdict.predicted.reason)}"
    for name, values in (("finding", map(str, verdict.findings)), ("note", verdict.notes)):
        for each in values:
            yield f"  {name}: {escape_line(each)}"
    for number, attempt in enumerate(verdict.attempts, 1):
        result = attempt.reason or str(attempt.observed or "")
        seconds = format_seconds(attempt.seconds)
        yield f"  try {number}: {attempt.result} in {seconds}: {escape_line(result)}"
    if verdict.observed:
        yield "witnesses"
        for witness, statement in verdict.observed.evidence.items():
            yield f"  {escape_line(witness)}: {escape_line(statement)}"


def _describe_boot(kept: StoredRun, boot: StoredBoot) -> Iterator[str]:
    from foothold_lab.harness.model.escape import escape_line

    yield f"guest {boot.guest}: {_boot_result(boot)}; {kept.run.directory}/guests/{boot.name}"
    for title, values in (("image", boot.images), ("version", boot.provenance)):
        for name, value in sorted(values.items()):
            yield f"  {title} {escape_line(name)}: {escape_line(value)}"
    for note in boot.notes:
        yield f"  note: {escape_line(note)}"
    if boot.facts:
        yield "facts"
        yield from (f"  {escape_line(line)}" for line in _flatten(boot.facts))


def _describe_context(kept: StoredRun, verdict: Verdict) -> Iterator[str]:
    from foothold_lab.harness.model.escape import escape_line, escape_lines
    from foothold_lab.harness.reporters.repeat import repeat_command

    if verdict.last_lines:
        yield "last output of the subject"
        yield from (f"  | {escape_line(line, 300)}" for line in verdict.last_lines)
    if verdict.console:
        yield "last lines of the console"
        yield from (f"  | {line}" for line in escape_lines(verdict.console))
    if verdict.remedy:
        yield f"remedy: {verdict.remedy}"
    yield f"took {format_seconds(verdict.seconds)}, in the run of {format_time(kept.run.started)}"
    if verdict.artefacts:
        yield f"evidence: {verdict.artefacts}"
    yield f"again: {repeat_command(verdict.command)}"


def _flatten(facts: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, int) and value > _BIG:
            yield f"{prefix}{name}: {value:#x}"
        else:
            yield f"{prefix}{name}: {value}"
