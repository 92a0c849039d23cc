"""The site of the history in a real browser: on a desk and on a phone, in the light and in the dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.dashboard import SiteOptions, write_site
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.reporters.rundir import RunDirectoryReporter
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.results_db.models import StoredThreshold
from foothold_lab.harness.results_db.writer import record_thresholds
from tests.browser.conftest import Browser
from tests.unit.results_db.made import Made, breaks, cell, fails, passes, second_try, unsupported

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
CELLS = [
    cell(guest, limits) for guest in ("native", "uml-6.1") for limits in ("none", "rlimit_as=1G")
]
PAGES = (
    "index", "plans/nightly/index", "plans/nightly/native", "plans/nightly/runs",
    "plans/nightly/changes", "evidence/night29/cells/1",
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of 30 nights with every result."""
    directory = tmp_path_factory.mktemp("site")
    verdicts = (passes, passes, fails, breaks, unsupported, second_try)
    with Database(MEMORY) as database:
        for night in range(30):
            made = {
                each: verdicts[(night + n) % len(verdicts)](each) for n, each in enumerate(CELLS)
            }
            more = {"command": ("replay", "night29")} if night < 25 else {}
            more["directory"] = str(directory.with_name("run"))
            Made(name=f"night{night}", at=1e9 + 86400 * night, verdicts=made, **more).write(
                database
            )
            if night == 29:
                _write_run(directory.with_name("run"), made)
        record_thresholds(database, _thresholds())
        write_site(database, directory, SiteOptions())
    return directory


def _write_run(directory: Path, verdicts: dict[Cell, Verdict]) -> None:
    """The run directory of the newest night, whose evidence the site shows."""
    reporter = RunDirectoryReporter(directory)
    for event in Made(name="night29", at=1e9 + 86400 * 29, verdicts=verdicts).events():
        reporter(event)
    reporter.close()


def _thresholds() -> list[StoredThreshold]:
    return [
        StoredThreshold(
            at=1e9 + 86400 * 10 * number, guest="native", subject="allocator", policy="after",
            kind="rlimit_as", edge="found", smallest=size << 20, largest=(size - 1) << 20,
        )
        for number, size in enumerate((640, 800, 20))
    ]  # fmt: skip


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("page", PAGES)
def test_fits_on_the_screen_and_asks_for_its_own_files_only(
    browser: Browser, page: str, width: int
) -> None:
    browser.driver.set_window_size(width, 900)
    browser.show(page)
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
    own = browser.pages.as_uri()
    asked = set(browser.requests())
    assert (browser.pages / f"{page}.html").as_uri() in asked
    assert all(each.startswith(own) and each.endswith((".html", ".css", ".svg")) for each in asked)
    assert browser.driver.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_all_text_has_contrast(browser: Browser, page: str, scheme: str) -> None:
    browser.media("", scheme)
    browser.show(page)
    found = browser.js(CONTRAST)
    assert found["poor"] == []
    assert found["count"] > 20


def test_leads_from_a_plan_to_a_cell(browser: Browser) -> None:
    browser.show("index")
    browser.one(".plan h2 a").click()
    assert browser.one("h1").text == "nightly"
    assert browser.js("return [...document.images].every(i => i.complete && i.naturalWidth > 300)")
    assert len(browser.all("figure img")) == 2
    assert "25 of these 30 runs are replays" in browser.one(".note").text
    browser.one(".lines a[href='uml-6.1.html']").click()
    assert browser.one("h1").text == "uml-6.1"
    line = browser.one(f'[id="{CELLS[3].id}"] .line')
    assert len(line.find_elements("css selector", "i")) > 10
    assert line.size["width"] > 200
    browser.one(f'[id="{CELLS[3].id}"] a').click()
    assert browser.one("h1").text == "Evidence"
    cell = browser.one(f'[id="{CELLS[3].id}"]')
    assert cell.is_displayed()
    assert "uml-6.1" in cell.text


def test_shows_path_seconds_and_threshold_of_a_cell(browser: Browser) -> None:
    browser.show("plans/nightly/native")
    cell = browser.one(f'[id="{CELLS[0].id}"]')
    assert [each.text for each in cell.find_elements("css selector", "dt")] == [
        "verdict", "path", "seconds", "threshold",
    ]  # fmt: skip
    assert "rlimit_as 20M (not under 19M)" in cell.text
    assert cell.find_element("css selector", ".spark").size["width"] > 100
    assert len(cell.find_elements("css selector", ".paths i")) > 5
