"""`foothold threshold`: the smallest limit under which a subject starts, in each guest."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import (
    FAILED,
    FINDING,
    OK,
    builder,
    packaged,
    read_plan,
    stop_as_by_ctrl_c,
)
from foothold_lab.harness.cli.plan_options import OF_PROGRAMS, Asked, setting_options
from foothold_lab.harness.cli.subject import subjects_named
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.runner.run import Opened
    from foothold_lab.harness.subjects.subject import Subject
    from foothold_lab.harness.threshold.batch import Missing
    from foothold_lab.harness.threshold.bisection import Threshold

_KINDS = ("rlimit_as", "rlimit_data", "rlimit_stack", "memory")


@click.command()
@click.argument("subject")
@setting_options("guests", "jobs", *OF_PROGRAMS)
@click.option(
    "--limit-kind",
    "kind",
    type=click.Choice(_KINDS),
    default="rlimit_as",
    help="The limit that is looked for (rlimit_as).",
)
@click.option("--from", "low", default="1M", metavar="SIZE", help="Not below this (1M).")
@click.option("--to", "high", default="64G", metavar="SIZE", help="Not above this (64G).")
@click.option(
    "--precision", default="0", metavar="SIZE", help="How exactly (to a 64th of what is found)."
)
@click.option("--policy", metavar="P", help="The allocator's policy (after).")
@click.option("--json", "json_file", metavar="FILE", help="All that was tried; - is stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing of what is being tried.")
def threshold(
    subject: str,
    asked: Asked,
    kind: str,
    low: str,
    high: str,
    precision: str,
    policy: str | None,
    json_file: str | None,
    quiet: bool,
) -> int:
    """Find the smallest limit under which SUBJECT starts: a name of the catalogue, or a program.

    By bisection inside one boot of each guest. It is asked first whether it starts without any
    limit, under the highest, and not under the lowest.
    """
    from foothold_lab.harness.guests.catalogue import catalogue
    from foothold_lab.harness.model.cells import ALLOCATOR
    from foothold_lab.harness.model.sizes import parse_size
    from foothold_lab.harness.reporters import Bus
    from foothold_lab.harness.reporters.terminal import Terminal
    from foothold_lab.harness.runner import run as laboratory
    from foothold_lab.harness.threshold.batch import Edges
    from foothold_lab.harness.threshold.find import find

    maker = builder()
    plan, named = asked.subjects(read_plan("default", maker), (subject,))
    if len(named) != 1:
        raise UsageError(f"{subject!r} is {len(named)} subjects", "name one of them")
    [name] = named
    if policy and name != ALLOCATOR:
        raise UsageError(f"{name}: only the allocator has policies", "leave --policy")
    chosen = plan.known.policy(policy or "after") if name == ALLOCATOR else ""
    lowest, highest, fine = parse_size(low), parse_size(high), parse_size(precision)
    if not 0 < lowest < highest:
        raise UsageError(f"--from {low} is not below --to {high}", "exchange them")
    guests = asked.value("guests", plan)
    names = tuple(dict.fromkeys(guests)) or tuple(catalogue(maker))
    subjects = subjects_named([name], plan, packaged(maker))

    def search(one: Subject, booted: Opened, tell: Callable[[str], None]) -> Threshold:
        return find(
            one,
            booted.guest,
            booted.facts,
            kind=kind,
            low=lowest,
            high=highest,
            precision=fine,
            policy=chosen,
            tell=tell,
        )

    stop_as_by_ctrl_c()
    with (
        tempfile.TemporaryDirectory(prefix="foothold-") as directory,
        Bus([Terminal(sys.stderr, live=False, quiet=quiet)]) as bus,
    ):
        options = laboratory.Options(
            directory=Path(directory),
            builder=maker,
            jobs=asked.value("jobs", plan) or 0,
            subjects=subjects,
        )
        edges = Edges(options, bus, search)
        edges.all(names)
    found = sorted(edges.found, key=lambda each: names.index(each.guest))
    if json_file:
        _write(json_file, found, edges.missing)
    if json_file != "-":
        _show(found, edges.missing)
    return _exit_code(found, edges.missing, asked_for=bool(guests))


def _show(found: Sequence[Threshold], missing: Sequence[Missing]) -> None:
    from foothold_lab.harness.reporters.sanitize import clean

    width = max((len(each.guest) for each in found), default=0)
    for each in found:
        click.echo(f"{each.guest:<{width}}  {each.kind}: {each}")
        if each.refused:
            click.echo(f"{'':<{width}}  below it, refused last: {clean(each.refused, 300)}")
        if each.observed:
            click.echo(f"{'':<{width}}  below it: {clean(each.observed, 300)}")
    for gone in missing:
        click.echo(f"{gone.guest}: {clean(gone.why, 300)}", err=True)


def _write(file: str, found: Sequence[Threshold], missing: Sequence[Missing]) -> None:
    import msgspec

    from foothold_lab.harness.reporters.atomic_write import write_whole

    whole = {"schema": 1, "thresholds": found, "missing": missing}
    text = msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"
    if file == "-":
        sys.stdout.buffer.write(text)
    else:
        write_whole(Path(file), text)


def _exit_code(found: Sequence[Threshold], missing: Sequence[Missing], *, asked_for: bool) -> int:
    """Starting nowhere, or under some limits and not under larger ones, is a finding."""
    from foothold_lab.harness.threshold.bisection import Edge

    if any(each.search.edge in (Edge.NEVER, Edge.SEVERAL) for each in found):
        return FINDING
    lost = [each for each in missing if not each.unsupported or asked_for]
    return FAILED if lost or not found else OK
