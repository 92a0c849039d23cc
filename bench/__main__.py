"""The command `./foothold bench`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bench import (
    allocator,
    flakes,
    guests,
    history,
    judge,
    nights,
    oracle,
    phases,
    plans,
    report,
    site,
    snapshots,
    ssh,
)
from bench import watch as watching
from bench.host import describe
from bench.scaling import scaling
from bench.soak.boots import boots
from bench.soak.builds import builds
from bench.soak.chaos import chaos
from bench.soak.hostile import hostile

PAGES = click.Choice(tuple(oracle.PAGES))
TABLES = {
    "guests": (guests.main, "Measure cells, tracing and facts in all guests."),
    "snapshots": (snapshots.main, "Measure guests that start from snapshots."),
    "phases": (phases.main, "Measure where the time of a cell goes."),
    "plans": (plans.main, "Measure the plans default and nightly."),
    "watch": (watching.main, "Measure the answers to a change of a program."),
    "allocator": (allocator.main, "Measure the allocator's own speed."),
    "history": (history.main, "Measure questions to a history of 100,000 cells."),
    "site": (site.main, "Measure the web site of a history of 100,000 cells."),
    "judge": (judge.main, "Measure the judging of long traces."),
}


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def bench(context: click.Context) -> None:
    """Measure how long Foothold takes, compared with references.

    Without a table: guests, snapshots and plans. The first line describes the host.
    docs/performance.md explains the figures.
    """
    print(describe(), flush=True)
    if context.invoked_subcommand is None:
        for name in ("guests", "snapshots", "plans"):
            TABLES[name][0]()


for _name, (_main, _help) in TABLES.items():
    bench.add_command(click.Command(_name, callback=_main, help=_help))

bench.add_command(scaling)


@bench.command(name="report")
@click.argument("run", default="last")
def time_report(run: str) -> None:
    """Measure the HTML page of a run: its size, making it, showing it."""
    report.main(run)


@bench.command(name="flakes")
@click.option("--guest", default="native", show_default=True, help="Where the probes run.")
@click.option("--runs", default=200, show_default=True, help="How often.")
def find_flakes(guest: str, runs: int) -> None:
    """Run the probes of `conformance` many times, and list those whose answers vary."""
    raise SystemExit(flakes.main(guest, runs))


@bench.command(name="nights")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--nights", "count", default=30, show_default=True, help="Number of nights.")
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), default=Path("nights"),
    show_default=True, help="Directory for the runs and the history; new.",
)  # fmt: skip
def make_nights(directory: Path, count: int, work: Path) -> None:
    """Make a web site of many nights, of real runs and of replays, to look at."""
    nights.main(directory, count, work)


@bench.command(name="ssh")
@click.argument("address", metavar="ssh:USER@HOST[:PORT]")
def time_ssh(address: str) -> None:
    """Compare a cell on a machine with the same cell on native."""
    ssh.main(address)


@bench.command(name="oracle")
@click.option("--count", default=100_000, show_default=True, help="Number of predictions.")
@click.option("--seed", default=0, show_default=True, help="First seed.")
@click.option("--page-size", type=PAGES, default="4K", show_default=True, help="Of the kernel.")
def compare_oracle(count: int, seed: int, page_size: str) -> None:
    """Compare predictions with the allocator on a model of a kernel."""
    raise SystemExit(oracle.main(count, seed, page_size))


@bench.group
def soak() -> None:
    """Prove reliability under load: boots, kills, interrupted builds, hostile programs."""


soak.add_command(boots)
soak.add_command(builds)
soak.add_command(chaos)
soak.add_command(hostile)

bench(prog_name="./foothold bench" if "FOOTHOLD_PROGRAM" in os.environ else "python -m bench")
