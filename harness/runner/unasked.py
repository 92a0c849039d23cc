"""Questions that cannot be asked, or whose answer nobody foretells: what a run says of them."""

from __future__ import annotations

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import Blame, UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.verdict import Expectation, Result, Verdict
from foothold_lab.harness.oracle import predict, unknown


def prediction(
    cell: Cell, facts: Facts, notes: tuple[str, ...]
) -> tuple[Expectation | None, tuple[str, ...]]:
    """What the oracle says; or None with a note, if it cannot tell and the plan can.

    Raises UnsupportedError if neither says what to expect, or the policy is none for such pointers.
    """
    if why := unknown(facts, cell.policy):
        raise UnsupportedError(why, "take a 64-bit guest")
    try:
        return predict(facts, cell.limits, cell.policy, workload=cell.workload), notes
    except UnsupportedError as error:
        if cell.expected is None:
            raise
        return None, (*notes, f"no prediction: {error}")


def unsupported(cell: Cell, reason: str, remedy: str) -> Verdict:
    """The verdict on a question that cannot be asked in this guest."""
    return Verdict(
        cell=cell.id,
        result=Result.UNSUPPORTED,
        seconds=0.0,
        expected=cell.expected,
        findings=(reason,),
        blame=Blame.UNSUPPORTED,
        remedy=remedy,
        command=cell.command,
    )
