"""Cells with whose output other cells are compared: the references of `same-output-as:GUEST`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from foothold_lab.harness.model.cells import ALLOCATOR, Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.verdict import Expectation

REFERENCE = Expectation(path=None, outcome=None, reason="other cells are compared with this one")


def with_references(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return the cells, each once, and before them the references that are missing.

    The reference of a cell is the same cell in the guest of its `same-output-as:GUEST`. Anything is
    expected of a reference that is added, and of one that is to be compared with itself. Raises
    UsageError if the reference of a cell is compared with another guest itself, and for an expected
    output of the allocator.
    """
    known = {cell: _as_reference(cell) for cell in cells}
    compared = [cell for cell in known.values() if _reference_guest(cell)]
    for cell in known.values():
        _check_subject(cell)
    references = {_reference_guest(cell): cell for cell in compared}
    for cell in compared:
        if other := references.get(cell.guest):
            raise UsageError(
                f"{cell.id} is to print the same as in {_reference_guest(cell)}, but {other.id} is "
                f"compared with {cell.guest}",
                f"compare both with {_reference_guest(cell)}",
            )
    added = (
        replace(cell, guest=_reference_guest(cell), expected=REFERENCE, where=())
        for cell in compared
    )
    missing = dict.fromkeys(cell for cell in added if cell not in known)
    return (*missing, *known.values())


def _reference_guest(cell: Cell) -> str:
    return cell.expected.same_output_as if cell.expected else ""


def _as_reference(cell: Cell) -> Cell:
    """Return the cell; one that is compared with itself as a reference."""
    return replace(cell, expected=REFERENCE) if _reference_guest(cell) == cell.guest else cell


def _check_subject(cell: Cell) -> None:
    expected = cell.expected
    if cell.subject == ALLOCATOR and expected and (expected.stdout_file or expected.same_output_as):
        raise UsageError(
            f"{cell.id}: the standard output of the allocator is its report, which has addresses "
            "and times",
            "expect an output of programs only: --subject PROGRAM",
        )
