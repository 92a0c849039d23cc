"""What a guest printed reaches no output as more than text: all reporters get the same strings."""

from __future__ import annotations

import html.parser
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.html_report.page import render
from foothold_lab.harness.html_report.read import read_run
from foothold_lab.harness.model import events
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.reporters import Reporter
from foothold_lab.harness.reporters.github import GitHubReporter
from foothold_lab.harness.reporters.junit import JUnitReporter
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.reporters.summary_json import JsonReporter
from foothold_lab.harness.reporters.terminal import TerminalReporter
from tests.hostile.strings import EVIL, hidden
from tests.unit.harness import samples

CELL = samples.cell("uml-6.1")


def a_run(evil: str, directory: Path) -> list[AnyEvent]:
    """A run in which all that can come from a guest is hostile."""
    seen = samples.observation(
        samples.DIES,
        message=evil,
        last_output=f"first\n{evil}",
        evidence={f"maps{evil}": evil},
        path=None,
    )
    lost = samples.cell("docker")
    return [
        msgspec.structs.replace(samples.started(CELL, lost), directory=str(directory)),
        events.Progress(what=evil, guest="uml-6.1"),
        msgspec.structs.replace(
            samples.ready("uml-6.1", evil), provenance={f"a{evil}": evil}, argv=("agent", evil)
        ),
        samples.done(
            CELL, Result.FAIL, evil, observed=seen, console=evil, notes=(evil,), remedy=evil,
            artefacts=evil, command=("foothold", "run", evil),
            attempts=(samples.verdict(CELL, Result.ERROR, evil).as_attempt(),),
        ),
        events.GuestFailed(
            guest="docker", code=Code.GUEST_PANIC, message=evil, remedy=evil, blame="guest",
            console=evil, argv=(evil,),
        ),
        samples.done(lost, Result.ERROR, evil, console=evil),
        samples.finished(),
    ]  # fmt: skip


def reported(reporter: Reporter, happened: Sequence[AnyEvent]) -> None:
    for event in happened:
        reporter(event)
    reporter.close()


def plain(evil: str, folder: Path) -> str:
    screen = io.StringIO()
    reported(TerminalReporter(screen, live=False), a_run(evil, folder))
    return screen.getvalue()


def junit(evil: str, folder: Path) -> str:
    reported(JUnitReporter(str(folder / "out.xml")), a_run(evil, folder))
    text = (folder / "out.xml").read_text()
    assert {each.tag for each in ET.fromstring(text).iter()} <= {
        "testsuites", "testsuite", "testcase", "properties", "property", "failure", "error",
        "system-out", "system-err", "rerunError", "stackTrace",
    }  # fmt: skip
    return text


def github(evil: str, folder: Path) -> str:
    stream, summary = io.StringIO(), folder / "summary.md"
    reported(GitHubReporter(stream, summary), a_run(evil, folder))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert all(re.match(r"::(stop-commands|[0-9a-f]{32}|error )", line) for line in lines)
    text = summary.read_text()
    assert not re.search(r"<(?!br>)|\]\(|\]\]>|`", text)
    return stream.getvalue() + text


def json_files(evil: str, folder: Path) -> str:
    reported(JsonReporter(str(folder / "out.json")), a_run(evil, folder))
    reported(RunDirectoryReporter(folder / "run"), a_run(evil, folder))
    whole = json.loads((folder / "out.json").read_text())
    verdict = whole["cells"][0]["verdict"]
    assert verdict["observed"]["message"] == evil, "programs get the text as it was"
    files = [folder / "out.json", *sorted((folder / "run").rglob("*.json*"))]
    assert len(files) > 5
    return "".join(each.read_text() for each in files)


def page(evil: str, folder: Path) -> str:
    reported(RunDirectoryReporter(folder / "run"), a_run(evil, folder))
    text = render(read_run(folder / "run")).decode()
    tags: list[str] = []

    class Tags(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not [name for name, _ in attrs if name.startswith("on")]

    Tags().feed(text)
    assert tags.count("script") == 1
    assert "img" not in tags
    return text


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("output", [plain, junit, github, json_files, page])
def test_an_output_holds_text_and_nothing_else(
    output: Callable[[str, Path], str], evil: str, tmp_path: Path
) -> None:
    assert hidden(output(evil, tmp_path)) == set()


@pytest.mark.parametrize("evil", EVIL)
def test_a_live_table_holds_no_control_sequence_of_a_guest(evil: str, tmp_path: Path) -> None:
    screen = io.StringIO()
    reported(TerminalReporter(screen, live=True), a_run(evil, tmp_path))
    ours = re.sub(r"\x1b\[[0-9;?]*[A-HJ-Za-z]|\r", "", screen.getvalue())  # J: clears the screen
    assert hidden(ours) == set()


@pytest.mark.parametrize("evil", EVIL)
def test_foothold_show_prints_text(
    evil: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reported(RunDirectoryReporter(tmp_path / "run"), a_run(evil, tmp_path))
    for words in ((), (CELL.id,)):
        assert main.main(["show", str(tmp_path / "run"), *words]) == 0
    assert hidden(capsys.readouterr().out) == set()


@pytest.mark.parametrize("evil", EVIL)
def test_a_verdict_reads_as_text(evil: str) -> None:
    [finished] = [each for each in a_run(evil, Path()) if isinstance(each, events.CellFinished)][:1]
    assert hidden(str(finished.verdict)) == set()


@pytest.mark.parametrize("evil", EVIL)
def test_commands_that_read_the_history_print_text(
    evil: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also what the user named: a directory, a plan, a file."""
    name = evil.replace("\0", "").replace("/", "_").replace("\n", "_")
    directory, history = tmp_path / f"run{name}", str(tmp_path / "history.db")
    reported(RunDirectoryReporter(directory), a_run(evil, directory))
    shown = str(directory)
    for words, code in (
        (("history", "import", shown, "--history", history), 0),
        (("show", shown, "--json"), 0),
        (("compare", shown, shown), 0),
        (("compare", shown, shown, "--json"), 0),
        (("flaky", "--history", history), 0),
        (("show", shown, f"no cell {name}"), 2),
        (("report", f"{shown}/nowhere{name}"), 2),
        (("run", f"{name}.toml"), 2),
        (("run", "--subject", f"./{name}x"), 2),
    ):
        assert main.main(words) == code, words
        seen = capsys.readouterr()
        assert hidden(seen.out + seen.err) == set(), words
