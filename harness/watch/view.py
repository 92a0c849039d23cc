"""Shows the answers: a table that is redrawn in place on a terminal, plain lines elsewhere.

All text from programs and guests is escaped.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    CellStarted,
    Progress,
)
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.reporters.result_matrix import RESULT_SIGNS
from foothold_lab.harness.reporters.terminal import RESULT_STYLES, make_console
from foothold_lab.harness.watch.answers import Answers
from foothold_lab.harness.watch.build import BuildResult

_WORDS = {
    Result.PASS: "passed",
    Result.FAIL: "failed",
    Result.ERROR: "in error",
    Result.UNSUPPORTED: "unsupported",
}
_OUTPUT_LINES = 12  # of a command that has failed
_LONGEST_NAME = 48  # characters of the name of a cell that are shown
_CHANGED = "*"


class View(Protocol):
    """Shows what the session does. It is a reporter of each run."""

    def __call__(self, event: AnyEvent) -> None:
        """Show an event of a run."""

    def close(self) -> None:
        """The run is over; more may follow."""

    def building(self, argv: Sequence[str]) -> None:
        """The command is about to start."""

    def built(self, argv: Sequence[str], result: BuildResult) -> None:
        """The command has ended."""

    def found(self, program: Path) -> None:
        """This is the program that the command has made."""

    def failed(self, error: Exception) -> None:
        """The program cannot run."""

    def testing(self, cells: Sequence[Cell], since: float) -> None:
        """The cells are about to run, on a program that is there since a monotonic time."""

    def answered(self) -> None:
        """All cells have their verdicts."""

    def unchanged(self) -> None:
        """The program is the one that was tested last."""

    def waiting(self) -> None:
        """Nothing happens until something changes."""

    def end(self) -> None:
        """Restore the terminal."""


def make_view(stream: IO[str], *, live: bool) -> View:
    """Return the view for a stream. `live` is as in `reporters.terminal.is_live`."""
    console = make_console(Console, stream, live=live)
    return _Table(console) if live else _Lines(console)


class _Lines:
    """Every answer once, then only those that have changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._answers = Answers()
        self._since = 0.0
        self._is_waiting = False

    def __call__(self, event: AnyEvent) -> None:
        if isinstance(event, Progress) and not event.passing and not event.guest:
            self._print(escape_line(event.what))
        elif isinstance(event, CellFinished):
            self._answers.add(event.verdict)
            self._show(event.verdict)

    def close(self) -> None:
        pass

    def building(self, argv: Sequence[str]) -> None:
        pass

    def built(self, argv: Sequence[str], result: BuildResult) -> None:
        for line in result.output if result.status else ():
            self._print(escape_line(line, None))
        self._print(_ending_of(argv, result))
        self._is_waiting = False

    def found(self, program: Path) -> None:
        self._print(f"the program is {program}")

    def failed(self, error: Exception) -> None:
        self._print("; ".join(_words_of(error)))

    def testing(self, cells: Sequence[Cell], since: float) -> None:
        self._answers.begin(cells)
        self._since = since

    def answered(self) -> None:
        self._print(_summary(self._answers, time.monotonic() - self._since).plain)
        self._is_waiting = False

    def unchanged(self) -> None:
        if self._answers.cells:
            self._print("the program has not changed")

    def waiting(self) -> None:
        if not self._is_waiting:
            self._print("waiting for a change; Ctrl-C ends")
        self._is_waiting = True

    def end(self) -> None:
        pass

    def _show(self, verdict: Verdict) -> None:
        earlier = self._answers.earlier(verdict)
        is_new = verdict.cell not in self._answers.before
        if verdict.result is Result.UNSUPPORTED and is_new:
            return
        if earlier:
            was = f"   was {earlier.result}: {_observed(earlier)}"
            self._print(f"{_CHANGED} {_line(verdict)}{was}")
        elif is_new:
            self._print(f"  {_line(verdict)}")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


