"""From the names of a run's subjects to what runs: found on this machine, or built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foothold_lab.harness.model.errors import UsageError

if TYPE_CHECKING:
    from foothold_lab.harness.model.cells import Cell
    from foothold_lab.harness.plan import PlanFile, Program
    from foothold_lab.harness.subjects.subject import Subject


def subjects_of(
    cells: Sequence[Cell], plan: PlanFile, packaged: Mapping[str, Callable[[], Subject]]
) -> dict[str, Subject]:
    """Return what runs in these cells, by name; only what they need is looked for, or built.

    Raises UsageError for a program that cannot run, ImageError if a packaged one cannot be built.
    """
    return subjects_named([cell.subject for cell in cells], plan, packaged)


def subjects_named(
    names: Sequence[str], plan: PlanFile, packaged: Mapping[str, Callable[[], Subject]]
) -> dict[str, Subject]:
    """Return subjects that the plan knows, by name. Raises as `subjects_of`."""
    from foothold_lab.harness.subjects.subject import ALLOCATOR

    found: dict[str, Subject] = {}
    for name in dict.fromkeys(names):
        if name == ALLOCATOR.name:
            found[name] = ALLOCATOR
        elif name in plan.programs:
            found[name] = _of_program(plan.programs[name], plan)
        else:
            found[name] = packaged[name]()
    return found


def _of_program(this: Program, plan: PlanFile) -> Subject:
    from foothold_lab.harness import subjects
    from foothold_lab.harness.plan import schema
    from foothold_lab.harness.plan.toml_source import Place, Source

    try:
        return subjects.of_program(
            this.program,
            this.args,
            name=this.name,
            files=this.files,
            environment=this.env,
            root=this.root,
            sysroot=Path(this.sysroot) if this.sysroot else None,
            timeout=this.timeout or subjects.TIMEOUT,
            ready_pattern=this.ready_pattern,
        )
    except UsageError as error:
        if this.asked:  # on the command line, where its words are
            raise
        raise Source(plan.source).wrong(Place(schema.SUBJECT, this.name), error) from error
