"""`foothold merge`: one run of the runs of a plan's shards."""

from __future__ import annotations

import contextlib

import click

from foothold_lab.harness.cli.context import FAILED, OK, code_of_results, make_run_directory
from foothold_lab.harness.cli.output_options import OutputOptions, output_options
from foothold_lab.harness.cli.parameters import SectionedCommand
from foothold_lab.harness.cli.runs import run_path

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
    that is not given, and a cell without a verdict, is in error: a missing shard is never a pass.
    The exit codes are those of `foothold run`.
    """
    from foothold_lab.harness.merge import combine, open_source, read_shard
    from foothold_lab.harness.merge import merge as merge_runs
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import TerminalReporter

    output.check()
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(open_source(run_path(word).absolute())) for word in runs]
        merged = combine([read_shard(each) for each in sources])
        directory = make_run_directory(output.run_dir)
        terminal = TerminalReporter(output.stream, live=False, quiet=output.quiet)
        bus = stack.enter_context(Bus([terminal]))
        output.add_reporters(bus, directory)
        summary = merge_runs(merged, directory, ("foothold", "merge", *runs), bus)
        bus.close()
    code = code_of_results(summary.counts, len(merged.cells))
    return FAILED if code == OK and bus.failed else code
