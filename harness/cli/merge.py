"""`foothold merge`: one run of the runs of a plan's shards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import FAILED, OK, code_of_results, make_run_directory
from foothold_lab.harness.cli.formatting import print_text
from foothold_lab.harness.cli.output_options import OutputOptions, output_options
from foothold_lab.harness.cli.parameters import SectionedCommand
from foothold_lab.harness.cli.runs import run_path
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.merge import ShardRun

_SECTIONS = {
    "Reports": ("quiet", "json_file", "junit_file", "html_file", "github"),
    "Records": ("run_dir", "history", "no_history"),
}
_EXAMPLES = (
    (
        "foothold merge shards/* --junit results.xml --html report.html",
        "Make one report of the shards of a CI job, each a directory below shards.",
    ),
    ("foothold merge one.tar.gz two.tar.zst", "Merge archives of run directories."),
)


@click.command(
    cls=SectionedCommand,
    sections=_SECTIONS,
    examples=_EXAMPLES,
    short_help="Make one run of the runs of a plan's shards.",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@output_options
def merge(runs: tuple[str, ...], output: OutputOptions) -> int:
    """Make one run of the runs of a plan's shards, with one report and one entry in the history.

    RUN is a run directory, a tar archive of one, or named as in `foothold show`. A cell of a shard
    that is not given or cannot be read, and a cell without a verdict, is in error: a missing shard is never a pass.
    The exit codes are those of `foothold run`.
    """
    from foothold_lab.harness.merge import combine
    from foothold_lab.harness.merge import merge as merge_runs
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import TerminalReporter

    output.check()
    with contextlib.ExitStack() as stack:
        paths = [run_path(word).absolute() for word in runs]
        _check_outside(output.run_dir, paths)
        shards, is_damaged = _read_all(paths, stack)
        merged = combine(shards)
        directory = make_run_directory(output.run_dir)
        terminal = TerminalReporter(output.stream, live=False, quiet=output.quiet)
        bus = stack.enter_context(Bus([terminal]))
        output.add_reporters(bus, directory)
        summary = merge_runs(merged, directory, ("foothold", "merge", *runs), bus)
        bus.close()
    code = code_of_results(summary.counts, len(merged.cells))
    return FAILED if code == OK and (bus.failed or is_damaged) else code


def _check_outside(run_dir: Path | None, paths: Iterable[Path]) -> None:
    """Raise UsageError for a run directory that lies in one of these runs: merging would change it."""
    for path in paths:
        if run_dir and run_dir.resolve().is_relative_to(path.resolve()):
            raise UsageError(
                f"--run-dir {run_dir} is in {path}, which is merged",
                "give --run-dir a directory outside of the runs",
            )


def _read_all(paths: Sequence[Path], stack: contextlib.ExitStack) -> tuple[list[ShardRun], bool]:
    """Read the runs that can be read, and say whether others cannot: their cells are missing.

    Raises UsageError if none can be read.
    """
    from foothold_lab.harness.merge import open_source, read_shard

    shards, errors = [], []
    for path in paths:
        try:
            shards.append(read_shard(stack.enter_context(open_source(path))))
        except UsageError as error:
            errors.append(error)
    if errors and not shards:
        raise errors[0]
    for each in errors:
        print_text(f"left out, its cells are missing: {each}", err=True)
    return shards, bool(errors)
