"""What GitHub is told: workflow commands that its runner reads back, and a summary in Markdown."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.escape import escape_line
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.reporters.github import (
    MAX_ANNOTATIONS,
    GitHubReporter,
    is_github,
    summary,
    workflow_command,
    workflow_commands,
)
from foothold_lab.harness.reporters.result import RunResult
from tests.unit.harness import samples
from tests.unit.harness.test_reporters import a_run

EVIL = "100%, a::b\r\n::error::gotcha|<img src=x>`*_[x](y)\x1b[2J"


def read_back(line: str) -> tuple[str, dict[str, str], str]:
    """Read a command as the runner does (actions/runner, ActionCommand.TryParseV2)."""
    assert line.startswith("::")
    head, _, data = line[2:].partition("::")
    name, _, told = head.partition(" ")
    properties = dict(each.split("=", 1) for each in told.split(",") if each)
    unescaped = {}
    for key, value in properties.items():
        for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            value = value.replace(code, char)
        unescaped[key] = value
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        data = data.replace(code, char)
    return name, unescaped, data


def gathered(happened: list[AnyEvent]) -> RunResult:
    result = RunResult()
    for event in happened:
        result(event)
    return result


def test_a_command_comes_back_as_it_was() -> None:
    line = workflow_command("error", EVIL, title="a, b: 50%", file="plans/x,y.toml", line="")
    assert "\n" not in line
    shown = "\n".join(escape_line(each) for each in EVIL.split("\n"))
    assert read_back(line) == ("error", {"title": "a, b: 50%", "file": "plans/x,y.toml"}, shown)
    assert workflow_command("notice", "words") == "::notice::words"


def test_every_way_to_go_wrong_is_an_error_and_the_rest_a_notice() -> None:
    told = [read_back(line) for line in workflow_commands(gathered(a_run()))]
    assert [(name, properties["title"]) for name, properties, _ in told] == [
        ("error", "not as expected (plan/expectation): uml-6.1/none/after"),
        ("error", "in error (guest/boot): qemu-x86_64/none/after"),
        ("notice", "unsupported (unsupported/guest): docker/none/after"),
    ]
    assert told[0][2].splitlines() == [
        "the plan expects high",
        "remedy: look",
        "again: foothold run --guest uml-6.1 --limit none --policy after",
    ]


def test_what_is_alike_is_told_once_and_too_much_is_counted() -> None:
    cells = [samples.cell(rlimit=n << 20) for n in range(1, 31)]
    grouped = [samples.started(*cells), *(samples.done(each, Result.FAIL, "no") for each in cells)]
    (line,) = workflow_commands(gathered([*grouped]))
    assert read_back(line)[1]["title"].endswith("and 29 more")
    apart = [samples.done(each, Result.FAIL, f"no {each.id}") for each in cells]
    lines = list(workflow_commands(gathered([samples.started(*cells), *apart])))
    assert len(lines) == MAX_ANNOTATIONS
    assert read_back(lines[-1])[2].startswith("and 21 more")


def test_what_passed_when_it_was_asked_again_is_a_warning() -> None:
    one, well = samples.cell(), samples.cell("uml-6.12")
    failed = samples.verdict(one, Result.FAIL, "it failed").as_attempt()
    seen = samples.observation(samples.HIGH_ALLOCATES)
    result = gathered(
        [
            samples.started(one, well),
            samples.done(well),
            samples.done(one, attempts=(failed,), observed=seen),
        ]
    )
    (line,) = workflow_commands(result)
    name, properties, text = read_back(line)
    assert (name, properties["title"]) == ("warning", f"flaky: {one.id}")
    assert text.splitlines()[:2] == ["try 1 came to fail: it failed", "try 2 came to pass"]
    told = summary(result)
    assert "All 2 cells are as expected, 1 of them not at once" in told
    assert f"↻ **{one.id}**: try 1 came to fail" in told
    assert "✓ high ↻" in told


def test_an_annotation_stands_at_the_plan_if_it_is_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "repo/plans/mine.toml"
    plan.parent.mkdir(parents=True)
    plan.touch()
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "repo"))
    for named, shown in ((str(plan), "plans/mine.toml"), ("limits", None), ("/etc/passwd", None)):
        cell = Cell(guest="native", limits=Limits(), policy="after", plan=named)
        (line,) = workflow_commands(
            gathered([samples.started(cell), samples.done(cell, Result.FAIL, "no")])
        )
        assert read_back(line)[1].get("file") == shown


def test_the_counts_are_outputs_of_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    outputs.write_text("earlier=1\n")
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    one, other = samples.cell(), samples.cell("uml-6.12")
    sink = GitHubReporter(io.StringIO())
    for event in (
        samples.started(one, other),
        samples.done(one),
        samples.done(other, Result.FAIL, "no"),
    ):
        sink(event)
    sink.close()
    written = dict(line.split("=") for line in outputs.read_text().splitlines())
    assert written == {
        "earlier": "1",
        "passed": "1",
        "failed": "1",
        "errors": "0",
        "unsupported": "0",
    }


def test_while_it_runs_no_guest_gives_commands(tmp_path: Path) -> None:
    out, path = io.StringIO(), tmp_path / "summary.md"
    sink = GitHubReporter(out, path)
    for event in a_run():
        sink(event)
    out.write("::error::a guest says\n")
    sink.close()
    stop, guest, resume, *told = out.getvalue().splitlines()
    token = stop.removeprefix("::stop-commands::")
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert (guest, resume) == ("::error::a guest says", f"::{token}::")
    assert len(told) == 3
    assert path.read_text() == summary(gathered(a_run()))


def test_without_cells_github_is_told_nothing(tmp_path: Path) -> None:
    out = io.StringIO()
    sink = GitHubReporter(out, tmp_path / "summary.md")
    sink(events.Progress(what="builds"))
    sink.close()
    assert out.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_the_summary_is_appended_to_the_file_that_github_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.md"
    path.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    sink = GitHubReporter(io.StringIO())
    for event in a_run():
        sink(event)
    sink.close()
    text = path.read_text()
    assert text.startswith("# before\n## ✗ Foothold: 2 of 3 cells are not as expected\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert is_github()


def test_the_summary_has_findings_and_the_matrix() -> None:
    text = summary(gathered([*a_run(), samples.finished()]))
    assert (
        "1 as expected, 1 not as expected, 1 in error, 1 unsupported, 1 not reached in 1.5 s"
        in text
    )
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {5}
    head, _, row = ([field.strip() for field in each] for each in rows)
    assert head[0] == "limits (after, before)"
    assert row == ["none", "✓ high", "✗ low", "–", "!, ·"]


def test_the_summary_is_text_whatever_a_guest_says() -> None:
    cell = samples.cell()
    done = samples.done(
        cell, Result.FAIL, EVIL, observed=samples.observation(samples.LOW_ALLOCATES)
    )
    text = summary(gathered([samples.started(cell), done]))
    told = next(line for line in text.splitlines() if line.startswith("- "))
    assert not set(told.removeprefix("- ✗ **native/none/after**: ")) & set("|<>`*_[]:\x1b\r")


def test_a_summary_is_never_longer_than_github_takes() -> None:
    cells = [samples.cell(rlimit=n << 12) for n in range(1, 400)]
    done = [samples.done(each, Result.FAIL, f"{each.id} {'@' * 2000}") for each in cells]
    text = summary(gathered([samples.started(*cells), *done]))
    assert len(text.encode()) < 1024 << 10
    assert text.rstrip().endswith("See the report for the rest.")
