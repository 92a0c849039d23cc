"""The command `./foothold bench`."""

from __future__ import annotations

import os

import click

from bench import allocator, guests, history, judge, oracle, plans, report, snapshots, ssh

PAGES = click.Choice(tuple(oracle.PAGES))
TABLES = {
    "guests": (guests.main, "Measure cells, tracing and facts in all guests."),
    "snapshots": (snapshots.main, "Measure guests that start from snapshots."),
    "plans": (plans.main, "Measure the plans default and nightly."),
    "allocator": (allocator.main, "Measure the allocator's own speed."),
    "history": (history.main, "Measure questions to a history of 100,000 cells."),
    "judge": (judge.main, "Measure the judging of long traces."),
}


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def bench(context: click.Context) -> None:
    """Measure how long Foothold takes, compared with references.

    Without a table: guests, snapshots and plans. docs/performance.md explains the figures.
    """
    if context.invoked_subcommand is None:
        for name in ("guests", "snapshots", "plans"):
            TABLES[name][0]()


for _name, (_main, _help) in TABLES.items():
    bench.add_command(click.Command(_name, callback=_main, help=_help))


@bench.command(name="report")
@click.argument("run", default="last")
def time_report(run: str) -> None:
    """Measure the HTML page of a run: its size, making it, showing it."""
    report.main(run)


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


bench(prog_name="./foothold bench" if "FOOTHOLD_PROGRAM" in os.environ else "python -m bench")
