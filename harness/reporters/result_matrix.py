"""The matrix of a run, and how a cell is marked in it: by a colour, a sign and a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.verdict import Outcome, Result, Verdict

RESULT_SIGNS = {"pass": "✓", "fail": "✗", "error": "!", "unsupported": "–", "not-run": "·"}
RESULT_WORDS = {
    "pass": "as expected",
    "fail": "not as expected",
    "error": "in error",
    "unsupported": "unsupported",
    "not-run": "not reached",
}
RETRIED_SIGN = "↻"  # the cell passed when it was retried
_IN_FRAGMENTS = "/=+@:~!$&()*,;"
MAX_VARIANT_COLUMNS = 3  # with more variants, each gets a section of the matrix


@dataclass(frozen=True, kw_only=True)
class CellMark:
    """A cell in the matrix. `path` is empty if no path was observed, `label` is for screen readers."""

    anchor: str
    href: str
    result: str
    sign: str
    path: str
    word: str
    dies: bool
    flaky: bool
    changed: bool
    label: str


@dataclass(frozen=True)
class MatrixRow:
    """A row of the matrix: a limit, and the cells of each column."""

    limits: str
    fields: tuple[tuple[CellMark, ...], ...]


@dataclass(frozen=True)
class MatrixSection:
    """Rows under a heading. `name` is empty if there is only one section."""

    name: str
    rows: tuple[MatrixRow, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows are limits, columns are guests. Up to three variants are columns of a guest, more are sections."""

    guests: tuple[str, ...]
    variants: tuple[str, ...]
    sections: tuple[MatrixSection, ...]


def cell_anchor(name: str) -> str:
    """Return the HTML id of a cell in a page. An id can hold all characters but white space."""
    return "_".join(name.split())


def mark_cell(cell: Cell, verdict: Verdict | None, *, changed: bool = False) -> CellMark:
    """Return the mark of a cell. A cell without a verdict has not run."""
    result = verdict.result.value if verdict else "not-run"
    seen = verdict.observed if verdict else None
    path = seen.path.value if seen and seen.path else ""
    word = path
    if seen and not path:
        word = seen.outcome.value if seen.outcome else "unclear"
    dies = bool(seen and seen.outcome is Outcome.DIES and path != "refused")
    flaky = verdict is not None and verdict.result is Result.PASS and verdict.flaky
    anchor = cell_anchor(cell.id)
    told = f"{seen}" if seen else (verdict.reason if verdict else "")
    parts = [*cell.id.split("/"), RESULT_WORDS[result], told]
    if flaky:
        parts.append("passed when it was retried")
    if changed:
        parts.append("changed since the earlier run")
    return CellMark(
        anchor=anchor,
        href=f"#{quote(anchor, safe=_IN_FRAGMENTS)}",
        result=result,
        sign=RESULT_SIGNS[result],
        path=path,
        word=word,
        dies=dies,
        flaky=flaky,
        changed=changed,
        label=", ".join(filter(None, parts)),
    )


def arrange(cells: Sequence[Cell], marks: Sequence[CellMark]) -> Matrix:
    """Arrange the marks of the cells of a run. Repeats of a cell share a field."""
    guests = tuple(dict.fromkeys(cell.guest for cell in cells))
    cells = [replace(cell, repeat=1) for cell in cells]
    variants = tuple(dict.fromkeys(cell.variant for cell in cells))
    limits = tuple(dict.fromkeys(str(cell.limits) for cell in cells))
    at: dict[tuple[str, str, str], list[CellMark]] = {}
    for cell, one in zip(cells, marks, strict=True):
        at.setdefault((cell.guest, str(cell.limits), cell.variant), []).append(one)

    def lines(columns: Sequence[tuple[str, str]]) -> Iterator[MatrixRow]:
        for limit in limits:
            fields = [at.get((guest, limit, variant), []) for guest, variant in columns]
            if any(fields):
                yield MatrixRow(limit, tuple(map(tuple, fields)))

    if len(variants) <= MAX_VARIANT_COLUMNS:
        columns = [(guest, variant) for guest in guests for variant in variants]
        return Matrix(guests, variants, (MatrixSection("", tuple(lines(columns))),))
    parts = (
        MatrixSection(variant, tuple(lines([(guest, variant) for guest in guests])))
        for variant in variants
    )
    return Matrix(guests, (), tuple(parts))
