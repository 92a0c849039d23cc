"""The page of a survey in a real browser: its filters, its evidence, its width."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.browser.conftest import Browser

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
ROWS = ".survey tbody tr"


def shown(browser: Browser, selector: str) -> list[str]:
    """Return the first words of the elements that a reader sees."""
    return [each.text.splitlines()[0] for each in browser.all(selector) if each.is_displayed()]


def test_loads_nothing_and_has_no_error(browser: Browser) -> None:
    browser.show("survey")
    browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.requests() == [(browser.pages / "survey.html").as_uri()]
    assert browser.driver.get_log("browser") == []


def test_the_matrix_is_filtered_by_runtime_machine_and_limit(browser: Browser) -> None:
    browser.show("survey")
    heads = ".survey thead th[data-column]"
    assert len(shown(browser, ROWS)) == 2
    assert len(shown(browser, heads)) == 4
    Select(browser.one("#machine")).select_by_visible_text("aarch64, pages of 16 KiB")
    assert shown(browser, heads) == ["qemu-arm64-16k"]
    assert len(shown(browser, ROWS)) == 1  # Node.js was not tried there
    Select(browser.one("#machine")).select_by_visible_text("all")
    Select(browser.one("#limit")).select_by_visible_text("wx=refused")
    assert browser.one("#shown").text == "2 of 2 runtimes, 1 of 4 address spaces"
    browser.one("#bad").click()
    assert browser.one("#shown").text == "1 of 2 runtimes, 1 of 4 address spaces"
    assert len([each for each in browser.all("details.cell") if each.is_displayed()]) == 1
    browser.one("#bad").click()
    browser.one("#runtime").send_keys("GO")
    assert browser.one("#shown").text == "1 of 2 runtimes, 1 of 4 address spaces"
    browser.one("#runtime").send_keys(" nothing like this")
    assert shown(browser, ROWS) == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_field_opens_its_evidence_and_its_command(browser: Browser, script: bool) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=not script)
    browser.show("survey")
    browser.one('a[aria-label="Node.js 24, native, wx=refused: dies"]').click()
    [evidence] = [each for each in browser.all("article.body") if each.is_displayed()]
    assert "The kernel refuses mprotect(" in evidence.text
    assert "no code" in evidence.find_element(By.TAG_NAME, "pre").text
    command = evidence.find_element(By.CSS_SELECTOR, ".command code").text
    assert command == "foothold run --guest native --limit wx=refused --subject node-24"


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_cut_off(browser: Browser, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.command("Emulation.setDeviceMetricsOverride", **metrics)
    try:
        browser.show("survey")
        browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
        assert browser.js("return document.documentElement.scrollWidth") <= width
        beyond = """
            return [...document.querySelectorAll("main *")].filter((each) => {
              const box = each.getBoundingClientRect();
              return box.width && !each.closest(".unseen, thead") && box.right > innerWidth + 1;
            }).map((each) => each.outerHTML.slice(0, 120))"""
        assert browser.js(beyond) == []
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser: Browser, scheme: str) -> None:
    browser.media("", scheme)
    browser.show("survey")
    browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
    found = browser.js(CONTRAST)
    assert found["poor"] == []
    assert found["count"] > 50
