"""`foothold history` and `foothold flaky`: which runs there were, which cells cannot be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foothold_lab.harness.cli.context import OK, history_file

if TYPE_CHECKING:
    from foothold_lab.harness.results_db.database import Database
    from foothold_lab.harness.results_db.models import Run

F = TypeVar("F", bound=Callable[..., Any])
WORDS = {"pass": "passed", "fail": "failed", "error": "in error", "not-run": "not run"}


def database_option(function: F) -> F:
    """Add `--history`, which a command gets as `file`, a path."""
    return click.option(
        "--history",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Another history than usual; so does FOOTHOLD_HISTORY.",
        callback=lambda _context, _parameter, chosen: history_file(chosen),
    )(function)


plan_option = click.option("--plan", default="", metavar="P", help="Runs of this plan alone.")
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")


@click.command()
@plan_option
@click.option("--limit", type=click.IntRange(1), default=20, metavar="N", help="The newest N (20).")
@click.option(
    "--add",
    "directories",
    multiple=True,
    metavar="DIR",
    help="Take in a run of elsewhere first.",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
)
@json_option
@database_option
def history(plan: str, limit: int, directories: tuple[Path, ...], as_json: bool, file: Path) -> int:
    """List the runs there were, the newest first."""
    from foothold_lab.harness.results_db import reader
    from foothold_lab.harness.results_db.database import Database

    with Database(file, reading=not directories) as database:
        for directory in directories:
            reader.add(database, directory.absolute())
        runs = reader.runs(database, plan, limit)
    if as_json:
        say_json(runs)
        return OK
    if not runs:
        click.echo(f"no run{f' of the plan {plan}' if plan else ''} in {file}", err=True)
        return OK
    heads = ("run", "started", "plan", "state", "cells", "time", "Foothold")
    for line in columns([heads, *map(_line, runs)]):
        click.echo(line)
    return OK


@click.command()
@plan_option
@json_option
@database_option
def flaky(plan: str, as_json: bool, file: Path) -> int:
    """List cells that changed their verdict while nothing else changed.

    Nothing else: subject, images, kernels, facts, Foothold itself and what the plan declares are
    the same. Cells that passed only when they were asked again are among them.
    """
    from foothold_lab.harness.results_db.flaky import flaky as find

    with opened(file) as database:
        found = find(database, plan)
    if as_json:
        say_json(found)
        return OK
    if not found:
        click.echo("no cell changed its verdict while nothing else changed", err=True)
        return OK
    rows = [("cell", "last seen in", "later tries", "came to")]
    for one in found:
        came = sorted(one.came.items(), key=lambda each: -each[1])
        told = ", ".join(f"{count} x {phrase}" for phrase, count in came)
        rows.append((one.cell, one.last, str(one.retried or ""), told))
    for line in columns(rows):
        click.echo(line)
    return OK


def opened(file: Path, *runs: str) -> Database:
    """Open the history to read it; if there is none, directories can still be looked into."""
    from foothold_lab.harness.results_db.database import MEMORY, Database

    elsewhere = bool(runs) and all(Path(run).is_dir() for run in runs)
    return Database(MEMORY if elsewhere and not file.exists() else file, reading=not elsewhere)


def say_json(value: object) -> None:
    """Print a value of the history as JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=1))


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write rows one below the other, each column as wide as it must be; the first is the head."""
    from foothold_lab.harness.reporters.sanitize import clean

    shown = [[clean(word, 400) for word in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for number, row in enumerate(shown):
        line = "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        yield click.style(line.rstrip(), dim=True) if number == 0 else line.rstrip()


def counted(counts: Mapping[str, int], flaky: int = 0) -> str:
    """Write cells by result as one phrase."""
    order: Iterable[str] = ("pass", "fail", "error", "unsupported", "not-run")
    told = [f"{counts[name]} {WORDS.get(name, name)}" for name in order if counts.get(name)]
    if flaky:
        told.append(f"{flaky} flaky")
    return ", ".join(told) or "no cells"


def moment(at: float) -> str:
    """Write a time as this machine's clocks do."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def made_with(run: Run) -> str:
    """Write of which Foothold a run is, as short as it is unmistakable."""
    revision, _, dirty = run.provenance.revision.partition("-")
    return " ".join(filter(None, (run.provenance.version, revision[:9], dirty)))


def _line(run: Run) -> tuple[str, ...]:
    seconds = "" if run.seconds is None else f"{run.seconds:.1f} s"
    return (
        run.name,
        moment(run.started),
        run.plan,
        run.state,
        counted(run.counts, run.flaky),
        seconds,
        made_with(run),
    )
