"""The static site of the history."""

from __future__ import annotations

import html
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from foothold_lab.harness.cli.main import foothold
from foothold_lab.harness.dashboard import SiteOptions, write_site
from foothold_lab.harness.dashboard.pages import LINES, file_name
from foothold_lab.harness.dashboard.timelines import Span, read_plans, spans
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.results_db.database import MEMORY, Database
from tests.hostile.strings import EVIL, hidden
from tests.unit.results_db.made import Made, breaks, cell, fails, passes, second_try

NATIVE, LOW = cell(), cell("uml-6.1", "rlimit_as=1G")
PLAIN = SiteOptions(charts=False)
ATOM = "{http://www.w3.org/2005/Atom}"
IMAGES = {"uml-6.1": {"kernel": "kernel-2"}}


@pytest.fixture
def database() -> Iterator[Database]:
    """Four nights: one cell breaks in the third, with a new kernel, and is repaired in the fourth."""
    with Database(MEMORY) as opened:
        for night, verdict in enumerate((passes, passes, fails, passes), 1):
            Made(
                name=f"night{night}",
                at=1e9 + 86400 * night,
                verdicts={NATIVE: passes(NATIVE), LOW: verdict(LOW)},
                **({"images": IMAGES} if night >= 3 else {}),  # type: ignore[arg-type]
            ).write(opened)
        yield opened


