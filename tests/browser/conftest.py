"""The page in a real browser. One browser for all tests; each begins with a clean slate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from foothold_lab.harness import survey_page
from foothold_lab.harness.html_report.page import render
from foothold_lab.harness.html_report.read import read_run
from foothold_lab.harness.model.verdict import Result
from foothold_lab.harness.survey import read
from tests.browser.chromium import chromium, missing
from tests.unit.html_report import runs, surveys


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in Path(item.path).parts:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    if why := missing():
        pytest.skip(why)
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages to look at: a run with every result, compared; a hostile one; a large one; a survey."""
    folder = tmp_path_factory.mktemp("pages")
    earlier = read_run(runs.write(folder / "earlier", runs.events()))
    run = read_run(runs.write(folder / "run", runs.events(Result.FAIL)))
    (folder / "run.html").write_bytes(render(run, earlier))
    hostile = read_run(runs.hostile(folder / "hostile"))
    (folder / "hostile.html").write_bytes(render(hostile))
    (folder / "large.html").write_bytes(render(read_run(runs.large(folder / "large"))))
    survey = read(surveys.write(folder / "survey"))
    (folder / "survey.html").write_bytes(survey_page.render(survey))
    return folder


@dataclass
class Browser:
    """A browser that shows one of the pages."""

    driver: Chrome
    pages: Path

    def show(self, name: str = "run", fragment: str = "") -> None:
        """Load a page anew, also if only the fragment differs."""
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(f"{(self.pages / name).with_suffix('.html').as_uri()}{fragment}")

    def command(self, name: str, **parameters: object) -> Any:
        """Give a command of Chrome's DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def media(self, media: str = "", scheme: str = "light") -> None:
        """Be paper, or a screen in the dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=media, features=features)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def js(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def focus(self) -> WebElement:
        return self.driver.switch_to.active_element

    def focused(self) -> str:
        """The cell in whose field of the matrix the focus is."""
        return (self.focus().get_attribute("id") or "").removeprefix("at:")

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was shown."""
        messages = [
            json.loads(each["message"])["message"] for each in self.driver.get_log("performance")
        ]
        return [
            each["params"]["request"]["url"]
            for each in messages
            if each["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture
def browser(chrome: Chrome, pages: Path) -> Iterator[Browser]:
    one = Browser(chrome, pages)
    chrome.set_window_size(1280, 900)
    one.media()
    yield one
    one.command("Emulation.setScriptExecutionDisabled", value=False)
    one.media()
