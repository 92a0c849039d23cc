"""Compares the output of a cell with that of the same cell in another guest, which ran before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame, UsageError
from foothold_lab.harness.model.findings import Finding
from foothold_lab.harness.model.verdict import Expectation, Observation, Result, Verdict


def reference_of(cell: Cell) -> str:
    """Return the name of the cell whose output this cell must have; empty if it needs none."""
    expected = cell.expected
    if expected is None or not expected.same_output_as or expected.stdout:
        return ""
    return replace(cell, guest=expected.same_output_as).id


def check_references(cells: Mapping[str, Cell]) -> None:
    """Raise UsageError if a reference is not among the cells, or is compared itself."""
    for cell in cells.values():
        name = reference_of(cell)
        if name and (name not in cells or reference_of(cells[name])):
            raise UsageError(
                f"{cell.id} cannot be compared with {name}",
                f"run {name} as well, with an expectation of its own",
            )


def compared_with(cell: Cell, reference: Verdict) -> Cell | Verdict:
    """Return the cell with what its reference did as its expectation.

    If the reference was not observed, returns the verdict of the cell instead: it has the cause.
    """
    assert cell.expected
    if reference.observed is None or reference.observed.stdout is None:
        return _without_reference(cell, reference)
    expected = _expect_the_same(cell.expected, reference.observed)
    file = Path(reference.artefacts) / "stdout"
    return replace(cell, expected=replace(expected, stdout_file=str(file)))


def _expect_the_same(expected: Expectation, seen: Observation) -> Expectation:
    by_itself = not seen.stopped and not seen.signal
    return replace(
        expected,
        outcome=seen.outcome,
        exit_status=seen.status if by_itself else None,
        signal=seen.signal,
        stdout=seen.stdout,
    )


def _without_reference(cell: Cell, reference: Verdict) -> Verdict:
    unsupported = reference.blame is Blame.UNSUPPORTED
    return Verdict(
        cell=cell.id,
        result=Result.UNSUPPORTED if unsupported else Result.ERROR,
        seconds=0.0,
        expected=cell.expected,
        findings=tuple(
            Finding(each.code, f"{reference.cell} has no output to compare with: {each.text}")
            for each in reference.findings
        ),
        blame=reference.blame,
        remedy=reference.remedy,
        command=cell.command,
    )
