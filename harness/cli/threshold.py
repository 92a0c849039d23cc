"""`foothold threshold`: the smallest limit under which a subject starts, in each guest."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.api.subjects import subjects_named
from foothold_lab.harness.cli.context import (
    FAILED,
    FINDING,
    OK,
    handle_termination,
    make_builder,
    packaged_subjects,
    read_plan,
)
from foothold_lab.harness.cli.formatting import format_json, print_text
from foothold_lab.harness.cli.history_options import Recording, recording_options
from foothold_lab.harness.cli.parameters import STDOUT, SectionedCommand, output_option
from foothold_lab.harness.cli.plan_options import (
    OF_PROGRAMS,
    SECTIONS,
    Overrides,
    arguments_for_program,
    setting_options,
)
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.plan import PlanFile
    from foothold_lab.harness.threshold import Missing, Threshold, ThresholdResults

PER_DOUBLING = 8  # of harness/threshold, which is imported late
_LIMITS = ("rlimit_as", "rlimit_data", "rlimit_stack", "memory")
_EXAMPLES = (
    ("foothold threshold ./server", "How little address space does this program start in?"),
    ("foothold threshold go-hello --guest uml-6.1", "And a packaged runtime, in one guest?"),
    (
        "foothold threshold ./server --sweep --from 128M --to 4G --svg a.svg",
        "Under which sizes does it start, and under which not?",
    ),
)


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Which limit is varied, and within which sizes, as on the command line."""

    kind: str
    low: str
    high: str
    precision: str
    sweep: bool
    per_doubling: int

    def sizes(self) -> tuple[int, int, int]:
        """Return lowest, highest and precision in bytes. Raises UsageError."""
        from foothold_lab.harness.model.sizes import parse_size

        lowest, highest = parse_size(self.low), parse_size(self.high)
        if not 0 < lowest < highest:
            raise UsageError(
                f"--from {self.low} is not less than --to {self.high}", "give a smaller --from"
            )
        return lowest, highest, parse_size(self.precision)


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    examples=_EXAMPLES,
    short_help="Find the smallest limit under which a program starts.",
)
@click.argument("subject", nargs=-1, required=True, metavar="SUBJECT")
@setting_options("guests", "jobs", *OF_PROGRAMS)
@click.option(
    "--limit-kind",
    "kind",
    type=click.Choice(_LIMITS),
    default="rlimit_as",
    show_default=True,
    help="The limit to vary.",
)
@click.option(
    "--from", "low", default="1M", show_default=True, metavar="SIZE", help="Smallest size to try."
)
@click.option(
    "--to", "high", default="64G", show_default=True, metavar="SIZE", help="Largest size to try."
)
@click.option(
    "--precision",
    default="0",
    metavar="SIZE",
    help="Stop when the threshold is known to this size (default: 1/64 of it).",
)
@click.option(
    "--sweep",
    is_flag=True,
    help="Try a grid of sizes, find every edge, and draw the bands of sizes between them.",
)
@click.option(
    "--per-doubling",
    type=click.IntRange(1, 1024),
    default=PER_DOUBLING,
    show_default=True,
    metavar="N",
    help="Sizes that --sweep tries between a size and its double.",
)
@output_option("--svg", "svg_file", help="Write the bands as an SVG drawing.")
@click.option("--policy", metavar="POLICY", help="Policy of the allocator (default: after).")
@output_option(
    "--json",
    "json_file",
    stdout=True,
    help="Write every size that was tried as JSON; - is standard output.",
)
@click.option("-q", "--quiet", is_flag=True, help="Do not show progress.")
@recording_options
def threshold(
    subject: tuple[str, ...],
    overrides: Overrides,
    policy: str | None,
    quiet: bool,
    recording: Recording,
    **options: Any,
) -> int:
    """Find the smallest limit under which a subject starts, in each guest (default: in all).

    SUBJECT is the path of a program, or the name of a packaged runtime such as go-hello. The
    search bisects the sizes within one boot of each guest. First it tries no limit at all, the
    largest size, and the smallest; at the end it tries sizes between those, to see whether the
    result is monotonic. With --sweep it tries a grid of sizes instead and finds every edge. The history
    keeps the results for `foothold site`.
    """
    from foothold_lab.harness.guests.catalogue import catalogue

    json_file: Path | None = options.pop("json_file")
    svg_file: Path | None = options.pop("svg_file")
    search = _Search(**options)
    search.sizes()
    builder = make_builder()
    plan, overrides = overrides.resolve_machines(read_plan("default", builder))
    plan, name = _resolve(subject, overrides, plan)
    chosen_policy = _policy(policy, name, plan)
    guests = tuple(dict.fromkeys(overrides.value("guests", plan)))
    handle_termination()
    subjects = subjects_named([name], plan, packaged_subjects(builder))
    names = guests or tuple(catalogue(builder))
    results = _run(
        search,
        chosen_policy,
        names,
        quiet=quiet,
        builder=builder,
        machines=plan.vocabulary.machines,
        jobs=overrides.value("jobs", plan) or 0,
        subjects=subjects,
    )
    found = sorted(results.found, key=lambda each: names.index(each.guest))
    if found and recording.file:
        _record(recording.file, found)
    if json_file:
        _write(json_file, found, results.missing)
    if svg_file and found:
        _draw(svg_file, found)
    if json_file != Path(STDOUT):
        _show(found, results.missing, sweep=search.sweep)
    return _exit_code(found, results.missing, chosen=bool(guests))


