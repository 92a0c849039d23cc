"""`foothold survey`: which runtimes start where, and under which limits."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.cli.cluster_options import (
    ClusterOptions,
    cluster_options,
    with_machines,
    workforce_of,
)
from foothold_lab.harness.cli.context import (
    FAILED,
    INTERRUPTED,
    OK,
    handle_termination,
    history_file,
    make_builder,
    make_run_directory,
    packaged_subjects,
    read_plan,
)
from foothold_lab.harness.cli.formatting import format_json, print_text
from foothold_lab.harness.cli.history_options import Recording, recording_options
from foothold_lab.harness.cli.parameters import SectionedCommand
from foothold_lab.harness.cli.plan_options import (
    SECTIONS,
    Overrides,
    choose_plan,
    plan_argument,
    plan_options,
)
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.secret_values import mask_arguments

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.runner import RunOptions
    from foothold_lab.harness.threshold import Searchers, ThresholdResults
    from foothold_lab.images.builder import Builder

PLAN = "runtimes"
_EXAMPLES = (
    ("foothold survey > survey.md", "Survey all packaged runtimes."),
    ("foothold survey --subject go-hello --guest native", "Survey one runtime in one guest."),
    (
        "foothold survey --cluster tcp://10.0.0.1:8786 > survey.md",
        "Survey with the workers of a cluster, and on the machine of each.",
    ),
    ("foothold survey --html survey.html > survey.md", "Write the page to filter as well."),
)


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    examples=_EXAMPLES,
    short_help="Run packaged runtimes in all guests; print a page.",
)
@plan_argument
@plan_options(run=True)
@cluster_options
@click.option(
    "--thresholds/--no-thresholds",
    default=True,
    help="Also find the smallest limits of the cells that the plan limits by rlimit_as (default).",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the evidence in this directory (default: a new directory in "
    "~/.local/state/foothold/runs).",
)
@recording_options
@click.option(
    "--from-run",
    "earlier",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR|FILE",
    help="Print the page of the survey in this run directory, or of a file that --results wrote, and "
    "run nothing. Repeatable: several surveys make one page, and of a cell in several of them the "
    "last one counts.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write all results to this file (JSON, compressed by gzip), for a later --from-run.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the survey as one HTML page that can be filtered.",
)
def survey(
    plan: tuple[str, ...],
    overrides: Overrides,
    cluster: ClusterOptions,
    recording: Recording,
    **output: Any,
) -> int:
    """Run packaged runtimes in all guests, and print a page of what each needs, as Markdown.

    PLAN is a plan of packaged runtimes (default: the plan `runtimes`). The options select cells as
    in `foothold run`. With --cluster, the cells of `native` also run on the machine of each worker, unless
    --guest chooses the guests.
    """
    from foothold_lab.harness.reporters.atomic_write import write_whole
    from foothold_lab.harness.survey import join, markdown, read_parts, write_parts
    from foothold_lab.harness.survey_page import render

    earlier: tuple[Path, ...] = output["earlier"]
    html: Path | None = output["html"]
    results: Path | None = output["results"]
    code = OK
    if not earlier:
        request = _Request(
            plan=choose_plan(plan, overrides, PLAN),
            overrides=overrides,
            cluster=cluster,
            thresholds=output["thresholds"],
            run_dir=output["run_dir"],
            history=history_file(recording.history),
        )
        directory, code = _measure(request)
        earlier = (directory,)
        if recording.file:
            _record(directory, recording.file)
    if code == INTERRUPTED:
        return code
    parts = read_parts(*earlier)
    found = join(parts)
    if results:
        write_whole(results, write_parts(parts))
    if html:
        write_whole(html, render(found))
    print_text(markdown(found, html.name if html else ""), newline=False)
    return code


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What is measured, and where."""

    plan: str
    overrides: Overrides
    cluster: ClusterOptions
    thresholds: bool
    run_dir: Path | None
    history: Path


