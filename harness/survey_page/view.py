"""What the page shows: rows of runtimes, columns of guests under limits, and a field for each cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.survey import (
    Column,
    RequestGroup,
    Survey,
    SurveyedCell,
    describe_cell,
    main_requests,
    outcome_word,
)

# a shape for each word, so that no result depends on its colour
SIGNS = {
    "starts": "✓",
    "moved": "→",
    "dies": "✕",
    "hangs": "∞",
    "not known": "?",
    "unsupported": "–",
}
MEANINGS = {
    "starts": "it starts, at the addresses that it asks for",
    "moved": "it starts, but an address was refused or changed",
    "dies": "it dies",
    "hangs": "it neither starts nor ends",
}
NO_LIMIT = "without a limit"


@dataclass(frozen=True, kw_only=True)
class ColumnView:
    """One column: its guest, the limit of its cells, and the address space there."""

    guest: str
    limit: str
    machine: str
    space: str

    @property
    def label(self) -> str:
        """Name the column in one line."""
        return self.guest if self.limit == NO_LIMIT else f"{self.guest}, {self.limit}"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One cell: its place among the columns, its result in a word, and the evidence for it."""

    anchor: str
    column: ColumnView
    at: int
    word: str
    sign: str
    varied: bool
    sentence: str
    requests: tuple[RequestGroup, ...]
    output: str
    command: str

    @property
    def label(self) -> str:
        """Say in words what the sign says."""
        return f"{self.column.label}: {self.word}{', not always' if self.varied else ''}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A runtime, with its version, and a field or None for each column."""

    anchor: str
    title: str
    version: str
    fields: tuple[Field | None, ...]

    @property
    def tried(self) -> tuple[Field, ...]:
        """The fields of the cells that were run."""
        return tuple(each for each in self.fields if each)


def columns_of(survey: Survey) -> tuple[tuple[Column, ColumnView], ...]:
    """Return the columns: those of the tables of the survey, then the limits of the address space."""
    shown = list(survey.columns)
    for guest, limits, _ in survey.cells:
        column = Column(guest=guest, limits=limits)
        known = guest in survey.guests  # it did boot
        if known and column not in shown and not Limits.parse(limits).ceiling:
            shown.append(column)
    order = list(survey.guests)
    shown.sort(key=lambda each: (order.index(each.guest), each.limits != "none"))
    return tuple((each, _column(survey, each)) for each in shown)


def _column(survey: Survey, column: Column) -> ColumnView:
    facts = survey.guests[column.guest]
    pages = f", pages of {facts.page_size >> 10} KiB" if facts.page_size != 4096 else ""
    return ColumnView(
        guest=column.guest,
        limit=NO_LIMIT if column.limits == "none" else column.limits,
        machine=f"{facts.machine}{pages}",
        space=f"{facts.bits} bits{pages}",
    )


def rows_of(survey: Survey, columns: Sequence[tuple[Column, ColumnView]]) -> Iterator[Row]:
    """Yield a row for each runtime that was tried."""
    for number, (subject, about) in enumerate(survey.subjects.items()):
        fields = []
        for at, (column, view) in enumerate(columns):
            seen = survey.cells.get((column.guest, column.limits, subject))
            fields.append(_field(seen, view, at, f"c{number}-{at}") if seen else None)
        if any(fields):
            yield Row(
                anchor=f"r{number}",
                title=about.title,
                version=about.version,
                fields=tuple(fields),
            )


def _field(seen: SurveyedCell, column: ColumnView, at: int, anchor: str) -> Field:
    told = re.sub(r"\*|, not always", "", outcome_word(seen))
    word = told if told in SIGNS else "dies"
    granted = "It starts, and the kernel grants all that it asks for."
    return Field(
        anchor=anchor,
        column=column,
        at=at,
        word=word,
        sign=SIGNS[word],
        varied=seen.varied,
        sentence=granted if word == "starts" else _sentence(seen),
        requests=main_requests(seen.requests),
        output="\n".join(seen.output_lines),
        command=escape_shell(seen.command),
    )


def _sentence(seen: SurveyedCell) -> str:
    """Return the sentences of the survey without the markup of Markdown."""
    if seen.verdict.observed is None:
        return seen.verdict.reason
    return describe_cell(seen).replace("&lt;", "<").replace("`", "")
