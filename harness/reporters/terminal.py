"""The output for people: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Protocol, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.escape import escape_line, escape_lines
from foothold_lab.harness.model.events import (
    AnyEvent,
    CellFinished,
    CellRetried,
    CellStarted,
    GuestBooting,
    GuestFailed,
    GuestReady,
    Progress,
    RunFinished,
    RunStarted,
    WorkerJoined,
    WorkerLost,
)
from foothold_lab.harness.model.verdict import Attempt, Result, Verdict
from foothold_lab.harness.reporters.repeat import repeat_command
from foothold_lab.harness.reporters.result import RunResult
from foothold_lab.harness.reporters.result_matrix import RESULT_SIGNS

RESULT_STYLES = {
    Result.PASS: "green",
    Result.FAIL: "bold red",
    Result.ERROR: "bold magenta",
    Result.UNSUPPORTED: "yellow",
}
_CONSOLE_LINES = 12
MOST_ROWS = 40  # finished cells of a guest at work: then they scroll away
MOST_NAMES = 20  # of guests that wait
_RESULT_WIDTH = len("✗ unsupported")


def is_live(stream: IO[str]) -> bool:
    """Can this stream show a live table? A pipe, TERM=dumb and NO_COLOR cannot."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") not in ("dumb", "")
        and not os.environ.get("NO_COLOR")
    )


class _Display(Protocol):
    """How progress is shown. The end of a run looks the same in all displays."""

    def show(self, event: AnyEvent, result: RunResult) -> None: ...

    def close(self) -> None: ...


C = TypeVar("C", bound=Console)


def make_console(kind: type[C], stream: IO[str], *, live: bool) -> C:
    """Return a console that prints texts as they are; `live` is as in `is_live`."""
    return kind(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not live,
        no_color=not live,
        force_terminal=live,
    )


class _Console(Console):
    """Interrupts the main thread if the reader of the stream has gone, as SIGPIPE would.

    A run that `is_over` is not interrupted, so that its exit code remains.
    """

    is_over = False

    def on_broken_pipe(self) -> None:
        """Print nothing more. The base class would raise SystemExit in any thread."""
        self.quiet = True
        if self.is_over:
            return
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class TerminalReporter:
    """Shows a run on a stream. `live` is as in `is_live`; `quiet` shows only the end of the run.

    All text from guests and subjects is escaped.
    """

    def __init__(self, stream: IO[str], *, live: bool, quiet: bool = False) -> None:
        self._console = make_console(_Console, stream, live=live)
        self._result = RunResult()
        self._is_live = live and not quiet
        self._display: _Display
        if quiet:
            self._display = _Silent()
        elif live:
            self._display = _LiveTable(self._console, self._result)
        else:
            self._display = _Lines(self._console)

    def __call__(self, event: AnyEvent) -> None:
        """Show an event, and at the end of the run its result."""
        self._result(event)
        self._console.is_over |= isinstance(event, RunFinished)
        self._display.show(event, self._result)
        if isinstance(event, CellFinished) and not self._is_live:
            self._result.shorten(event.cell)
        elif isinstance(event, GuestReady | GuestFailed):
            self._result.forget(event.guest)
        if isinstance(event, RunFinished):
            self._display.close()
            for line in _ending(self._result):
                self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Restore the terminal."""
        self._display.close()


class _Silent:
    def show(self, event: AnyEvent, result: RunResult) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines:
    """One line for each event, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, event: AnyEvent, result: RunResult) -> None:
        if text := self._line(event, result):
            self._console.print(text)

    def close(self) -> None:
        pass

    def _line(self, event: AnyEvent, result: RunResult) -> str:
        if isinstance(event, Progress):
            if event.passing:
                return ""
            guest = f"{event.guest}: " if event.guest else ""
            return guest + escape_line(event.what)
        if isinstance(event, WorkerJoined | WorkerLost):
            return _worker(event)
        if isinstance(event, GuestReady):
            return f"{event.guest}: {_ready(event)}"
        if isinstance(event, GuestFailed):
            return f"{event.guest}: {_failed(event)}"
        if isinstance(event, CellFinished):
            verdict = event.verdict
            if verdict.result is Result.UNSUPPORTED:
                return ""  # the message of its guest is enough
            seen = _observed(verdict)
            return f"{verdict.result:<6} {event.cell:<34} {seen}  {verdict.seconds:.2f} s"
        if isinstance(event, CellRetried):
            return f"again  {event.cell:<34} {_failed_try(event.attempt)}"
        return ""


