"""`foothold plan`: what would be run, told without running it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import OK, builder, known, read_plan
from foothold_lab.harness.cli.plan_options import Asked, chosen_shard, plan_options, shard_option
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile


@click.command()
@click.argument("plan", default="default", metavar="[PLAN]")
@plan_options()
@shard_option
@click.option("--list", "listing", is_flag=True, help="Name the plans that come with Foothold.")
@click.option(
    "--github-matrix", "matrix", is_flag=True, help="JSON for GitHub Actions: a job for each shard."
)
@click.option(
    "--shards", type=click.IntRange(1, 256), metavar="N", help="At most so many jobs (one a guest)."
)
@click.option("--reference", is_flag=True, help="The documentation of the plan file.")
def plan(
    plan: str,
    asked: Asked,
    shard: str | None,
    listing: bool,
    matrix: bool,
    shards: int | None,
    reference: bool,
) -> int:
    """List a plan's cells and what it declares of each; boots nothing.

    Cells are chosen as by `foothold run`.
    """
    if reference:
        from foothold_lab.harness.plan.reference import reference as page

        click.echo(page(), nl=False)
        return OK
    if listing:
        click.echo("\n".join(_shipped()))
        return OK
    if shards and not matrix:
        raise UsageError("--shards is for --github-matrix", "one of them is --shard 1/4")
    read, cells = asked.cells(read_plan(plan, builder()))
    if matrix:
        if shard:
            raise UsageError("a matrix is of all shards", "leave --shard")
        click.echo(json.dumps(_matrix(plan, asked, cells, shards)))
        return OK
    mine = chosen_shard(shard).of(cells)
    click.echo("\n".join(_head(read)))
    width = max((len(cell.id) for cell in mine), default=0)
    for cell in mine:
        click.echo(f"{cell.id:<{width}}  {'  '.join(_told(cell, read))}")
    of = f"shard {shard} of {len(cells)} cells: " if shard else ""
    click.echo(f"{of}{len(mine)} cell{'' if len(mine) == 1 else 's'}")
    return OK


def _head(plan: PlanFile) -> Iterator[str]:
    yield f"{plan.name}: {plan.description}" if plan.description else plan.name
    if plan.ways.tags:
        yield f"tags: {', '.join(plan.ways.tags)}"
    if plan.require:
        yield f"required: {', '.join(sorted(plan.require))}"


def _told(cell: Cell, plan: PlanFile) -> Iterator[str]:
    """What is declared of a cell, and what is said of it that is not said of all."""
    yield str(cell.expected or "(the oracle alone decides)")
    own = [f"#{tag}" for tag in cell.tags if tag not in plan.ways.tags]
    if cell.deadline is not None and cell.deadline != plan.ways.deadline:
        own.append(f"deadline {cell.deadline:g} s")
    if not cell.trace and plan.ways.trace is not False:
        own.append("not traced")
    if own:
        yield f"[{', '.join(own)}]"


def _shipped() -> Iterator[str]:
    from foothold_lab.harness.plan import find, load, shipped

    words = known(builder())
    plans = {name: load(find(name), words) for name in shipped()}
    width = max(map(len, plans))
    for name, read in plans.items():
        yield f"{name:<{width}}  {len(read.cells()):4} cells  {read.description}"


def _matrix(plan: str, asked: Asked, cells: Sequence[Cell], count: int | None) -> dict[str, object]:
    """Return what `strategy.matrix` wants: a job for each shard that has cells."""
    from foothold_lab.harness.plan import Shard

    count = count or len({cell.guest for cell in cells})
    jobs = []
    for number in range(1, count + 1):
        shard = Shard(number, count)
        if mine := shard.of(cells):
            words = ("./foothold", "run", plan, *asked.again(), "--shard", str(shard))
            jobs.append(
                {
                    "shard": str(shard),
                    "guests": ", ".join(dict.fromkeys(c.guest for c in mine)),
                    "cells": len(mine),
                    "command": shlex.join(words),
                }
            )
    return {"include": jobs}
