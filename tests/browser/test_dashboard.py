"""The site of the history in a real browser: on a desk and on a phone, in the light and in the dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from foothold_lab.harness.dashboard import SiteOptions, write_site
from foothold_lab.harness.results_db.database import MEMORY, Database
from tests.browser.conftest import Browser
from tests.unit.results_db.made import Made, breaks, cell, fails, passes, second_try, unsupported

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
CELLS = [
    cell(guest, limits) for guest in ("native", "uml-6.1") for limits in ("none", "rlimit_as=1G")
]
PAGES = ("index", "plans/nightly/index", "plans/nightly/native")


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
            Made(name=f"night{night}", at=1e9 + 86400 * night, verdicts=made).write(database)
        write_site(database, directory, SiteOptions())
    return directory


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("page", PAGES)
def test_fits_on_the_screen_and_asks_for_its_own_files_only(
    browser: Browser, page: str, width: int
) -> None:
    browser.driver.set_window_size(width, 900)
    browser.show(page)
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
    style = (browser.pages / "site.css").as_uri()
    assert set(browser.requests()) == {(browser.pages / f"{page}.html").as_uri(), style}
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
    assert len(browser.all("figure svg")) == 2
    browser.one(".lines a[href='uml-6.1.html']").click()
    assert browser.one("h1").text == "uml-6.1"
    line = browser.one(f'[id="{CELLS[3].id}"] .line')
    assert len(line.find_elements("css selector", "i")) > 10
    assert line.size["width"] > 200
