"""`foothold atlas`: the address spaces of all guests, as measured, side by side."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli import context
from foothold_lab.harness.model.errors import FootholdError, UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.images.builder import Builder

_HEAD = """\
# The atlas

Every guest's address space as measured inside it, before anything else ran there. Made by
`foothold atlas --markdown`; `foothold facts GUEST` has all that is known of one. What a host's own
kernel decides (native, docker) is that of the machine on which this was made.
"""


@click.command()
@click.argument("guests", nargs=-1, metavar="[GUEST]…")
@click.option("--json", "as_json", is_flag=True, help="All facts of all guests as JSON.")
@click.option("--markdown", is_flag=True, help="The table as docs/atlas.md has it.")
def atlas(guests: tuple[str, ...], as_json: bool, markdown: bool) -> int:
    """Boot all guests, or those named, and print what their address spaces are like."""
    import msgspec

    if as_json and markdown:
        raise UsageError("one table cannot be both", "give --json or --markdown")
    builder = context.builder()
    measured, missing = _measure(guests, builder)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(measured), indent=1))
    elif markdown:
        click.echo(_markdown(measured, missing), nl=False)
    else:
        click.echo(_table(measured))
    for guest, why in missing.items():
        click.echo(f"{guest}: {why}", err=True)
    return 0 if measured else 3


def _measure(
    asked: Sequence[str], builder: Builder
) -> tuple[Mapping[str, Facts], Mapping[str, str]]:
    """Boot one guest after another; say of those that cannot be booted why."""
    from foothold_lab.harness.guests.catalogue import catalogue, known_guests
    from foothold_lab.harness.plan import Known
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import Terminal
    from foothold_lab.harness.runner import run as laboratory

    known = Known(known_guests(builder), ())
    names = tuple(dict.fromkeys(map(known.guest, asked))) or tuple(catalogue(builder))
    measured: dict[str, Facts] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="foothold-") as directory:
        options = laboratory.Options(directory=Path(directory), builder=builder, jobs=1)
        with Bus([Terminal(sys.stderr, live=False)]) as bus:
            for name in names:
                try:
                    with laboratory.opened(name, options, bus) as opened:
                        measured[name] = opened.facts
                except FootholdError as error:
                    missing[name] = f"{error}; {error.remedy}" if error.remedy else str(error)
    return measured, missing


def _families(measured: Mapping[str, Facts]) -> Mapping[str, Mapping[str, Facts]]:
    """Group the guests by the machine that their programs are for, in the order of the first."""
    families: dict[str, dict[str, Facts]] = {}
    for name, facts in measured.items():
        family = facts.machine if facts.pointer_size == 8 else "32 bits"
        families.setdefault(family, {})[name] = facts
    return families


def _table(measured: Mapping[str, Facts]) -> str:
    """Guests as columns, since what is told of each is more than there are of them."""
    return "\n\n".join(map(_columns, _families(measured).values()))


def _columns(measured: Mapping[str, Facts]) -> str:
    from foothold_lab.harness.model.traits import TRAITS

    columns = [["", *TRAITS]]
    columns += [
        [name, *(tell(facts) for tell in TRAITS.values())] for name, facts in measured.items()
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

    lines = [_HEAD]
    for family, members in _families(measured).items():
        lines += [f"## {family}", "", f"| | {' | '.join(members)} |"]
        lines.append("|---" * (len(members) + 1) + "|")
        for row, tell in TRAITS.items():
            # whose machine it was made on is nobody's business
            told = (
                "the host's"
                if row == "kernel" and facts.release == platform.release()
                else tell(facts)
                for facts in members.values()
            )
            lines.append(f"| {row} | {' | '.join(told)} |")
        lines.append("")
    if missing:
        lines += [f"Not measured: {name}: {why}." for name, why in missing.items()]
    return "\n".join(lines).rstrip() + "\n"