def _record(directory: Path, history: Path) -> None:
    """Add the run and its thresholds to the history. Raises HistoryError."""
    from foothold_lab.harness.results_db import reader
    from foothold_lab.harness.results_db.database import Database

    with Database(history) as database:
        reader.add(database, directory.absolute())


def _measure(request: _Request) -> tuple[Path, int]:
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
    from foothold_lab.harness.reporters.terminal import TerminalReporter
    from foothold_lab.harness.runner import RunOptions, run_cells
    from foothold_lab.harness.threshold import ThresholdResults

    handle_termination()
    builder = make_builder()
    plan, cells = _select(request, builder)
    subjects = subjects_of(cells, plan, packaged_subjects(builder))
    with request.cluster.connected() as cluster:
        chosen = bool(request.overrides.given["guests"])
        cells = with_machines(cluster, cells, chosen=chosen)
        directory = make_run_directory(request.run_dir)
        options = RunOptions(
            directory=directory,
            builder=builder,
            machines=plan.vocabulary.machines,
            plan=plan.name,
            jobs=request.overrides.value("jobs", plan) or plan.jobs or 0,
            subjects=subjects,
            command=("foothold", *mask_arguments(sys.argv[1:])),
        )
        terminal = TerminalReporter(sys.stderr, live=False)
        with Bus([terminal, RunDirectoryReporter(directory)]) as bus:
            workforce = workforce_of(cluster, options, bus, request.history)
            results = ThresholdResults()
            _write(directory, options, results)  # --from-run reads an interrupted survey too
            summary = run_cells(cells, options, bus, workforce)
            if summary.interrupted:
                return directory, INTERRUPTED
            if request.thresholds:
                results = _find_thresholds(cells, options, bus, workforce)
            _write(directory, options, results)
    failed = summary.counts.get("error") or any(not each.unsupported for each in results.missing)
    return directory, FAILED if failed else OK


def _select(request: _Request, builder: Builder) -> tuple[PlanFile, tuple[Cell, ...]]:
    """Return the plan and the cells to run. Raises UsageError."""
    from foothold_lab.harness.subjects.packaged import CATALOGUE

    overrides = request.overrides
    plan, cells = overrides.select_cells(read_plan(request.plan, builder))
    if others := {cell.subject for cell in cells} - set(CATALOGUE):
        raise UsageError(
            f"{', '.join(sorted(others))}: a survey covers packaged subjects only",
            f"use the plan {PLAN}, or --subject with one of {', '.join(CATALOGUE)}",
        )
    request.cluster.check_guests(cells, plan.vocabulary.machines)
    request.cluster.refuse_with([("--jobs", overrides.given["jobs"])])
    return plan, cells


def _find_thresholds(
    cells: Sequence[Cell], options: RunOptions, bus: Bus, searchers: Searchers | None
) -> ThresholdResults:
    from foothold_lab.harness.threshold import ThresholdQuery, find_thresholds

    results = find_thresholds(limited(cells), options, ThresholdQuery(), bus, searchers)
    for each in results.missing:
        print_text(f"{each.guest}: {each.subject} {each.why}", err=True)
    return results


def limited(cells: Sequence[Cell]) -> Mapping[str, Sequence[str]]:
    """Return the subjects that cells limit by rlimit_as, by guest."""
    wanted: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.limits.rlimit_as:
            wanted.setdefault(cell.guest, {})[cell.subject] = None
    return {guest: tuple(names) for guest, names in wanted.items()}


def _write(directory: Path, options: RunOptions, results: ThresholdResults) -> None:
    from foothold_lab.harness.reporters.atomic_write import write_whole
    from foothold_lab.harness.subjects.packaged import CATALOGUE, version
    from foothold_lab.harness.survey import FILE, SubjectInfo, SurveyData

    about = {
        name: SubjectInfo(CATALOGUE[name].title, version(name, options.builder))
        for name in options.subjects
    }
    not_found = tuple((each.guest, each.subject, each.why) for each in results.missing)
    found = SurveyData(
        subjects=about, thresholds=tuple(results.found), missing_thresholds=not_found
    )
    write_whole(directory / FILE, format_json(found))