class _Table:
    """All answers, redrawn in place. Those that are not yet of this program are dim."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._answers = Answers()
        self._head = Text()
        self._state = Text()
        self._output: Sequence[str] = ()
        self._running: set[str] = set()
        self._lock = threading.RLock()
        self._since = 0.0
        self._live = Live(
            console=console, get_renderable=self._draw, auto_refresh=False, transient=False
        )
        self._live.start()

    def __call__(self, event: AnyEvent) -> None:
        with self._lock:
            if isinstance(event, CellFinished):
                self._running.discard(event.cell)
                self._answers.add(event.verdict)
            elif isinstance(event, CellStarted):
                self._running.add(event.cell)
            elif isinstance(event, Progress) and not event.guest:
                self._state = Text(escape_line(event.what), "cyan")
            else:
                return
        self._redraw()

    def close(self) -> None:
        pass

    def building(self, argv: Sequence[str]) -> None:
        self._show(Text(f"{_command(argv)} is running", "cyan"))

    def built(self, argv: Sequence[str], result: BuildResult) -> None:
        self._head = Text(_ending_of(argv, result), "bold red" if result.status else "dim")
        self._output = result.output[-_OUTPUT_LINES:] if result.status else ()
        self._show(Text(""))

    def found(self, program: Path) -> None:
        self._show(Text(f"the program is {program}", "dim"))

    def failed(self, error: Exception) -> None:
        self._output = [str(word) for word in _words_of(error)]
        self._redraw()

    def testing(self, cells: Sequence[Cell], since: float) -> None:
        with self._lock:
            self._answers.begin(cells)
            self._running.clear()
            self._since = since
            self._output = ()
        self._show(Text("running", "cyan"))

    def answered(self) -> None:
        self._head = _summary(self._answers, time.monotonic() - self._since)
        self._redraw()

    def unchanged(self) -> None:
        self._head = Text("the program has not changed", "dim")
        self._redraw()

    def waiting(self) -> None:
        self._show(Text("waiting for a change; Ctrl-C ends", "dim"))

    def end(self) -> None:
        self._live.stop()

    def _show(self, state: Text) -> None:
        with self._lock:
            self._state = state
        self._redraw()

    def _redraw(self) -> None:
        self._live.refresh()

    def _draw(self) -> RenderableType:
        with self._lock:
            below = [Text(f"  | {escape_line(line)}", "dim") for line in self._output]
            room = self._console.height - len(below) - 4
            return Group(*self._rows(max(room, 3)), *below, self._head, self._state)

    def _rows(self, room: int) -> Iterator[RenderableType]:
        shown = [cell for cell in self._answers.cells if not self._is_unsupported(cell)]
        unsupported = dict.fromkeys(c.guest for c in self._answers.cells if self._is_unsupported(c))
        if len(shown) > room:  # those that need attention stay
            shown = sorted(shown, key=self._is_quiet)[:room]
            shown.sort(key=self._answers.cells.index)
        table = Table(
            box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False, expand=True
        )
        longest = max((len(cell.id) for cell in shown), default=0)
        table.add_column(width=1)
        table.add_column(width=len("✗ unsupported"))
        table.add_column(width=min(longest, _LONGEST_NAME), no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        if self._answers.changed:
            table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", width=7)
        for cell in shown:
            table.add_row(*self._row(cell))
        yield table
        left = sum(not self._is_unsupported(cell) for cell in self._answers.cells) - len(shown)
        if left:
            yield Text(f"  and {left} more, unchanged", "dim")
        if unsupported:
            text = Text(f"  unsupported: {', '.join(unsupported)}", "dim")
            text.no_wrap, text.overflow = True, "ellipsis"
            yield text

    def _is_unsupported(self, cell: Cell) -> bool:
        verdict = self._latest(cell)
        return bool(verdict and verdict.result is Result.UNSUPPORTED)

    def _latest(self, cell: Cell) -> Verdict | None:
        return self._answers.now.get(cell.id) or self._answers.before.get(cell.id)

    def _is_quiet(self, cell: Cell) -> bool:
        """Is there nothing about a cell that a reader has to see?"""
        verdict = self._answers.now.get(cell.id)
        return bool(verdict and verdict.passed and not self._answers.earlier(verdict))

    def _row(self, cell: Cell) -> Iterator[Text]:
        now, verdict = self._answers.now.get(cell.id), self._latest(cell)
        earlier = self._answers.earlier(now) if now else None
        yield Text(_CHANGED if earlier else "", "bold yellow")
        if verdict is None:
            yield Text("running" if cell.id in self._running else "", "cyan")
            yield Text(cell.id)
            return
        word = f"{RESULT_SIGNS[verdict.result]} {verdict.result}"
        yield Text(word, RESULT_STYLES[verdict.result] if now else "dim")
        yield Text(cell.id, "" if now else "dim")
        yield Text(_observed(verdict), "" if now else "dim")
        if self._answers.changed:
            was = f"was {earlier.result}: {_observed(earlier)}" if earlier else ""
            yield Text(was, "yellow")
        yield Text(f"{verdict.seconds:.2f} s" if now else "", "dim")


def _observed(verdict: Verdict) -> str:
    seen = str(verdict.observed) if verdict.observed else verdict.reason or verdict.result.value
    return escape_line(seen, 200)


def _line(verdict: Verdict) -> str:
    return f"{verdict.result:<6} {verdict.cell:<34} {_observed(verdict)}  {verdict.seconds:.2f} s"


def _summary(answers: Answers, seconds: float) -> Text:
    counts = answers.counts
    parts = [Text(f"{counts[r]} {_WORDS[r]}", RESULT_STYLES[r]) for r in Result if counts[r]]
    if changed := len(answers.changed):
        parts.append(Text(f"{changed} changed", "bold yellow"))
    total = len(answers.cells)
    text = Text(f"{total} cell{'' if total == 1 else 's'}: ")
    return text + Text(", ").join(parts) + Text(f", {seconds:.2f} s after the change")


def _ending_of(argv: Sequence[str], result: BuildResult) -> str:
    how = f"failed with status {result.status}" if result.status else "ended"
    return f"{_command(argv)} {how} after {result.seconds:.1f} s"


def _command(argv: Sequence[str]) -> str:
    return escape_line(shlex.join(argv), 80)


def _words_of(error: Exception) -> list[str]:
    return [escape_line(word, None) for word in (str(error), getattr(error, "remedy", "")) if word]
