"""`foothold guests`: guests that test sessions have kept."""

from __future__ import annotations

import click

from foothold_lab.harness.cli.context import FAILED, OK, report_error
from foothold_lab.harness.cli.formatting import (
    align_columns,
    format_seconds,
    print_lines,
    print_text,
)
from foothold_lab.harness.model.errors import UsageError


@click.command(short_help="List guests that test sessions have kept, or end them.")
@click.argument("names", nargs=-1, metavar="[GUEST]...")
@click.option("--end", "ending", is_flag=True, help="End these guests, or all of them.")
def guests(names: tuple[str, ...], ending: bool) -> int:
    """List the guests that `pytest --foothold-keep` has kept for its next session, or end them.

    A guest that is not ended ends by itself: after the time of --foothold-keep-for without a
    session, or with the process that keeps it.
    """
    from foothold_lab.harness.keeper.listing import end, list_kept

    kept = [each for each in list_kept() if not names or each.guest in names]
    if missing := sorted(set(names) - {each.guest for each in kept}):
        raise UsageError(f"{missing[0]} is not kept", "`foothold guests` lists those that are")
    if not kept:
        print_text("no guest is kept")
        return OK
    if not ending:
        rows = [("guest", "process", "booted", "ends")]
        rows += [
            (each.guest, str(each.process), f"{each.age:.0f} s ago",
             f"after {format_seconds(each.seconds, 0)} without a session")
            for each in kept
        ]  # fmt: skip
        print_lines(align_columns(rows))
        return OK
    code = OK
    for each in kept:
        if end(each):
            print_text(f"{each.guest} has ended")
        else:
            report_error(f"{each.guest} has not ended", f"kill -9 {each.process}")
            code = FAILED
    return code