class _LiveTable:
    """A live table of the guests at work. What is finished scrolls away above it and is forgotten: a
    whole guest, or some cells of a guest that has many.
    """

    def __init__(self, console: Console, result: RunResult) -> None:
        self._console = console
        self._result = result
        self._lock = threading.RLock()  # a separate thread draws the table
        self._state: dict[str, Text] = {}
        self._running: dict[str, float] = {}
        self._again: dict[str, str] = {}
        # of guests at work: the cells that have not scrolled away
        self._left: dict[str, dict[str, Cell]] = {}
        self._finished: dict[str, list[str]] = {}  # those of them that have verdicts
        self._widths = (0, 0)
        self._progress = ""
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=8, transient=True
        )

    def show(self, event: AnyEvent, result: RunResult) -> None:
        with self._lock:
            self._note(event)
            table = self._finish(event.cell) if isinstance(event, CellFinished) else None
        if isinstance(event, RunStarted):
            self._widths = _widths(event.cells)
            head = _grid(self._widths)
            head.add_row(
                "", "limits", "policy", "expected", "result", "observed", "time", style="dim"
            )
            self._console.print(head)
            self._live.start()
        elif isinstance(event, Progress) and not self._live.is_started:
            self._console.print(Text(escape_line(event.what), "cyan"))
        elif isinstance(event, WorkerJoined | WorkerLost):
            self._console.print(Text(_worker(event), "cyan"))
        if table:
            self._console.print(table)

    def close(self) -> None:
        if self._live.is_started:
            with self._lock:
                tables = [self._table(guest) for guest in self._left if self._finished[guest]]
                self._left.clear()
            self._live.stop()
            for table in tables:
                self._console.print(table)

    def _note(self, event: AnyEvent) -> None:
        if isinstance(event, Progress):
            if event.guest in map(Cell.guest_of, self._running):
                return  # the table shows for how long each cell has been running
            if event.guest:
                self._note_state(event.guest, Text(escape_line(event.what), "cyan"))
            else:
                self._progress = escape_line(event.what)
        elif isinstance(event, GuestBooting):
            self._note_state(event.guest, Text("booting", "cyan"))
        elif isinstance(event, GuestReady):
            self._note_state(event.guest, Text(_ready(event), "dim"))
            self._progress = ""
        elif isinstance(event, GuestFailed):
            self._note_state(event.guest, Text(_failed(event), "yellow"))
        elif isinstance(event, CellStarted):
            self._running[event.cell] = time.monotonic()
        elif isinstance(event, CellRetried):
            self._running.pop(event.cell, None)
            self._again[event.cell] = _failed_try(event.attempt)
        elif isinstance(event, CellFinished):
            self._running.pop(event.cell, None)
            self._again.pop(event.cell, None)

    def _note_state(self, guest: str, state: Text) -> None:
        if not self._result.is_done(guest):
            self._begin(guest)
            self._state[guest] = state

    def _begin(self, guest: str) -> None:
        if guest not in self._left:
            self._left[guest] = {cell.id: cell for cell in self._result.cells_of(guest)}
            self._finished[guest] = []

    def _finish(self, name: str) -> RenderableType | None:
        """Return what scrolls away with the end of this cell, and forget it: its guest, if it is done, or
        the cells that have verdicts, if they are many.
        """
        guest = Cell.guest_of(name)
        self._begin(guest)
        finished = self._finished[guest]
        finished.append(name)
        is_done = self._result.is_done(guest)
        if not is_done and len(finished) < MOST_ROWS:
            return None
        left = self._left[guest]
        table = self._table(guest) if is_done else self._table_of(guest, map(left.get, finished))
        for each in finished:
            left.pop(each, None)
            self._result.shorten(each)
        finished.clear()
        if is_done:
            del self._left[guest], self._finished[guest]
            self._state.pop(guest, None)
        return table

    def _draw(self) -> RenderableType:
        """Return the table. Called by the drawing thread."""
        with self._lock:
            shown: list[RenderableType] = []
            room = self._console.height
            for guest, left in self._left.items():
                if room > 0:  # what does not fit onto the screen would be cut off
                    shown.append(self._table(guest, room))
                    room -= 1 + len(left)
            waiting = (guest for guest in self._result.guests if self._is_waiting(guest))
            if names := [*itertools.islice(waiting, MOST_NAMES)]:
                others = sum(1 for _ in waiting)
                more = f", and {others} more" if others else ""
                shown.append(Text(f"waiting: {', '.join(names)}{more}", "dim"))
            if self._progress:
                shown.append(Text(self._progress, "cyan"))
            return Group(*shown)

    def _is_waiting(self, guest: str) -> bool:
        return guest not in self._left and not self._result.is_done(guest)

    def _table(self, guest: str, most: int = 2 * MOST_ROWS) -> RenderableType:
        """Return the table of a guest at work, with its first cells in the order of the plan."""
        left = self._left[guest]
        rows = itertools.islice(left.values(), most)
        return self._table_of(guest, rows, more=len(left) - most)

    def _table_of(self, guest: str, cells: Iterable[Cell | None], more: int = 0) -> RenderableType:
        head = Text.assemble((guest, "bold"), "  ", self._state.get(guest, Text()))
        head.no_wrap, head.overflow = True, "ellipsis"
        rows = [(each, self._result.verdicts.get(each.id)) for each in cells if each]
        if all(verdict and verdict.result is Result.UNSUPPORTED for _, verdict in rows):
            return head
        table = _grid(self._widths)
        for cell, verdict in rows:
            table.add_row("", *self._row(cell, verdict))
        if more > 0:
            table.add_row("", Text(f"and {more} more", "dim"))
        return Group(head, table)

    def _result_word(self, result: Result) -> str:
        """A sign and a word: neither colour nor the sign is needed to read the result."""
        sign = RESULT_SIGNS[result]
        word = result.upper() if result in (Result.FAIL, Result.ERROR) else result.value
        return f"{sign} {word}" if _can_show(self._console, sign) else word

    def _row(self, cell: Cell, verdict: Verdict | None) -> Iterator[Text]:
        yield Text(str(cell.limits))
        yield Text(cell.variant)
        if verdict is None:
            since = self._running.get(cell.id)
            yield Text(str(cell.expected or ""), "dim")
            yield Text("")
            again = self._again.get(cell.id)
            yield Text(f"again, after {again}" if again else "running" if since else "", "cyan")
            yield Text(f"{time.monotonic() - since:.1f} s" if since else "", "cyan")
            return
        yield Text(escape_line(str(verdict.expected or verdict.predicted or ""), 120))
        yield Text(self._result_word(verdict.result), RESULT_STYLES[verdict.result])
        yield Text(escape_line(_observed(verdict), 120))
        yield Text(f"{verdict.seconds:.2f} s")


