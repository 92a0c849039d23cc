"""`foothold survey`: which runtimes start where, and under which limits."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.cli.context import (
    FAILED,
    INTERRUPTED,
    OK,
    handle_termination,
    make_builder,
    make_run_directory,
    packaged_subjects,
    read_plan,
)
from foothold_lab.harness.cli.formatting import format_json, print_text
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
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.runner import RunOptions
    from foothold_lab.harness.threshold import ThresholdResults

PLAN = "runtimes"
_EXAMPLES = (
    ("foothold survey > survey.md", "Survey all packaged runtimes."),
    ("foothold survey --subject go-hello --guest native", "Survey one runtime in one guest."),
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
@click.option(
    "--thresholds/--no-thresholds",
    default=True,
    help="Also find the smallest limits, in guests that the plan limits (default).",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the evidence in this directory (default: a new directory in "
    "~/.local/state/foothold/runs).",
)
@click.option(
    "--from-run",
    "earlier",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    metavar="DIR",
    help="Print the page of the survey in this run directory, and run nothing. Repeatable: several "
    "surveys make one page, and of a cell in several of them the last one counts.",
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
    thresholds: bool,
    run_dir: Path | None,
    earlier: tuple[Path, ...],
    html: Path | None,
) -> int:
    """Run packaged runtimes in all guests, and print a page of what each needs, as Markdown.

    PLAN is a plan of packaged runtimes (default: the plan `runtimes`). The options select cells as
    in `foothold run`.
    """
    from foothold_lab.harness.reporters.atomic_write import write_whole
    from foothold_lab.harness.survey import markdown, read
    from foothold_lab.harness.survey_page import render

    code = OK
    if not earlier:
        name = choose_plan(plan, overrides, PLAN)
        directory, code = _measure(name, overrides, run_dir, thresholds=thresholds)
        earlier = (directory,)
    if code == INTERRUPTED:
        return code
    found = read(*earlier)
    if html:
        write_whole(html, render(found))
    print_text(markdown(found), newline=False)
    return code


def _measure(
    name: str, overrides: Overrides, run_dir: Path | None, *, thresholds: bool
) -> tuple[Path, int]:
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
    from foothold_lab.harness.reporters.terminal import TerminalReporter
    from foothold_lab.harness.runner import RunOptions, run_cells
    from foothold_lab.harness.subjects.packaged import CATALOGUE
    from foothold_lab.harness.threshold import ThresholdResults

    handle_termination()
    builder = make_builder()
    plan, cells = overrides.select_cells(read_plan(name, builder))
    if others := {cell.subject for cell in cells} - set(CATALOGUE):
        raise UsageError(
            f"{', '.join(sorted(others))}: a survey covers packaged subjects only",
            f"use the plan {PLAN}, or --subject with one of {', '.join(CATALOGUE)}",
        )
    subjects = subjects_of(cells, plan, packaged_subjects(builder))
    directory = make_run_directory(run_dir)
    with Bus([TerminalReporter(sys.stderr, live=False), RunDirectoryReporter(directory)]) as bus:
        options = RunOptions(
            directory=directory,
            builder=builder,
            machines=plan.vocabulary.machines,
            plan=plan.name,
            jobs=overrides.value("jobs", plan) or plan.jobs or 0,
            subjects=subjects,
            command=("foothold", *mask_arguments(sys.argv[1:])),
        )
        summary = run_cells(cells, options, bus)
        if summary.interrupted:
            return directory, INTERRUPTED
        results = _find_thresholds(cells, options, bus) if thresholds else ThresholdResults()
        _write(directory, options, results)
    failed = summary.counts.get("error") or any(not each.unsupported for each in results.missing)
    return directory, FAILED if failed else OK


def _find_thresholds(cells: Sequence[Cell], options: RunOptions, bus: Bus) -> ThresholdResults:
    from foothold_lab.harness.threshold import ThresholdQuery, find_thresholds

    guests = tuple(dict.fromkeys(cell.guest for cell in cells if cell.limits.rlimit_as))
    results = find_thresholds(guests, options, ThresholdQuery(), bus)
    for each in results.missing:
        print_text(f"{each.guest}: {each.subject} {each.why}", err=True)
    return results


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
