"""What a person sees."""

from __future__ import annotations

import gc
import io
import re
from dataclasses import replace

import pytest

from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.reporters.terminal import MOST_ROWS, TerminalReporter, is_live
from tests.unit.harness import samples
from tests.unit.harness.test_reporters import a_run


class Screen(io.StringIO):
    def __init__(self, tty: bool = True) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


def shown(stream: list[events.AnyEvent], *, live: bool = False, quiet: bool = False) -> str:
    screen = Screen()
    terminal = TerminalReporter(screen, live=live, quiet=quiet)
    for event in stream:
        terminal(event)
    terminal.close()
    return screen.getvalue()


@pytest.mark.parametrize(
    ("tty", "environment", "live"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_a_table_changes_only_where_it_can(
    monkeypatch: pytest.MonkeyPatch, tty: bool, environment: dict[str, str], live: bool
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_live(Screen(tty)) is live


def test_plain_lines() -> None:
    text = shown([*a_run(), samples.finished()])
    assert "\x1b" not in text
    lines = text.splitlines()
    assert "native: ready in 0.50 s; 6.12.113, 47 bits" in lines
    assert any(re.match(r"pass +native/none/after +high, allocates +0.25 s", x) for x in lines)
    assert "5 cells: 1 passed, 1 failed, 1 in error, 1 unsupported, 1 not run in 1.5 s" in lines
    assert lines[-1] == "kept in /runs/r"


def test_a_failure_comes_with_all_there_is_to_know() -> None:
    text = shown([*a_run(), samples.finished()])
    _, _, failure = text.partition("FAIL  uml-6.1/none/after")
    failure, _, _ = failure.partition("\n\n")
    for told in (
        "  the plan expects high [plan/expectation]\n",
        "    maps: \\x1b[31m low\n",
        "    | \\x1b[2Jpanic\n",
        "  remedy: look\n",
        "  again:   foothold run --guest uml-6.1 --limit none --policy after",
    ):
        assert told in failure


def test_an_unsupported_guest_is_told_once_with_its_remedy() -> None:
    cells = [samples.cell("docker", policy) for policy in ("before", "after")]
    lost = [samples.done(x, Result.UNSUPPORTED, "no engine", remedy="start one") for x in cells]
    text = shown([samples.started(*cells), *lost, samples.finished()])
    assert text.count("no engine") == 1
    assert "UNSUPPORTED  docker: no engine\n  remedy: start one\n" in text


def test_what_fails_alike_is_told_once() -> None:
    cells = [samples.cell("uml-6.1", policy) for policy in ("before", "after")]
    lost = [samples.done(x, Result.ERROR, "it hung") for x in cells]
    text = shown([samples.started(*cells), *lost, samples.finished()], quiet=True)
    assert text.count("it hung") == 1
    assert "same findings: uml-6.1/none/after" in text


def retried() -> list[events.AnyEvent]:
    """A cell that fails, is asked again, and passes."""
    one = samples.cell("uml-6.1")
    seen = samples.observation(samples.LOW_ALLOCATES)
    first = samples.verdict(one, Result.FAIL, "the plan expects high", observed=seen).as_attempt()
    return [
        samples.started(one),
        events.CellStarted(cell=one.id),
        events.CellRetried(cell=one.id, attempt=first),
        events.CellStarted(cell=one.id),
        samples.done(one, observed=samples.observation(samples.HIGH_ALLOCATES), attempts=(first,)),
        samples.finished(),
    ]


def test_a_retry_is_never_silent() -> None:
    text = shown(retried())
    assert re.search(r"^again  uml-6.1/none/after +fail: the plan expects high$", text, re.M)
    assert re.search(r"^pass   uml-6.1/none/after +high, allocates \(at try 2\)", text, re.M)
    assert "FLAKY  uml-6.1/none/after: passed at try 2\n  try 1 fail: the plan expects" in text
    assert "1 cell: 1 passed, 1 of them flaky in 1.5 s" in text
    assert "FLAKY" in shown(retried(), quiet=True)


def test_a_table_says_at_which_try_a_cell_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    whole = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(retried(), live=True))
    assert "high, allocates (at try 2)" in whole


def test_an_interrupted_run_says_how_far_it_came() -> None:
    text = shown([*a_run(), samples.finished(interrupted=True)])
    assert "1 not run in 1.5 s; interrupted: 4 done, 1 not" in text


def test_quiet_is_quiet_until_the_end() -> None:
    text = shown([*a_run(), samples.finished()], quiet=True)
    assert "ready in" not in text
    assert "FAIL  uml-6.1/none/after" in text
    assert "5 cells" in text


def test_an_interrupted_run_says_so() -> None:
    text = shown([*a_run(), samples.finished(interrupted=True)])
    assert "1 not run in 1.5 s; interrupted" in text


def test_the_live_table_ends_with_every_guest_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = shown([events.Progress(what="building root"), *a_run(), samples.finished()], live=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "building root" in plain
    assert re.search(r"limits +policy +expected +result +observed +time", plain)
    assert re.search(r"none +after +high, allocates +✗ FAIL +low, allocates +0.25 s", plain)
    assert "unsupported" in plain
    assert text.endswith("kept in /runs/r\x1b[0m\n")
    assert "\x1b[?25h" in text, "the cursor is shown again"


class Sink(Screen):
    def write(self, text: str) -> int:
        return len(text)


def many(guests: int, cells: int) -> list[Cell]:
    return [
        replace(samples.cell(f"guest-{guest}"), repeat=number)
        for guest in range(guests)
        for number in range(1, cells + 1)
    ]


def alive(kind: type) -> int:
    return sum(isinstance(each, kind) for each in gc.get_objects())


@pytest.mark.parametrize(("guests", "cells"), [(2, 500), (40, 25)])
def test_of_many_cells_a_table_keeps_only_what_it_shows(guests: int, cells: int) -> None:
    terminal = TerminalReporter(Sink(), live=True)
    run = many(guests, cells)
    verdicts, booted = alive(Verdict), alive(events.GuestReady)
    terminal(samples.started(*run))
    try:
        for number, one in enumerate(run, 1):
            if one.repeat == 1:
                terminal(samples.ready(one.guest))
            terminal(events.CellStarted(cell=one.id))
            terminal(samples.done(one))
            if number % (len(run) // 5) == 0:
                gc.collect()
                assert alive(Verdict) - verdicts <= MOST_ROWS + 1
                assert alive(events.GuestReady) - booted <= 1
    finally:
        terminal.close()


def test_a_guest_with_many_cells_scrolls_away_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    run = many(1, 3 * MOST_ROWS)
    ends = [samples.done(one) for one in run]
    text = shown(
        [samples.started(*run), samples.ready("guest-0"), *ends, samples.finished()], live=True
    )
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for one in run:
        row = rf"none +{re.escape(one.variant)} +high, allocates +✓ pass"
        assert re.search(row, plain)
    assert f"{3 * MOST_ROWS} passed" in plain


@pytest.mark.parametrize("live", [True, False])
def test_nothing_of_a_guest_reaches_the_terminal_raw(live: bool) -> None:
    evil = "\x1b]0;owned\x07\x9b[bold]\x1b[2J\r[/red]"
    one = samples.cell("uml-6.1")
    seen = samples.observation(samples.DIES, message=evil, evidence={"report": evil})
    text = shown(
        [
            samples.started(one),
            events.Progress(what=evil, guest="uml-6.1"),
            samples.ready("uml-6.1", evil),
            events.CellStarted(cell=one.id),
            events.GuestFailed(
                guest="uml-6.1",
                code=Code.GUEST_PANIC,
                message=evil,
                remedy="",
                blame="guest",
                console=evil,
                argv=(),
            ),
            samples.done(one, Result.FAIL, evil, observed=seen, console=evil, notes=(evil,)),
            samples.finished(),
        ],
        live=live,
    )
    assert "\x1b]0" not in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "\r[/red]" not in text
    assert "\\x1b]0;owned" in text


def test_a_run_that_breaks_off_leaves_the_terminal_as_it_was() -> None:
    text = shown(a_run()[:4], live=True)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
