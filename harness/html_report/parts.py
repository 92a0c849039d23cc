"""The cells of a run as several pages, for a web site: no page is larger than what was chosen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from markupsafe import Markup

from foothold_lab.harness.html_report.address_map import Axis, ticks
from foothold_lab.harness.html_report.cells import CellView, cell_views
from foothold_lab.harness.html_report.document import asset
from foothold_lab.harness.html_report.page import PACKAGE, templates
from foothold_lab.harness.html_report.read import Run

T = TypeVar("T")

SHELL = 30_000  # bytes of a page that are not of its cells
_TOO_LARGE = "The evidence is larger than a page of a web site: `foothold show` prints all of it."


@dataclass(frozen=True, kw_only=True)
class Part:
    """A page: its file name, its cells, and its text."""

    name: str
    cells: tuple[str, ...]
    html: bytes


def style() -> bytes:
    """Return the style sheet of the pages, report.css."""
    return asset(PACKAGE, "page.css").encode()


def render_parts(run: Run, most: int, *, only: Collection[str] = (), root: str) -> Iterator[Part]:
    """Yield pages with the cells of a run, or with those named by `only`; each has at most `most`
    bytes. `root` leads from a page to the directory with report.css and index.html.
    """
    ready = [guest.ready for guest in run.result.guests.values() if guest.ready]
    axis = Axis.of([each.facts for each in ready])
    views = (view for view in cell_views(run, axis, {}, only=only) if view.verdict is not None)
    cells = [(view, _render(view, most - SHELL)) for view in views]
    chunks = list(pack(cells, most - SHELL))
    names = [f"{number}.html" for number in range(1, len(chunks) + 1)]
    page = templates().get_template("part.html")
    for number, chunk in enumerate(chunks, 1):
        text = page.render(
            run=run,
            root=root,
            number=number,
            names=names,
            count=len(chunk),
            ticks=list(ticks(axis)),
            body=Markup("".join(html for _, html in chunk)),  # noqa: S704 - rendered templates
        )
        yield Part(
            name=names[number - 1],
            cells=tuple(view.cell.id for view, _ in chunk),
            html=text.encode(),
        )


def pack(rendered: Iterable[tuple[T, str]], most: int) -> Iterator[Sequence[tuple[T, str]]]:
    """Put successive values and their texts together: the texts of a group have at most `most` bytes,
    if no single one has more.
    """
    group: list[tuple[T, str]] = []
    size = 0
    for value, text in rendered:
        more = len(text.encode())
        if group and size + more > most:
            yield group
            group, size = [], 0
        group.append((value, text))
        size += more
    if group:
        yield group


def _render(view: CellView, most: int) -> str:
    """Return a cell that fits into a page, if need be with less evidence."""
    lesser = replace(view, raw_files={}, problems=(*view.problems, _TOO_LARGE))
    least = replace(lesser, segments=(), ledger=None, witnesses=(), drawing=None, console="")
    template = templates().get_template("part_cell.html")
    for each in (view, lesser):
        html = template.render(view=each, is_part=True)
        if len(html.encode()) <= most:
            return html
    return template.render(view=least, is_part=True)
