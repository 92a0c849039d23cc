"""`foothold run`: runs the cells of a plan and reports their verdicts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.api.subjects import subjects_of
from foothold_lab.harness.cli.bisect import RunOutcome, bisect_step
from foothold_lab.harness.cli.cluster_options import (
    ClusterOptions,
    cluster_options,
    place_cells,
    workforce_of,
)
from foothold_lab.harness.cli.context import (
    FAILED,
    FINDING,
    INTERRUPTED,
    OK,
    code_of_results,
    handle_termination,
    history_file,
    make_builder,
    make_run_directory,
    packaged_subjects,
    read_plan,
    report_error,
    was_tried,
)
from foothold_lab.harness.cli.keep_options import KeepOptions, keep_options, wait_with_guests
from foothold_lab.harness.cli.kernel_options import kernel_options
from foothold_lab.harness.cli.output_options import OutputOptions, output_options
from foothold_lab.harness.cli.parameters import SectionedCommand
from foothold_lab.harness.cli.plan_options import (
    SECTIONS,
    Overrides,
    choose_plan,
    parse_shard,
    plan_argument,
    plan_options,
    shard_option,
)
from foothold_lab.harness.cli.probe_options import (
    asked_for,
    probe_option,
    select_probes,
    with_probes,
)
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.secret_values import mask_arguments

if TYPE_CHECKING:
    from foothold_lab.harness.guests.custom_kernels import CustomKernels
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile
    from foothold_lab.harness.runner import RunSummary
    from foothold_lab.images.builder import Builder

_EXAMPLES = (
    (
        "foothold run --subject ./server --arg 8080 --ready-pattern listening",
        "Does this program start in every guest of the default plan?",
    ),
    (
        "foothold run --subject ./server --guest uml-6.1 --limit rlimit_as=2G",
        "Does it start in one guest, in an address space of 2 GiB?",
    ),
    (
        "foothold run nightly --shard 1/4 --junit results.xml --retries 1",
        "Run the first quarter of the plan nightly, for a CI job.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """The command line of a run."""

    plan: str
    shard: str | None
    locked: bool
    pull: bool
    overrides: Overrides
    probes: tuple[str, ...]
    kernels: CustomKernels
    keeping: KeepOptions
    cluster: ClusterOptions
    output: OutputOptions


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    examples=_EXAMPLES,
    short_help="Run programs in guests and report verdicts.",
)
@plan_argument
@plan_options(run=True)
@shard_option
@click.option(
    "--locked", is_flag=True, help="Use only the package versions of the lock file of the images."
)
@click.option(
    "--pull",
    is_flag=True,
    help="Let the container engine download the images of guests docker:IMAGE that it lacks.",
)
@probe_option
@output_options
@keep_options
@kernel_options
@cluster_options
def run(
    plan: tuple[str, ...], overrides: Overrides, probes: tuple[str, ...], **options: Any
) -> int:
    """Run programs in guests, and report where they reserved memory and if they started.

    A plan lists cells: a subject (the program) in a guest under a limit. PLAN is the name of a
    built-in plan (`foothold plan --list`) or a TOML file; without it, the plan `default` runs.
    Options override what the plan says. The subject of most plans is `allocator`, a port of Go's
    memory allocator of 2012; give your own program with --subject.

    With --uml or --kernel, the cells run on your own kernel instead of the plan's guests. If
    --expect or --probe is given as well, the exit code is for `git bisect run`: 0 as expected, 1 not as
    expected, 125 if the kernel is missing or does not boot, 255 if Foothold failed.
    """
    chosen_plan = choose_plan(plan, overrides)
    overrides = select_probes(overrides, probes)
    request = _Request(plan=chosen_plan, overrides=overrides, probes=probes, **options)
    if request.kernels.guests and overrides.given["expect"]:
        return bisect_step(
            request.kernels,
            overrides,
            lambda chosen: _run(replace(request, overrides=chosen)),
        )
    request.kernels.check()
    outcome = _run(request)
    # a report that could not be written is a failure of the laboratory
    return FAILED if outcome.exit_code == OK and outcome.incomplete else outcome.exit_code


def _run(request: _Request) -> RunOutcome:
    from foothold_lab.harness.interactive.guest_server import GuestServer
    from foothold_lab.harness.model import events
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import TerminalReporter, is_live
    from foothold_lab.harness.runner import RunOptions, run_cells

    _check(request)
    stream = request.output.stream
    with (
        Bus([TerminalReporter(stream, live=is_live(stream), quiet=request.output.quiet)]) as bus,
        contextlib.ExitStack() as stack,
    ):

        def report(text: str, /, *, transient: bool = False) -> None:
            bus(events.Progress(what=text, passing=transient))

        handle_termination()
        builder = make_builder(locked=request.locked, progress=report)
        plan, cells, others, required = _select(request, builder)
        request.cluster.check_guests(cells, plan.vocabulary.machines)
        settings = _run_settings(request.overrides, plan)
        subjects = subjects_of(cells, plan, packaged_subjects(builder))
        subjects = with_probes(subjects, request.probes)
        cluster = stack.enter_context(request.cluster.connected())
        cells, required = place_cells(cluster, cells, required)
        directory = make_run_directory(request.output.run_dir)
        kept = stack.enter_context(GuestServer(directory, request.keeping.keep or "failed"))
        request.output.add_reporters(bus, directory)
        options = RunOptions(
            directory=directory,
            builder=builder,
            custom_kernels=request.kernels,
            machines=plan.vocabulary.machines,
            **settings,
            pull=request.pull,
            retention=kept if request.keeping.keep else None,
            subjects=subjects,
            require=required,
            plan=plan.name,
            shard=request.shard or "",
            other_cells=others,
            command=("foothold", *map(_printable, _recorded_arguments(request.overrides))),
        )
        workforce = workforce_of(cluster, options, bus, history_file(request.output.history))
        summary = run_cells(cells, options, bus, workforce)
        bus.close()  # write the reports before waiting with the guests
        if not summary.interrupted:
            wait_with_guests(kept, request.keeping.keep_for)
    exit_code = _exit_code(summary, len(cells))
    if exit_code == FAILED and not was_tried(summary.counts):
        report_error(
            "no cell was tried: this machine or its guests support none of them",
            "read the reasons above; `foothold doctor` says what each guest needs",
        )
    return RunOutcome(exit_code, summary.blames, bool(bus.failed))


def _check(request: _Request) -> None:
    """Raise UsageError for options that make no sense together."""
    request.keeping.check()
    request.output.check()
    request.cluster.refuse_with(
        [
            ("--keep-guests", request.keeping.keep),
            ("--uml", request.kernels.uml),
            ("--kernel", request.kernels.qemu),
            ("--append", request.kernels.append),
            ("--jobs", request.overrides.given["jobs"]),
        ]
    )


def _select(
    request: _Request, builder: Builder
) -> tuple[PlanFile, tuple[Cell, ...], tuple[Cell, ...], frozenset[str]]:
    """Return the plan, the cells to run, those of other shards, and the guests that must be
    supported.
    """
    from foothold_lab.harness.plan.references import with_references

    overrides, kernels = request.overrides, request.kernels
    plan = read_plan(request.plan, builder, kernels)
    plan, cells = overrides.select_cells(plan, kernels.guests)
    required = _required(plan, overrides.value("require", plan), cells)
    selected = with_references(parse_shard(request.shard).select(cells))
    others = tuple(cell for cell in with_references(cells) if cell not in set(selected))
    cells = tuple(
        replace(each, where=kernels.arguments(each.guest) or each.where) for each in selected
    )
    cells = asked_for(cells, request.probes)
    return plan, cells, others, required & {cell.guest for cell in cells}


def _run_settings(overrides: Overrides, plan: PlanFile) -> dict[str, Any]:
    """Return how the cells are run: by the options, or else by the plan."""
    boot_per_cell, retries = (
        overrides.value("boot_per_cell", plan),
        overrides.value("retries", plan),
    )
    return {
        "jobs": overrides.value("jobs", plan) or plan.jobs or 0,
        "fresh": plan.boot_per_cell if boot_per_cell is None else boot_per_cell,
        "retries": plan.retries if retries is None else retries,
        "trace": overrides.value("trace", plan) is not False,
    }


def _required(plan: PlanFile, chosen: Sequence[str], cells: Sequence[Cell]) -> frozenset[str]:
    """Return the guests that must be supported. Those of --require must have cells.

    Raises UsageError.
    """
    guests = {cell.guest for cell in cells}
    if missing := sorted(set(chosen) - guests):
        raise UsageError(
            f"--require: {', '.join(missing)} has no cell in this run",
            f"add --guest {missing[0]}, or remove --require {missing[0]}",
        )
    return plan.require & guests | frozenset(chosen)


def _recorded_arguments(overrides: Overrides) -> Iterable[str]:
    """Return the arguments of this process, without secrets."""
    given = sys.argv[1:]
    return given if overrides.given["keep_secrets"] else mask_arguments(given)


def _printable(argument: str) -> str:
    """Return an argument in a form that can be recorded, even if it is not UTF-8."""
    return argument.encode(errors="backslashreplace").decode()


def _exit_code(summary: RunSummary, cells: int) -> int:
    """Return the exit code of a run; docs/exit-codes.md explains the order."""
    if summary.interrupted:
        return INTERRUPTED
    return FINDING if summary.required_missing else code_of_results(summary.counts, cells)
