"""The static site of the history."""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from msgspec import structs

from foothold_lab.harness.cli.main import foothold
from foothold_lab.harness.dashboard import SiteOptions, write_site
from foothold_lab.harness.dashboard.names import MOST_BYTES, file_name
from foothold_lab.harness.dashboard.timelines import Span, read_plans, spans
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.events import RunStarted
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.results_db.models import StoredThreshold
from foothold_lab.harness.results_db.writer import record_thresholds
from tests.hostile.strings import EVIL, hidden
from tests.unit.results_db.made import Made, breaks, cell, fails, passes, second_try

NATIVE, LOW = cell(), cell("uml-6.1", "rlimit_as=1G")
PLAIN = SiteOptions(charts=False)
ATOM = "{http://www.w3.org/2005/Atom}"
IMAGES = {"uml-6.1": {"kernel": "kernel-2"}}


def threshold(at: float, smallest: int) -> StoredThreshold:
    return StoredThreshold(
        at=at, guest="native", subject="allocator", policy="after", kind="rlimit_as", edge="found",
        smallest=smallest, largest=smallest - (1 << 20),
    )  # fmt: skip


def write_run(directory: Path, made: Made) -> None:
    reporter = RunDirectoryReporter(directory)
    for event in made.events():
        reporter(
            structs.replace(event, directory=str(directory))
            if isinstance(event, RunStarted)
            else event
        )
    reporter.close()


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
        "plans/default/runs.html",
        "plans/nightly/index.html",
        "plans/nightly/native.html",
        "plans/nightly/runs.html",
        "plans/nightly/uml-6.1.html",
    }
    assert site.pages == 8
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


def test_a_cell_shows_path_seconds_and_threshold_over_time(
    database: Database, tmp_path: Path
) -> None:
    found = [
        threshold(at=1e9 + 86400 * day, smallest=size << 20)
        for day, size in enumerate((640, 641, 800))
    ]
    record_thresholds(database, found)
    write_site(database, tmp_path, PLAIN)
    native = text_of(tmp_path / "plans/nightly/native.html")
    assert "rlimit_as 800M (not under 799M), since 2001-09-11" in native
    assert "from 2001-09-09 640M (not under 639M)" in native
    assert "641M" not in native, (
        "a difference within the precision of a threshold is not shown as a change"
    )
    assert "<dd>high, allocates</dd>" in native
    uml = text_of(tmp_path / "plans/nightly/uml-6.1.html")
    paths = re.findall(r'<i class="p\d" style="flex-grow:(\d)" title="([^"]+)">', uml)
    assert paths == [("2", "high, allocates"), ("1", "low, allocates"), ("1", "high, allocates")]
    assert "threshold" not in uml
    assert re.search(r'<path d="M0.5 2.0h0L1.5 2.0L2.5 2.0L3.5 2.0"/>', uml)


def test_a_slow_cell_is_said_to_be_slow(tmp_path: Path) -> None:
    with Database(MEMORY) as database:
        for night in range(8):
            verdict = passes(NATIVE, seconds=9.0 if night == 7 else 0.25)
            Made(name=f"n{night}", at=1e9 + night, verdicts={NATIVE: verdict}).write(database)
        write_site(database, tmp_path, PLAIN)
    page = text_of(tmp_path / "plans/nightly/native.html")
    assert "9.00 s" in page
    assert "(median 0.25 s)" in page
    assert "slower than usual" in page


