"""`foothold run --uml ./linux --expect …` as the question of `git bisect run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from foothold_lab.harness.cli.context import FINDING, INTERRUPTED
from foothold_lab.harness.model.errors import Blame, FootholdError, UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.cli.plan_options import Asked
    from foothold_lab.harness.guests.custom_kernels import OwnKernels

SKIP, ABORT = 125, 255  # git-bisect(1): no answer about this one; stop here


@dataclass(frozen=True)
class Done:
    """What a run came to: its exit code, who is to blame for cells without an answer, and whether
    something that it should have written is missing.
    """

    code: int
    blames: frozenset[Blame]
    incomplete: bool


def is_bisection(words: Sequence[str]) -> bool:
    """Do the words of a command line ask the question of `git bisect run`, however they go on?"""
    options = {word.partition("=")[0] for word in words}
    return words[:1] == ["run"] and "--expect" in options and bool({"--uml", "--kernel"} & options)


def answer(own: OwnKernels, asked: Asked, run: Callable[[Asked], Done]) -> int:
    """Run, and say it to `git bisect run`: 0 is as expected, 1 is not.

    A kernel without an answer is passed over: one that was not built, does not boot, or cannot do
    what is asked. A laboratory that fails would call every kernel the same, and stops it.
    """
    from foothold_lab.images.errors import ImageError

    try:
        own.check()
    except UsageError as error:
        click.echo(f"foothold: {error}: it is skipped", err=True)
        return SKIP
    asked = asked.by_default(limits=("none",))
    if not asked.words["subjects"]:
        asked = asked.by_default(policies=("after",))
    try:
        done = run(asked)
    except (FootholdError, ImageError, OSError) as error:
        click.echo(f"foothold: {error}: the bisection cannot go on", err=True)
        if remedy := getattr(error, "remedy", ""):
            click.echo(f"  remedy: {remedy}", err=True)
        return ABORT
    if done.code in (INTERRUPTED, FINDING):
        return done.code
    if done.incomplete or Blame.INFRASTRUCTURE in done.blames:
        return ABORT
    return SKIP if done.code or done.blames else done.code
