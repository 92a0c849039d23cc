"""How a cell is marked wherever it is named: a colour, a shape and a word, never a colour alone."""

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
RETRIED_SIGN = "↻"  # it passed when it was asked again
_IN_FRAGMENTS = "/=+@:~!$&()*,;"
MAX_VARIANT_COLUMNS = (
    3  # so many variants stand beside each other; more of them get a part of the table each
)


@dataclass(frozen=True)
class CellMark:
    """A cell's place on the page and how it looks there. `path` is empty where there is none."""

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
    """Rows under a heading of their own; `name` is empty if there is but one part."""

    name: str
    rows: tuple[MatrixRow, ...]


@dataclass(frozen=True)
class Matrix:
    """Limits down, guests across; variants beside each other as `sub`, or in parts below."""

    guests: tuple[str, ...]
    variants: tuple[str, ...]
    sections: tuple[MatrixSection, ...]


def mark_cell(cell: Cell, verdict: Verdict | None, *, changed: bool = False) -> CellMark:
    """Return how a cell is marked; a cell without a verdict was not reached."""
    result = verdict.result.value if verdict else "not-run"
    seen = verdict.observed if verdict else None
    path = seen.path.value if seen and seen.path else ""
    word = path
    if seen and not path:
        word = seen.outcome.value if seen.outcome else "unclear"
    dies = bool(seen and seen.outcome is Outcome.DIES and path != "refused")
    flaky = verdict is not None and verdict.result is Result.PASS and verdict.flaky
    anchor = "_".join(cell.id.split())  # an id may hold anything but blanks
    told = f"{seen}" if seen else (verdict.reason if verdict else "")
    parts = [*cell.id.split("/"), RESULT_WORDS[result], told]
    if flaky:
        parts.append("passed when it was asked again")
    if changed:
        parts.append("changed since the earlier run")
    return CellMark(
        anchor,
        f"#{quote(anchor, safe=_IN_FRAGMENTS)}",
        result,
        RESULT_SIGNS[result],
        path,
        word,
        dies,
        flaky,
        changed,
        ", ".join(filter(None, parts)),
    )


def arrange(cells: Sequence[Cell], marks: Sequence[CellMark]) -> Matrix:
    """Arrange the marks of a run's cells; those of a question that was repeated share a field."""
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
