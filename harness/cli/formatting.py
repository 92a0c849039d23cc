"""Output of commands: tables, counts, times and JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from foothold_lab.harness.results_db.models import Run

_RESULT_WORDS = {"pass": "passed", "fail": "failed", "error": "in error", "not-run": "not run"}
_RESULTS = ("pass", "fail", "error", "unsupported", "not-run")


def print_json(value: object) -> None:
    """Print a value as indented JSON, whose hidden characters are escaped."""
    click.echo(format_json(value), nl=False)


def format_json(value: object) -> bytes:
    """Return a value as indented JSON that ends with a newline, with escaped hidden characters."""
    import msgspec

    from foothold_lab.harness.model.escape import escape_json

    return escape_json(msgspec.json.format(msgspec.json.encode(value), indent=1)) + b"\n"


@dataclass(frozen=True, kw_only=True)
class Styled:
    """A line, and how a terminal shows it."""

    text: str
    colour: str | None = None
    bold: bool = False
    dim: bool = False


def print_lines(lines: Iterable[str | Styled]) -> None:
    """Print each line, with escaped hidden characters."""
    for line in lines:
        if isinstance(line, Styled):
            text = _escaped(line.text)
            bold, dim = line.bold or None, line.dim or None
            click.echo(click.style(text, fg=line.colour, bold=bold, dim=dim))
        else:
            print_text(line)


def print_text(text: str = "", *, err: bool = False, newline: bool = True) -> None:
    """Print text of one line or several, with escaped hidden characters."""
    click.echo(_escaped(text), err=err, nl=newline)


def _escaped(text: str) -> str:
    from foothold_lab.harness.model.escape import escape_text

    return escape_text(text)


def align_columns(rows: Sequence[Sequence[str]]) -> Iterator[str | Styled]:
    """Yield rows as lines with aligned columns; the first row is the header."""
    from foothold_lab.harness.model.escape import escape_line

    shown = [[escape_line(word, 400) for word in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for number, row in enumerate(shown):
        line = "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True))
        yield Styled(text=line.rstrip(), dim=True) if number == 0 else line.rstrip()


def count_results(counts: Mapping[str, int], flaky: int = 0) -> str:
    """Return the number of cells by result: `3 passed, 1 failed`."""
    parts = [
        f"{counts[name]} {_RESULT_WORDS.get(name, name)}" for name in _RESULTS if counts.get(name)
    ]
    if flaky:
        parts.append(f"{flaky} flaky")
    return ", ".join(parts) or "no cells"


def plural(count: int, noun: str) -> str:
    """Return `1 cell`, `2 cells`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_seconds(seconds: float | None, digits: int = 2) -> str:
    """Return a duration; empty if it is unknown."""
    return "" if seconds is None else f"{seconds:.{digits}f} s"


def format_time(at: float) -> str:
    """Return a time, in seconds since 1970, as local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def format_version(run: Run) -> str:
    """Return the version of Foothold that made a run, with its git revision."""
    revision, _, dirty = run.provenance.revision.partition("-")
    return " ".join(filter(None, (run.provenance.version, revision[:9], dirty)))