def _can_show(console: Console, text: str) -> bool:
    try:
        text.encode(console.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _widths(cells: Sequence[Cell]) -> tuple[int, int]:
    """Return the longest text of the limits and the variants of cells."""
    limits = max((len(str(cell.limits)) for cell in cells), default=0)
    variant = max((len(cell.variant) for cell in cells), default=0)
    return limits, variant


def _grid(widths: tuple[int, int]) -> Table:
    """Return a table for some cells of a run. All such tables have the same columns."""
    limits, variant = widths
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False, expand=True)
    table.add_column(width=2)
    table.add_column(width=min(max(limits, 14), 28))
    table.add_column(width=min(max(variant, 8), 20))
    table.add_column(ratio=1)
    table.add_column(width=_RESULT_WIDTH)
    table.add_column(ratio=1)
    table.add_column(justify="right", width=8)
    return table


def _observed(verdict: Verdict) -> str:
    """Return what was observed or why nothing was, and the number of the try after a retry."""
    again = f" (at try {len(verdict.attempts) + 1})" if verdict.attempts else ""
    return f"{_seen(verdict)}{again}"


def _seen(one: Verdict | Attempt) -> str:
    if one.observed:
        return escape_line(str(one.observed), 300)
    return escape_line(one.reason or one.result.value, 300)


def _failed_try(attempt: Attempt) -> str:
    return f"{attempt.result}: {escape_line(attempt.reason or _seen(attempt), 200)}"


def _worker(event: WorkerJoined | WorkerLost) -> str:
    if isinstance(event, WorkerLost):
        return escape_line(f"the worker {event.worker} was lost: {event.reason}")
    one = event.worker
    unit = "processor" if one.processors == 1 else "processors"
    what = f"{one.processors} {unit} {one.processor}, Linux {one.kernel}, {len(one.guests)} guests"
    return escape_line(f"worker {one.name}: {what}")


