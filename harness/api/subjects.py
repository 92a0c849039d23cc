"""Makes the subjects of a run from their names: programs of this machine, or packaged ones."""

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
    """Return the subjects of these cells by name. Only these are looked up or built.

    Raises UsageError for a program that cannot run, ImageError if a packaged one cannot be built.
    """
    return subjects_named([cell.subject for cell in cells], plan, packaged)


def subjects_named(
    names: Sequence[str], plan: PlanFile, packaged: Mapping[str, Callable[[], Subject]]
) -> dict[str, Subject]:
    """Return subjects that the plan knows, by name. Raises the errors of `subjects_of`."""
    from foothold_lab.harness.subjects.subject import ALLOCATOR

    found: dict[str, Subject] = {}
    for name in dict.fromkeys(names):
        if name == ALLOCATOR.name:
            found[name] = ALLOCATOR
        elif name in plan.programs:
            found[name] = _from_program(plan.programs[name], plan)
        else:
            found[name] = packaged[name]()
    return found


def _from_program(program: Program, plan: PlanFile) -> Subject:
    from foothold_lab.harness import subjects
    from foothold_lab.harness.plan import schema
    from foothold_lab.harness.plan.toml_source import Place, Source

    try:
        options = subjects.ProgramOptions(
            name=program.name,
            files=program.files,
            environment=program.env,
            keep_secrets=program.keep_secrets,
            root=program.root,
            sysroot=Path(program.sysroot) if program.sysroot else None,
            stdin=program.stdin,
            user=program.user,
            timeout=program.timeout or subjects.TIMEOUT,
            ready_pattern=program.ready_pattern,
            ready_port=program.ready_port,
            ready_file=program.ready_file,
            ready_notify=program.ready_notify,
        )
        return subjects.of_program(program.program, program.args, options)
    except UsageError as error:
        if program.options:  # declared on the command line, not in the file
            raise
        place = Place(section=schema.SUBJECT, which=program.name)
        raise Source(plan.source).error_at(place, error) from error