def _resolve(words: Sequence[str], overrides: Overrides, plan: PlanFile) -> tuple[PlanFile, str]:
    """Return the name of the one subject, and the plan that knows it. Raises UsageError."""
    subject, *extra = words
    if extra:
        raise UsageError(
            f"unexpected argument {extra[0]!r}",
            f"to pass arguments to the program: {arguments_for_program(extra)}",
        )
    plan, names = overrides.resolve_subjects(plan, (subject,))
    if len(names) != 1:
        raise UsageError(f"{subject!r} matches {len(names)} subjects", "give the name of one")
    return plan, names[0]


def _policy(given: str | None, subject: str, plan: PlanFile) -> str:
    """Return the allocator's policy; empty for any other subject. Raises UsageError."""
    from foothold_lab.harness.model.cells import ALLOCATOR

    if subject == ALLOCATOR:
        return plan.vocabulary.check_policy(given or "after")
    if given:
        raise UsageError(f"{subject}: only the allocator has policies", "remove --policy")
    return ""


def _run(
    search: _Search, policy: str, guests: Sequence[str], *, quiet: bool, **options: Any
) -> ThresholdResults:
    """Search in these guests. `options` are those of a run."""
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import TerminalReporter
    from foothold_lab.harness.runner import RunOptions
    from foothold_lab.harness.threshold import ThresholdQuery, find_thresholds

    low, high, precision = search.sizes()
    query = ThresholdQuery(
        kind=search.kind,
        low=low,
        high=high,
        precision=precision,
        policy=policy,
        per_doubling=search.per_doubling if search.sweep else 0,
    )
    with (
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([TerminalReporter(sys.stderr, live=False, quiet=quiet)]) as bus,
    ):
        run = RunOptions(directory=Path(directory), **options)
        wanted = {guest: tuple(run.subjects) for guest in guests}
        return find_thresholds(wanted, run, query, bus)


def _record(file: Path, found: Sequence[Threshold]) -> None:
    """Add the thresholds to the history. Raises HistoryError."""
    from foothold_lab.harness.results_db.database import Database
    from foothold_lab.harness.results_db.writer import record_thresholds, stored_thresholds

    with Database(file) as database:
        record_thresholds(database, stored_thresholds(found, time.time()))


def _draw(file: Path, found: Sequence[Threshold]) -> None:
    from foothold_lab.harness.reporters.atomic_write import write_whole
    from foothold_lab.harness.threshold import draw_svg

    write_whole(file, draw_svg(found).encode())


def _show(found: Sequence[Threshold], missing: Sequence[Missing], *, sweep: bool) -> None:
    from foothold_lab.harness.model.escape import escape_line
    from foothold_lab.harness.threshold import Edge, draw_text
    from foothold_lab.harness.threshold.bisection import about

    width = max((len(each.guest) for each in found), default=0)
    for each in found:
        print_text(f"{each.guest:<{width}}  {each.kind}: {each}")
        if sweep:
            for line in draw_text(each.search.bands):
                print_text(f"{'':<{width}}  {line}")
        elif each.search.edge is Edge.SEVERAL:
            for band in each.search.bands:
                print_text(f"{'':<{width}}  {band}")
            print_text(f"{'':<{width}}  --sweep finds every edge and draws the bands")
        little = about(each.search.largest) if each.search.largest else "no limit"
        if each.refused:
            told = escape_line(each.refused, 300)
            print_text(f"{'':<{width}}  under {little}, the last refused call: {told}")
        if each.observed:
            told = escape_line(each.observed, 300)
            print_text(f"{'':<{width}}  under {little}, the program: {told}")
    for gone in missing:
        print_text(f"{gone.guest}: {escape_line(gone.why, 300)}", err=True)


def _write(file: Path, found: Sequence[Threshold], missing: Sequence[Missing]) -> None:
    from foothold_lab.harness.reporters.atomic_write import write_whole

    text = format_json({"schema": 1, "thresholds": found, "missing": missing})
    if file == Path(STDOUT):
        sys.stdout.buffer.write(text)
    else:
        write_whole(file, text)


def _exit_code(found: Sequence[Threshold], missing: Sequence[Missing], *, chosen: bool) -> int:
    """Return the exit code. `chosen`: the guests were named, so that all of them must answer.

    A subject that starts under no limit, or under some limits but not under larger ones, is a
    finding.
    """
    from foothold_lab.harness.threshold.bisection import Edge

    if any(each.search.edge in (Edge.NEVER, Edge.SEVERAL) for each in found):
        return FINDING
    lost = [each for each in missing if chosen or not each.unsupported]
    return FAILED if lost or not found else OK