def _ready(event: GuestReady) -> str:
    facts = event.facts
    text = f"ready in {event.seconds:.2f} s; {facts.release}, {facts.bits} bits"
    return "; ".join([escape_line(text, 200), *(escape_line(note, 200) for note in event.notes)])


def _failed(event: GuestFailed) -> str:
    kind = "unsupported" if event.blame == "unsupported" else "failed"
    return f"{kind}: {escape_line(event.message, 300)}"


def _ending(result: RunResult) -> Iterator[Text]:
    """Yield the end of the output: failures, unsupported guests and totals."""
    for verdict, *same in result.grouped(Result.FAIL, Result.ERROR):
        yield Text("")
        yield from _failure(verdict, [each.cell for each in same])
    yield from _flaky(result)
    yield from _unsupported(result)
    yield Text("")
    yield _summary(result)
    if result.started:
        yield Text(f"kept in {escape_line(result.started.directory, None)}", "dim")


def _failure(verdict: Verdict, same: list[str]) -> Iterator[Text]:
    yield Text.assemble(
        (verdict.result.upper(), RESULT_STYLES[verdict.result]), f"  {verdict.cell}"
    )
    if same:
        yield Text(f"  same findings: {', '.join(same)}")
    for finding in verdict.findings:
        yield Text.assemble(f"  {escape_line(finding.text)} ", (f"[{finding.code}]", "dim"))
    if verdict.observed:
        for who, said in verdict.observed.evidence.items():
            yield Text(f"    {escape_line(who)}: {escape_line(said, 400)}", "dim")
    for note in verdict.notes:
        yield Text(f"    note: {escape_line(note, 400)}", "dim")
    output = [escape_line(line, 300) for line in verdict.last_lines]
    yield from _quoted("last output of the subject:", output)
    yield from _quoted("console of the guest:", escape_lines(verdict.console, _CONSOLE_LINES))
    for label, text in (
        ("remedy: ", escape_line(verdict.remedy, None)),
        ("kept in: ", escape_line(verdict.artefacts, None)),
        ("again:   ", repeat_command(verdict.command) if verdict.command else ""),
    ):
        if text:
            yield Text(f"  {label}{text}")


def _quoted(title: str, lines: Sequence[str]) -> Iterator[Text]:
    """Show lines that a guest printed."""
    if lines:
        yield Text(f"  {title}")
    for line in lines:
        yield Text(f"    | {line}", "dim")


def _flaky(result: RunResult) -> Iterator[Text]:
    """Yield the cells that passed only when they were retried. They count as passed."""
    for verdict in result.flaky:
        yield Text("")
        passed = f"  {verdict.cell}: passed at try {len(verdict.attempts) + 1}"
        yield Text.assemble(("FLAKY", "bold yellow"), passed)
        for number, attempt in enumerate(verdict.attempts, 1):
            yield Text(f"  try {number} {_failed_try(attempt)}")
            if attempt.artefacts:
                yield Text(f"    kept in: {escape_line(attempt.artefacts, None)}", "dim")


def _unsupported(result: RunResult) -> Iterator[Text]:
    """Yield each unsupported guest once, with the remedy."""
    told = set()
    guests = {cell.id: cell.guest for cell in result.cells}
    for verdict in result.with_result(Result.UNSUPPORTED):
        guest = guests[verdict.cell]
        if guest not in told:
            told.add(guest)
            yield Text("")
            reason = verdict.reason or "this machine cannot boot it"
            yield Text.assemble(("UNSUPPORTED", "yellow"), f"  {guest}: {escape_line(reason)}")
            if verdict.remedy:
                yield Text(f"  remedy: {escape_line(verdict.remedy, None)}")


def _summary(result: RunResult) -> Text:
    styles = {each.value: style for each, style in RESULT_STYLES.items()}
    words = {"pass": "passed", "fail": "failed", "error": "in error", "not-run": "not run"}
    total = len(result.cells)
    text = Text(f"{total} cell{'s' if total != 1 else ''}: ")
    parts = [
        Text(f"{count} {words.get(name, name)}", styles.get(name, ""))
        for name, count in result.counts.items()
        if count
    ]
    if flaky := len(result.flaky):
        parts.append(Text(f"{flaky} of them flaky", "yellow"))
    text.append_text(Text(", ").join(parts) if parts else Text("nothing to do"))
    if result.finished:
        text.append(f" in {result.finished.seconds:.1f} s")
        if result.finished.interrupted:
            done = len(result.verdicts)
            text.append(f"; interrupted: {done} done, {total - done} not", "bold yellow")
    return text