def test_says_which_runs_are_replays(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "plans/nightly/index.html"
    write_site(database, tmp_path, PLAIN)
    assert "replay" not in page.read_text()
    replay = Made(
        name="again", at=2e9, verdicts={NATIVE: passes(NATIVE)}, command=("replay", "night4")
    )
    replay.write(database)
    write_site(database, tmp_path, PLAIN)
    assert "1 of these 5 runs are replays" in page.read_text()
    assert "replay of night4" in (tmp_path / "plans/nightly/runs.html").read_text()
    assert "1 of them replays" in (tmp_path / "index.html").read_text()


def test_the_evidence_of_runs_is_part_of_the_site(tmp_path: Path) -> None:
    """It stays when the directory of the run is gone."""
    with Database(MEMORY) as database:
        for night, verdict in enumerate((passes, fails, passes)):
            directory = tmp_path / f"run{night}"
            made = Made(name=f"n{night}", at=1e9 + night, verdicts={LOW: verdict(LOW)})
            write_run(directory, made)
            reader.add(database, directory)
            site = tmp_path / "site"
            write_site(database, site, PLAIN)
            shutil.rmtree(directory)
        page = text_of(site / "plans/nightly/uml-6.1.html")
        [newest] = re.findall(r'href="([^"]+)">evidence', page)
        assert newest.startswith("../../evidence/n2/cells/1.html#uml-6.1/")
        changes = text_of(site / "plans/nightly/index.html")
        found = re.findall(r'href="([^"]+)">evidence', changes)
        assert [unquote(each) for each in found] == [f"../../evidence/n1/findings/1.html#{LOW.id}"]
        evidence = site / "evidence/n1/findings/1.html"
        assert "the plan expects high" in text_of(evidence)
        assert not (site / "evidence/n1/cells").exists(), "only that of the newest run is whole"
        write_site(database, site, replace(PLAIN, runs=1))
        assert not evidence.exists(), "what no page leads to is removed"


def test_the_evidence_of_a_cell_fits_into_a_page(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Made(name="n", at=1e9, verdicts={LOW: fails(LOW)}))
    folder = tmp_path / "run" / "cells" / LOW.id
    for number in range(60):
        (folder / f"maps-moment{number}").write_text(
            f"{number:x}000-{number + 1:x}000 r--p 0 0:0 0\n" * 400
        )
    with Database(MEMORY) as database:
        reader.add(database, tmp_path / "run")
        write_site(database, tmp_path / "site", PLAIN)
    [page] = (tmp_path / "site/evidence").rglob("*.html")
    assert page.stat().st_size < MOST_BYTES
    assert "larger than a page" in text_of(page)


def test_flaky_cells_are_on_the_first_page(database: Database, tmp_path: Path) -> None:
    Made(name="night5", at=2e9, verdicts={LOW: second_try(LOW)}).write(database)
    write_site(database, tmp_path, PLAIN)
    flaky = text_of(tmp_path / "index.html").partition('id="flaky"')[2]
    assert LOW.id in flaky


def test_charts_are_drawn(database: Database, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert-python has no wheel for musl")
    write_site(database, tmp_path, SiteOptions())
    folder = tmp_path / "plans/nightly"
    page = (folder / "index.html").read_text()
    assert re.findall(r'<img src="([^"]+)"', page) == ["results.svg", "seconds.svg"]
    ET.parse(folder / "seconds.svg")
    chart = html.unescape((folder / "results.svg").read_text())
    bars = re.findall(r'aria-label="([^"]*cells[^"]*)"', chart)
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
    assert len(pages) == 4
    for page in pages:
        assert not hidden(page.read_text())
        parser = Tags()
        parser.feed(page.read_text())
        assert parser.names.isdisjoint({"script", "img"})
        assert not [name for name in parser.attributes if name.startswith("on")]
    ET.parse(tmp_path / "feed.atom")


def test_a_large_plan_has_several_pages_of_everything(tmp_path: Path) -> None:
    cells = [replace(NATIVE, limits=Limits(rlimit_as=n << 20)) for n in range(1, 131)]
    cells += [cell(f"uml-6.1-{number}") for number in range(40)]
    with Database(MEMORY) as database:
        for night in range(40):
            verdict = fails if night % 2 else passes
            made = {each: verdict(each) for each in cells}
            images = {each.guest: {"kernel": f"kernel-{night}-{'x' * 60}"} for each in cells}
            Made(name=f"n{night}", at=1e9 + night, verdicts=made, images=images).write(database)
        write_site(database, tmp_path, PLAIN)
    for pattern, count in (("native*", 3), ("changes*", 1), ("uml*", 40)):
        found = list(tmp_path.glob(f"plans/nightly/{pattern}.html"))
        assert len(found) >= count, pattern
    assert max(page.stat().st_size for page in tmp_path.rglob("*.html")) < MOST_BYTES
    page = text_of(tmp_path / "plans/nightly/native-2.html")
    assert 'href="native.html"' in page
    ids = {
        name
        for path in tmp_path.glob("plans/nightly/native*.html")
        for name in re.findall(r'<tr id="([^"]+)"', path.read_text())
    }
    assert ids == {each.id for each in cells if each.guest == "native"}


@pytest.mark.parametrize(
    "name",
    ["..", ".", "index", "runs", "changes-2", "a/b", "docker:alpine@sha256:1", "é", "", "x" * 300],
)
def test_any_name_becomes_a_file_name(name: str) -> None:
    made = file_name(name)
    assert re.fullmatch(r"[\w+=,-][\w.+=,-]*", made, re.ASCII)
    assert made not in ("index", "runs", "changes-2", "guests")
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
