"""`foothold run --uml ./linux` with --expect or --probe, as the script of `git bisect run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foothold_lab.harness.cli.context import FINDING, INTERRUPTED, report_error
from foothold_lab.harness.model.errors import Blame, FootholdError, UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.cli.plan_options import Overrides
    from foothold_lab.harness.guests.custom_kernels import CustomKernels

SKIP, ABORT = 125, 255  # git-bisect(1): this commit cannot be tested; end the bisection


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run: its exit code, the blames of cells without a verdict, and whether
    something that the run should have written is missing.
    """

    exit_code: int
    blames: frozenset[Blame]
    incomplete: bool


def is_bisection(arguments: Sequence[str]) -> bool:
    """Is this a command line for `git bisect run`, even if other parts of it are wrong?"""
    options = {word.partition("=")[0] for word in arguments}
    asks = bool({"--expect", "--probe"} & options)
    return arguments[:1] == ["run"] and asks and bool({"--uml", "--kernel"} & options)


def bisect_step(
    kernels: CustomKernels, overrides: Overrides, run: Callable[[Overrides], RunOutcome]
) -> int:
    """Run, and return an exit code for `git bisect run`: 0 as expected, 1 not as expected.

    A kernel that cannot be tested is skipped: it was not built, does not boot, or lacks a feature
    that the cell needs. An error of the laboratory ends the bisection, because it would give every
    kernel the same code.
    """
    from foothold_lab.images.errors import ImageError

    try:
        kernels.check()
    except UsageError as error:
        report_error(f"{error}: this commit is skipped")
        return SKIP
    overrides = overrides.with_defaults(limits=("none",))
    if not overrides.given["subjects"]:
        overrides = overrides.with_defaults(policies=("after",))
    try:
        outcome = run(overrides)
    except (FootholdError, ImageError, OSError) as error:
        report_error(f"{error}: the bisection is aborted", getattr(error, "remedy", ""))
        return ABORT
    if outcome.exit_code in (INTERRUPTED, FINDING):
        return outcome.exit_code
    if outcome.incomplete or Blame.INFRASTRUCTURE in outcome.blames:
        return ABORT
    return SKIP if outcome.exit_code or outcome.blames else outcome.exit_code
