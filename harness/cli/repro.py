"""`foothold repro`: repeats a cell of an earlier run, or packs it into a tarball."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import (
    FAILED,
    FINDING,
    INTERRUPTED,
    OK,
    handle_termination,
    history_file,
    make_builder,
    make_repro_directory,
    runs_directory,
)
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.cli.history_options import database_option, open_history
from foothold_lab.harness.cli.parameters import output_option
from foothold_lab.harness.model.secret_values import mask_arguments

if TYPE_CHECKING:
    from foothold_lab.harness.interactive.guest_server import GuestServer
    from foothold_lab.harness.interactive.recorded_cell import RecordedCell
    from foothold_lab.harness.model.events import AnyEvent
    from foothold_lab.harness.model.verdict import Verdict
    from foothold_lab.harness.results_db.database import Database
    from foothold_lab.images.builder import Builder


@click.command(short_help="Repeat a cell of an earlier run.")
@click.argument("run")
@click.argument("cell")
@output_option(
    "--bundle",
    help="Instead, write a tarball that repeats the cell without Foothold: .tar, .tar.gz or "
    ".tar.xz.",
)
@click.option(
    "--shell", "visit", is_flag=True, help="Afterwards, open a shell in the guest of the cell."
)
@click.option(
    "--trust",
    is_flag=True,
    help="Run what a run directory from elsewhere names, even outside of a guest.",
)
@database_option
def repro(run: str, cell: str, bundle: Path | None, visit: bool, trust: bool, file: Path) -> int:
    """Repeat a cell of an earlier run, with the same images, limits, policy and program.

    RUN and CELL are named as in `foothold show`. The exit code is 0 if the result is the same, 1 if
    it differs, and 3 if there is no result. A tarball holds kernel, root file system and program,
    and a script `repro` that runs them and prints what the program did.

    A run directory that is not in your history may come from elsewhere. Its cells in UML, QEMU and
    container guests can be repeated. A cell that runs a program on this machine needs --trust.
    """
    from foothold_lab.harness.interactive import recorded_cell
    from foothold_lab.harness.interactive.bundle import write

    if bundle and visit:
        raise click.UsageError("--bundle runs nothing: it cannot be combined with --shell")
    with open_history(file, run) as database:
        found = recorded_cell.find(database, run, cell)
        if not (trust or _is_own(database, found.directory)):
            found.check_isolation(bundle=bundle is not None)
    builder = make_builder()
    found.check_guest(builder)
    found.pin_images(builder)
    if bundle:
        write(found, builder, bundle)
        print_text(f"{bundle}: {bundle.stat().st_size / (1 << 20):.1f} MiB")
        return OK
    return _repeat(found.with_secrets(), builder, visit=visit)


def _is_own(database: Database, directory: Path) -> bool:
    """Did this user's Foothold make the run? A history that --history names may be another's."""
    from foothold_lab.harness.interactive import recorded_cell

    if runs_directory().resolve() in directory.resolve().parents:
        return True
    return database.path == history_file(None) and recorded_cell.is_own(database, directory)


def _repeat(recorded: RecordedCell, builder: Builder, *, visit: bool) -> int:
    from foothold_lab.harness.interactive.guest_server import GuestServer
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
    from foothold_lab.harness.reporters.terminal import TerminalReporter, is_live
    from foothold_lab.harness.runner import RunOptions, run_cells

    directory = make_repro_directory()
    verdicts = _Verdicts()
    handle_termination()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foothold-")))
        kept = stack.enter_context(GuestServer(directory))
        terminal = TerminalReporter(sys.stdout, live=is_live(sys.stdout))
        with Bus([terminal, RunDirectoryReporter(directory), verdicts]) as bus:
            options = RunOptions(
                directory=directory,
                builder=builder,
                custom_kernels=recorded.custom_kernels,
                machines=recorded.machines,
                jobs=1,
                trace=recorded.traced,
                subjects={recorded.subject.name: recorded.subject},
                recorded_share=recorded.copy_share(scratch),
                retention=kept if visit else None,
                plan=f"repro of {recorded.run}",
                command=("foothold", *mask_arguments(sys.argv[1:])),
            )
            summary = run_cells([recorded.cell], options, bus)
        now = verdicts.result.verdicts.get(recorded.cell.id)
        if summary.interrupted or now is None:
            return INTERRUPTED
        is_same = _result_of(recorded.verdict) == _result_of(now)
        _report(recorded, is_same=is_same)
        if kept.names:
            _visit(kept, directory)
    if is_same:
        return OK
    return FINDING if now.observed else FAILED


def _report(recorded: RecordedCell, *, is_same: bool) -> None:
    from foothold_lab.harness.model.escape import escape_line

    if is_same:
        print_text(f"same result as in {recorded.run}")
        return
    before = recorded.verdict.observed or "; ".join(each.text for each in recorded.verdict.findings)
    print_text(f"another result than in {recorded.run}, which was: {escape_line(str(before))}")


def _visit(kept: GuestServer, directory: Path) -> None:
    from foothold_lab.harness.interactive.guest_server import attach
    from foothold_lab.harness.interactive.shell import ProgramRequest
    from foothold_lab.harness.interactive.terminal import Streams
    from foothold_lab.harness.model.cells import Limits

    streams = Streams()
    with kept.serve():
        attach(
            directory, kept.names[0], ProgramRequest.from_streams(streams, (), Limits()), streams
        )


class _Verdicts:
    """A reporter that keeps the result of a run."""

    def __init__(self) -> None:
        from foothold_lab.harness.reporters.result import RunResult

        self.result = RunResult()

    def __call__(self, event: AnyEvent) -> None:
        self.result(event)

    def close(self) -> None:
        pass


def _result_of(verdict: Verdict) -> object:
    """Return the values by which two verdicts are compared.

    Messages are none of them: they may hold addresses and times of one run.
    """
    seen = verdict.observed
    codes = sorted(str(finding.code) for finding in verdict.findings)
    return codes, seen and (seen.path, seen.outcome, seen.status, seen.signal)
