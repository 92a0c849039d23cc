"""`foothold plan`: lists the cells of a plan without running them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from foothold_lab.harness.cli.context import OK, make_builder, make_vocabulary, read_plan
from foothold_lab.harness.cli.formatting import plural, print_lines, print_text
from foothold_lab.harness.cli.parameters import SectionedCommand
from foothold_lab.harness.cli.plan_options import (
    SECTIONS,
    Overrides,
    choose_plan,
    parse_shard,
    plan_argument,
    plan_options,
    shard_option,
)
from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile

_EXAMPLES = (
    ("foothold plan --list", "Which plans come with Foothold?"),
    ("foothold plan nightly --guest 'uml-*'", "Which cells of a plan run in UML?"),
)


@dataclass(frozen=True, kw_only=True)
class _Output:
    """What is printed, if not the cells of the plan."""

    listing: bool
    matrix: bool
    shards: int | None
    reference: bool


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    examples=_EXAMPLES,
    short_help="List the cells of a plan without running them.",
)
@plan_argument
@plan_options()
@shard_option
@click.option("--list", "listing", is_flag=True, help="List the built-in plans instead.")
@click.option(
    "--github-matrix",
    "matrix",
    is_flag=True,
    help="Print a matrix for GitHub Actions instead, as JSON: one job per shard.",
)
@click.option(
    "--shards",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Number of shards for --github-matrix (default: one per guest).",
)
@click.option("--reference", is_flag=True, help="Print the reference of the plan file instead.")
def plan(plan: tuple[str, ...], overrides: Overrides, shard: str | None, **output: Any) -> int:
    """List the cells of a plan, and what the plan expects of each. Boots nothing.

    PLAN is the name of a built-in plan or a TOML file (default: the plan `default`). The options
    select cells as in `foothold run`.
    """
    chosen = _Output(**output)
    if chosen.reference:
        from foothold_lab.harness.plan.reference import reference

        click.echo(reference(), nl=False)
        return OK
    if chosen.listing:
        print_lines(_builtin_plans())
        return OK
    if chosen.shards and not chosen.matrix:
        raise UsageError("--shards needs --github-matrix", "to select one shard, write --shard 1/4")
    part = parse_shard(shard)
    name = choose_plan(plan, overrides)
    read, cells = overrides.select_cells(read_plan(name, make_builder()))
    if chosen.matrix:
        if shard:
            raise UsageError("--github-matrix covers all shards", "remove --shard")
        click.echo(json.dumps(_matrix(name, overrides, cells, chosen.shards)))
        return OK
    from foothold_lab.harness.plan.references import with_references

    print_lines(_describe_plan(read))
    selected = with_references(part.select(cells))
    print_lines(_describe_cells(selected, read))
    of = f"shard {shard} of {len(cells)} cells: " if shard else ""
    print_text(f"{of}{plural(len(selected), 'cell')}")
    return OK


def _describe_plan(plan: PlanFile) -> Iterator[str]:
    yield f"{plan.name}: {plan.description}" if plan.description else plan.name
    if plan.settings.tags:
        yield f"tags: {', '.join(plan.settings.tags)}"
    if plan.require:
        yield f"required guests: {', '.join(sorted(plan.require))}"


def _describe_cells(cells: Sequence[Cell], plan: PlanFile) -> Iterator[str]:
    width = max((len(cell.id) for cell in cells), default=0)
    for cell in cells:
        expected = str(cell.expected or "(predicted by the oracle)")
        yield "  ".join((f"{cell.id:<{width}}", expected, *_own_settings(cell, plan)))


def _own_settings(cell: Cell, plan: PlanFile) -> Iterator[str]:
    """Yield the settings of a cell that are not those of the plan, in brackets; or nothing."""
    own = [f"#{tag}" for tag in cell.tags if tag not in plan.settings.tags]
    if cell.deadline is not None and cell.deadline != plan.settings.deadline:
        own.append(f"deadline {cell.deadline:g} s")
    if not cell.trace and plan.settings.trace is not False:
        own.append("not traced")
    if own:
        yield f"[{', '.join(own)}]"


def _builtin_plans() -> Iterator[str]:
    from foothold_lab.harness.plan import builtin_plans, find_plan, load_plan

    vocabulary = make_vocabulary(make_builder())
    plans = {name: load_plan(find_plan(name), vocabulary) for name in builtin_plans()}
    width = max(map(len, plans))
    for name, read in plans.items():
        yield f"{name:<{width}}  {len(read.cells()):4} cells  {read.description}"


def _matrix(
    plan: str, overrides: Overrides, cells: Sequence[Cell], count: int | None
) -> dict[str, object]:
    """Return the value of `strategy.matrix`: a job for each shard that has cells."""
    from foothold_lab.harness.plan import Shard

    count = count or len({cell.guest for cell in cells})
    jobs = []
    for number in range(1, count + 1):
        shard = Shard(number, count)
        if selected := shard.select(cells):
            words = ("./foothold", "run", plan, *overrides.arguments(), "--shard", str(shard))
            jobs.append(
                {
                    "shard": str(shard),
                    "guests": ", ".join(dict.fromkeys(cell.guest for cell in selected)),
                    "cells": len(selected),
                    "command": shlex.join(words),
                }
            )
    return {"include": jobs}