class Tags(HTMLParser):
    """The names of all tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def text_of(page: Path) -> str:
    return html.unescape(page.read_text())


def test_a_cell_has_a_line_of_its_results(database: Database) -> None:
    [history] = read_plans(database, (), 60)
    assert [run.name for run in history.runs] == ["night1", "night2", "night3", "night4"]
    lines = {line.cell.name: line for line in history.lines}
    assert lines[LOW.id].results == ("pass", "pass", "fail", "pass")
    assert lines[LOW.id].spans == (Span("pass", 2), Span("fail", 1), Span("pass", 1))
    assert history.guest_spans("native") == (Span("pass", 4),)
    assert history.guest_spans("uml-6.1") == lines[LOW.id].spans


def test_a_cell_that_the_newest_run_lacks_keeps_its_last_verdict(database: Database) -> None:
    Made(name="night5", at=2e9, verdicts={NATIVE: breaks(NATIVE)}).write(database)
    [history] = read_plans(database, (), 2)
    lines = {line.cell.name: line for line in history.lines}
    assert (lines[LOW.id].is_current, lines[LOW.id].run.name) == (False, "night4")
    assert lines[LOW.id].results == ("pass", "not-run")
    assert lines[NATIVE.id].results == ("pass", "error")


def test_spans_join_equal_results() -> None:
    assert spans([]) == ()
    assert spans("aab") == (Span("a", 2), Span("b", 1))


def test_the_site_has_a_page_for_each_plan_and_guest(database: Database, tmp_path: Path) -> None:
    Made(name="other", at=1e9, plan="default", verdicts={NATIVE: passes(NATIVE)}).write(database)
    site = write_site(database, tmp_path, PLAIN)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.html")} == {
        "index.html",
        "plans/default/index.html",
        "plans/default/native.html",
        "plans/nightly/index.html",
        "plans/nightly/native.html",
        "plans/nightly/uml-6.1.html",
    }
    assert site.pages == 6
    page = text_of(tmp_path / "plans/nightly/uml-6.1.html")
    assert "2 as expected, 1 not as expected, 1 as expected" in page


def test_every_link_of_the_site_leads_somewhere(database: Database, tmp_path: Path) -> None:
    write_site(database, tmp_path, PLAIN)
    for page in tmp_path.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"]+)"', page.read_text()):
            assert (page.parent / html.unescape(target).partition("#")[0]).exists(), (page, target)


def test_says_what_changed_and_with_which_kernel(database: Database, tmp_path: Path) -> None:
    write_site(database, tmp_path, PLAIN)
    page = text_of(tmp_path / "plans/nightly/index.html")
    third, fourth = page.index("night3"), page.rindex("night4")
    assert fourth < third, "the newest run is first"
    part = page[third:]
    assert "the plan expects high [plan/expectation]" in part
    assert "uml-6.1: image kernel: kernel-1 → kernel-2" in part
    assert "night2" not in part


def test_the_feed_has_an_entry_for_each_run_with_new_findings(
    database: Database, tmp_path: Path
) -> None:
    site = write_site(database, tmp_path, replace(PLAIN, url="https://example.org/f/"))
    [finding] = site.new
    assert (finding.run, finding.cell) == ("night3", LOW.id)
    root = ET.parse(tmp_path / "feed.atom").getroot()
    [entry] = root.findall(f"{ATOM}entry")
    assert entry.findtext(f"{ATOM}title") == "nightly: 1 new finding"
    assert entry.findtext(f"{ATOM}id") == "urn:foothold:run:night3"
    assert entry.findtext(f"{ATOM}updated") == "2001-09-12T01:46:40+00:00"
    assert LOW.id in str(entry.findtext(f"{ATOM}content"))
    for each in (root, entry):
        assert {"id", "title", "updated"} <= {part.tag.removeprefix(ATOM) for part in each}


def test_a_site_is_updated_and_tells_a_finding_once(database: Database, tmp_path: Path) -> None:
    first = write_site(database, tmp_path, PLAIN)
    assert [each.run for each in first.new] == ["night3"]
    assert write_site(database, tmp_path, PLAIN).new == ()
    Made(name="night5", at=2e9, verdicts={NATIVE: fails(NATIVE)}).write(database)
    again = write_site(database, tmp_path, replace(PLAIN, runs=1))
    assert again.new == (), "without the run before, nothing can be new"
    assert not (tmp_path / "plans/nightly/uml-6.1.html").exists()
    assert [each.cell for each in write_site(database, tmp_path, PLAIN).new] == [NATIVE.id]


def test_flaky_cells_are_on_the_first_page(database: Database, tmp_path: Path) -> None:
    Made(name="night5", at=2e9, verdicts={LOW: second_try(LOW)}).write(database)
    write_site(database, tmp_path, PLAIN)
    flaky = text_of(tmp_path / "index.html").partition('id="flaky"')[2]
    assert LOW.id in flaky


def test_charts_are_drawn(database: Database, tmp_path: Path) -> None:
    write_site(database, tmp_path, SiteOptions())
    page = (tmp_path / "plans/nightly/index.html").read_text()
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 2
    bars = re.findall(r'aria-label="([^"]*cells[^"]*)"', html.unescape(charts[0]))
    assert any("cells: 1" in each and "result: fail" in each for each in bars)


@pytest.mark.parametrize("text", EVIL)
def test_text_of_guests_is_only_text(text: str, tmp_path: Path) -> None:
    with Database(MEMORY) as database:
        for night, verdict in enumerate((passes(LOW), fails(LOW, text))):
            Made(name=f"n{night}", at=1e9 + night, plan=text, verdicts={LOW: verdict}).write(
                database
            )
        write_site(database, tmp_path, PLAIN)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        assert not hidden(page.read_text())
        parser = Tags()
        parser.feed(page.read_text())
        assert parser.names.isdisjoint({"script", "img"})
        assert not [name for name in parser.attributes if name.startswith("on")]
    ET.parse(tmp_path / "feed.atom")


def test_a_large_guest_has_several_pages(tmp_path: Path) -> None:
    cells = [replace(NATIVE, limits=Limits(rlimit_as=n << 20)) for n in range(1, 2 * LINES + 2)]
    with Database(MEMORY) as database:
        for night in range(60):
            verdict = fails if night % 2 else passes
            made = (
                {each: verdict(each) for each in cells} if night > 50 else {NATIVE: passes(NATIVE)}
            )
            Made(name=f"n{night}", at=1e9 + night, verdicts=made).write(database)
        write_site(database, tmp_path, PLAIN)
    assert len(list(tmp_path.glob("plans/nightly/native*.html"))) == 3
    assert max(page.stat().st_size for page in tmp_path.rglob("*.html")) < 300_000


@pytest.mark.parametrize(
    "name", ["..", ".", "index", "a/b", "docker:alpine@sha256:1", "é", "", "x" * 300]
)
def test_any_name_becomes_a_file_name(name: str) -> None:
    made = file_name(name)
    assert re.fullmatch(r"[\w+=,-][\w.+=,-]*", made, re.ASCII)
    assert made != "index"
    assert len(made) < 100
    assert made != file_name(f"{name}!")


def test_refuses_a_directory_with_other_files(database: Database, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"site\.json"):
        write_site(database, tmp_path, PLAIN)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_repository_of_pages_keeps_its_own_files(database: Database, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "CNAME").write_text("example.org")
    write_site(database, tmp_path, PLAIN)
    assert (tmp_path / "CNAME").read_text() == "example.org"


@pytest.mark.parametrize("name", ["../../victim", "/tmp/victim"])
def test_removes_nothing_outside_its_directory(
    database: Database, tmp_path: Path, name: str
) -> None:
    directory = tmp_path / "a" / "site"
    write_site(database, directory, PLAIN)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    manifest = json.loads((directory / "site.json").read_text())
    manifest["files"].append(name.replace("/tmp", str(tmp_path)))
    (directory / "site.json").write_text(json.dumps(manifest))
    write_site(database, directory, PLAIN)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("plans", [frozenset(), frozenset({"unknown"})])
def test_no_runs_are_an_error_of_usage(plans: frozenset[str], tmp_path: Path) -> None:
    with Database(MEMORY) as database, pytest.raises(UsageError, match="has no runs"):
        write_site(database, tmp_path, replace(PLAIN, plans=plans))


@pytest.fixture
def history(tmp_path: Path) -> Path:
    file = tmp_path / "history.db"
    with Database(file) as opened:
        for night, verdict in enumerate((passes(LOW), fails(LOW))):
            Made(name=f"n{night}", at=1e9 + night, verdicts={LOW: verdict}).write(opened)
    return file


def test_the_hook_gets_new_findings_once(history: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    code = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"
    words = ["site", str(tmp_path / "site"), "--history", str(history), "--notify"]
    words.append(f'{sys.executable} -c "{code}"')
    for _ in range(2):
        assert CliRunner().invoke(foothold, words).exit_code == 0
    [finding] = json.loads(told.read_text())
    assert (finding["run"], finding["cell"]) == ("n1", LOW.id)
    assert finding["finding"]["code"] == "plan/expectation"


@pytest.mark.parametrize("command", ["false", "/does/not/exist", "'", ""])
def test_a_hook_that_fails_is_an_error_in_words(
    history: Path, tmp_path: Path, command: str
) -> None:
    words = ["site", str(tmp_path / "site"), "--history", str(history), "--notify", command]
    done = CliRunner().invoke(foothold, words, standalone_mode=False)
    assert done.exit_code != 0 or not command
