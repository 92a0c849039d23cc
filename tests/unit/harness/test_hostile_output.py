"""What a guest printed reaches no output as more than text: all reporters get the same strings."""

from __future__ import annotations

import html.parser
import io
import json
import re
import shlex
import subprocess
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from foothold_lab.harness.cli import main
from foothold_lab.harness.html_report.page import render
from foothold_lab.harness.html_report.read import read_run
from foothold_lab.harness.interactive import bundle, standalone_export
from foothold_lab.harness.interactive.recorded_cell import RecordedCell
from foothold_lab.harness.model import events
from foothold_lab.harness.model.events import AnyEvent
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.reporters import Reporter
from foothold_lab.harness.reporters.escape import escape_shell
from foothold_lab.harness.reporters.github import GitHubReporter
from foothold_lab.harness.reporters.junit import JUnitReporter
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.reporters.summary_json import JsonReporter
from foothold_lab.harness.reporters.terminal import TerminalReporter
from foothold_lab.harness.results_db.models import StoredBoot
from foothold_lab.harness.subjects.subject import Subject
from tests.unit.harness import samples

HOSTILE = {
    "clears the screen": "\x1b[2J\x1b]0;owned\x07",
    "C1 control": "\x9b2J\x9d0;owned\x9c",
    "reverses text": "\u202eevil\u2066\u200f",
    "ends a script": "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "ends XML data": "]]></testcase>&lt;<!--",
    "workflow command": "x\n::error::owned\r\n::set-output name=a::b",
    "NUL": "a\x00b",
    "Markdown": "| a | [x](javascript:alert(1)) `code` <b>",
    "shell": "$(touch x) `touch x` '; touch x; \"",
    "template": "{{7*7}}{% x %}",
}
EVIL = [pytest.param(text, id=name) for name, text in HOSTILE.items()]
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


def hidden(text: str) -> set[str]:
    """The characters of a text that a terminal or a reader's eye does not show."""
    wanted = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return {char for char in text if unicodedata.category(char) in wanted} - {"\n"}


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
def test_a_command_line_is_never_more_than_its_words(evil: str, tmp_path: Path) -> None:
    word = evil.replace("\0", "")  # no argument of a program holds NUL
    line = escape_shell(("printf", "%s|", word, "", "it's", "\\ \x01\u202e"))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.encode() == f"{word}||it's|\\ \x01\u202e|".replace(
        "\r\n", "\n"
    ).encode() or ("\r" in word and done.stdout)
    assert hidden(line) == set()
    assert list(tmp_path.iterdir()) == []


def recorded(directory: Path, verdict: Verdict, *argv: str) -> RecordedCell:
    cell = replace(CELL, guest="native", asked=argv)
    boot = StoredBoot(
        id=1,
        name="native",
        guest="native",
        seconds=1.0,
        images={},
        facts=None,
        provenance={},
        notes=(),
        argv=("agent",),
        failure="",
        code="",
    )
    one = RecordedCell(
        run="run",
        directory=directory,
        cell=cell,
        subject=Subject(name="sub"),
        boot=boot,
        traced=True,
        verdict=verdict,
    )
    for folder in (one.evidence_directory, one.boot_directory):
        folder.mkdir(parents=True)
    return one


@pytest.mark.parametrize("evil", EVIL)
def test_the_script_of_a_bundle_runs_nothing_that_a_subject_printed(
    evil: str, tmp_path: Path
) -> None:
    seen = samples.observation(samples.DIES, message=evil)
    one = recorded(tmp_path / "run", samples.verdict(CELL, observed=seen), evil)
    tree = tmp_path / "tree"
    tree.mkdir()
    ended = 'printf \'=== ended {"status":7,"signal":0}\\n\' @RESULT@ '
    words = standalone_export._shell_words([evil.replace("\0", ""), "@RESULT@"], {})
    bundle._describe(one, tree, f"{ended}{words}")
    done = subprocess.run(
        [tree / "repro"], capture_output=True, text=True, cwd=tmp_path, timeout=20
    )
    assert done.returncode == 7, done.stderr
    assert "result of the recorded run: dies, status 2" in done.stderr
    assert hidden(done.stderr) == set()
    assert {each.name for each in tmp_path.iterdir()} == {"run", "tree"}
    assert {each.name for each in tree.iterdir()} == {"repro", "README.md", "recorded"}


def test_words_of_a_bundle_know_the_variables_of_its_script() -> None:
    here = standalone_export._HERE
    words = standalone_export._shell_words(
        [f"{here}/agent", "/@here@", "$here", "/image/x"], {"/image": f"{here}/root"}
    )
    assert words == '"${here}"/agent /@here@ \'$here\' "${here}"/root/x'
    assert shlex.split(words.replace("${here}", "/h"))[0] == "/h/agent"
