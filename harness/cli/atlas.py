"""`foothold atlas`: the measured address spaces of all guests, side by side."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.cluster_options import (
    ClusterOptions,
    cluster_options,
    with_machines,
    workforce_of,
)
from foothold_lab.harness.cli.context import (
    FAILED,
    OK,
    handle_termination,
    history_file,
    make_builder,
)
from foothold_lab.harness.cli.formatting import print_json, print_text
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.placement import split_placement

if TYPE_CHECKING:
    from foothold_lab.harness.model.events import Emit
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.harness.runner import Measurers, RunOptions
    from foothold_lab.images.builder import Builder

_HEAD = """\
# The atlas

The address space of every guest, as measured inside it before anything else ran there. For people
who want to know what a program meets in a guest. `foothold atlas --markdown` makes this page;
`foothold facts GUEST` prints all facts of one guest. In `native`, `docker` and `qemu-user-…` some
properties are those of the host on which the page was made. Words are defined in the
[glossary](glossary.md).
"""
_OF_FARM = """\
It was made on a cluster: `native@NAME` is the machine of the worker NAME, and `native`, `docker` and
`qemu-user-…` ran on any worker.
"""


@click.command(short_help="Compare the address spaces of all guests.")
@click.argument("guests", nargs=-1, metavar="[GUEST]...")
@click.option("--json", "as_json", is_flag=True, help="Print all facts of the guests as JSON.")
@click.option("--markdown", is_flag=True, help="Print the tables as a Markdown page.")
@cluster_options
def atlas(guests: tuple[str, ...], as_json: bool, markdown: bool, cluster: ClusterOptions) -> int:
    """Boot guests, measure their address spaces, and print them side by side.

    Without GUEST, all guests are measured; with --cluster, the machine of each worker as well.
    """
    if as_json and markdown:
        raise UsageError("--json and --markdown contradict", "give one of them")
    measured, missing = _measure(guests, make_builder(), cluster)
    if as_json:
        print_json(measured)
    elif markdown:
        print_text(_markdown(measured, missing), newline=False)
    else:
        print_text(_table(measured))
    for guest, reason in missing.items():
        print_text(f"{guest}: {reason}", err=True)
    return OK if measured else FAILED


def _measure(
    names: Sequence[str], builder: Builder, farm: ClusterOptions
) -> tuple[Mapping[str, Facts], Mapping[str, str]]:
    """Boot the guests. Return the facts, and the reason for each that cannot boot."""
    from foothold_lab.harness.guests.catalogue import catalogue, known_guests
    from foothold_lab.harness.model.cells import Cell, Limits
    from foothold_lab.harness.plan import Vocabulary
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import TerminalReporter
    from foothold_lab.harness.runner import LocalWorkforce, RunOptions, measure_guests

    handle_termination()
    vocabulary = Vocabulary(known_guests(builder), ())
    guests = tuple(dict.fromkeys(map(vocabulary.resolve_guest, names))) or tuple(catalogue(builder))
    cells = tuple(Cell(guest=guest, limits=Limits(), policy="") for guest in guests)
    farm.check_guests(cells, ())
    with (
        farm.connected() as cluster,
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([TerminalReporter(sys.stderr, live=False)]) as bus,
    ):
        cells = with_machines(cluster, cells, chosen=bool(names))
        options = RunOptions(directory=Path(directory), builder=builder)

        def hire(options: RunOptions, emit: Emit) -> Measurers:
            hired = workforce_of(cluster, options, emit, history_file(None))
            return hired or LocalWorkforce(options, emit)

        measured = measure_guests(cells, options, bus, hire)
    return measured.facts, measured.missing


def _families(measured: Mapping[str, Facts]) -> Mapping[str, Mapping[str, Facts]]:
    """Group the guests by the architecture of their programs, in the order of their first guest."""
    families: dict[str, dict[str, Facts]] = {}
    for name, facts in measured.items():
        family = facts.machine if facts.pointer_size == 8 else "32 bits"
        families.setdefault(family, {})[name] = facts
    return families


def _table(measured: Mapping[str, Facts]) -> str:
    """Return a table for each family, with a column for each guest."""
    return "\n\n".join(map(_columns, _families(measured).values()))


def _columns(measured: Mapping[str, Facts]) -> str:
    from foothold_lab.harness.model.traits import TRAITS

    columns = [["", *TRAITS]]
    columns += [
        [name, *(describe(facts) for describe in TRAITS.values())]
        for name, facts in measured.items()
    ]
    widths = [max(map(len, column)) for column in columns]
    lines = zip(*columns, strict=True)
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _markdown(measured: Mapping[str, Facts], missing: Mapping[str, str]) -> str:
    import platform

    from foothold_lab.harness.model.traits import TRAITS

    farm = [_OF_FARM] if any(split_placement(guest)[1] for guest in measured) else []
    lines = [_HEAD, *farm]
    for family, members in _families(measured).items():
        lines += [f"## {family}", "", f"| | {' | '.join(members)} |"]
        lines.append("|---" * (len(members) + 1) + "|")
        for row, describe in TRAITS.items():
            # the page is published: leave out the kernel release of the machine that made it
            words = (
                "the host's"
                if row == "kernel" and facts.release == platform.release()
                else describe(facts)
                for facts in members.values()
            )
            lines.append(f"| {row} | {' | '.join(words)} |")
        lines.append("")
    lines += [f"Not measured: {name}: {reason}." for name, reason in missing.items()]
    return "\n".join(lines).rstrip() + "\n"
