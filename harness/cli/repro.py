"""`foothold repro`: a cell of an earlier run once more, or as a tarball."""

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
    builder,
    name_of_now,
    state,
    stop_as_by_ctrl_c,
)
from foothold_lab.harness.cli.history import database_option, opened

if TYPE_CHECKING:
    from foothold_lab.harness.interactive.recorded_cell import Past
    from foothold_lab.harness.model.events import AnyEvent
    from foothold_lab.harness.model.verdict import Verdict
    from foothold_lab.images.builder import Builder


@click.command()
@click.argument("run")
@click.argument("cell")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Instead, write a tarball that does it by itself: .tar, .tar.gz or .tar.xz.",
)
@click.option("--shell", "visit", is_flag=True, help="Then stay in its guest, with a shell.")
@database_option
def repro(run: str, cell: str, bundle: Path | None, visit: bool, file: Path) -> int:
    """Run a cell of an earlier run again: same images, limits, policy, and files of its subject.

    RUN and CELL are as for `foothold show`. The exit code is 0 if it came to the same, 1 if not,
    and 3 if there was no answer. A tarball holds kernel, root file system and subject, and a
    script `repro` that needs nothing of ours; it prints what the subject did.
    """
    from foothold_lab.harness.interactive import recorded_cell
    from foothold_lab.harness.interactive.bundle import write

    if bundle and visit:
        raise click.UsageError("a tarball has no guest to stay in: give --bundle or --shell")
    with opened(file, run) as database:
        found = recorded_cell.find(database, run, cell)
    maker = builder()
    found.pin(maker)
    if bundle:
        write(found, maker, bundle)
        click.echo(f"{bundle}: {bundle.stat().st_size / (1 << 20):.1f} MiB")
        return OK
    return _again(found, maker, visit=visit)


def _again(past: Past, maker: Builder, *, visit: bool) -> int:
    from foothold_lab.harness.interactive import guest_server as desk
    from foothold_lab.harness.interactive.shell import Wanted
    from foothold_lab.harness.interactive.terminal import Streams
    from foothold_lab.harness.model.cells import Limits
    from foothold_lab.harness.reporters import Bus, Sink
    from foothold_lab.harness.reporters.rundir import RunDirectory
    from foothold_lab.harness.reporters.terminal import Terminal, is_live
    from foothold_lab.harness.runner import run as laboratory

    directory = state() / "repros" / name_of_now()
    directory.mkdir(parents=True)
    seen = _Seen()
    stop_as_by_ctrl_c()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foothold-")))
        kept = stack.enter_context(desk.Kept(directory))
        sinks: list[Sink] = [
            Terminal(sys.stdout, live=is_live(sys.stdout)),
            RunDirectory(directory),
            seen,
        ]
        with Bus(sinks) as bus:
            options = laboratory.Options(
                directory,
                maker,
                own=past.own,
                jobs=1,
                trace=past.traced,
                subjects={past.subject.name: past.subject},
                handed=past.hand(scratch),
                keeper=kept if visit else None,
                plan=f"repro of {past.run}",
                command=("foothold", *sys.argv[1:]),
            )
            summary = laboratory.run([past.cell], options, bus)
        now = seen.result.verdicts.get(past.cell.id)
        if summary.interrupted or now is None:
            return INTERRUPTED
        then = past.verdict
        same = _came_to(then) == _came_to(now)
        was = then.observed or "; ".join(then.findings)
        click.echo(f"as in {past.run}" if same else f"not as in {past.run}; there: {was}")
        if kept.names:
            streams = Streams()
            with kept.reachable():
                desk.visit(directory, kept.names[0], Wanted.by(streams, (), Limits()), streams)
    if same:
        return OK
    return FINDING if now.observed else FAILED


class _Seen:
    """Keeps what a run came to."""

    def __init__(self) -> None:
        from foothold_lab.harness.reporters.result import RunResult

        self.result = RunResult()

    def __call__(self, event: AnyEvent) -> None:
        self.result(event)

    def close(self) -> None:
        pass


def _came_to(verdict: Verdict) -> object:
    """What can be compared: what was seen, or why nothing was."""
    if verdict.observed is None:
        return verdict.findings
    seen = verdict.observed
    return seen.path, seen.outcome, seen.status, seen.signal, seen.message
