"""The page as a reader has it: by mouse, by keyboard, in the dark, on paper, without scripts."""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from pathlib import Path

import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import Browser
from tests.unit.html_report import runs

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
LOW = runs.LOW.id


@pytest.mark.parametrize("name", ["run", "hostile", "large"])
def test_it_asks_nobody_for_anything_and_complains_of_nothing(browser: Browser, name: str) -> None:
    browser.show(name)
    browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.requests() == [(browser.pages / f"{name}.html").as_uri()]
    assert browser.driver.get_log("browser") == []
    with pytest.raises(NoAlertPresentException):
        _ = browser.driver.switch_to.alert
    assert browser.driver.title.endswith("Foothold")


def test_the_matrix_is_one_stop_and_arrows_go_about_in_it(browser: Browser) -> None:
    browser.show()
    browser.js("document.getElementById('by-path').focus()")
    browser.focus().send_keys(Keys.TAB)
    assert browser.focused() == runs.NATIVE.id
    steps = [
        (Keys.ARROW_LEFT, runs.NATIVE.id),  # nothing is there
        (Keys.ARROW_RIGHT, runs.LOW.id),
        (Keys.ARROW_RIGHT, runs.REFUSED.id),
        (Keys.END, runs.LOST.id),
        (Keys.ARROW_DOWN, runs.LATE.id),
        (Keys.ARROW_UP, runs.LOST.id),
        (Keys.HOME, runs.NATIVE.id),
        (Keys.CONTROL + Keys.END, runs.LATE.id),
        (Keys.CONTROL + Keys.HOME, runs.NATIVE.id),
    ]
    for keys, where in steps:
        browser.focus().send_keys(keys)
        assert browser.focused() == where
    browser.focus().send_keys(Keys.TAB)
    assert browser.focused() == ""
    assert browser.js("return !document.activeElement.closest('.matrix')")


def test_enter_opens_the_cell_and_takes_the_reader_there(browser: Browser) -> None:
    browser.show()
    field = browser.one(f'[id="at:{LOW}"]')
    field.send_keys(Keys.ENTER)
    cell = browser.one(f'[id="{LOW}"]')
    assert browser.focus() == cell
    assert cell.find_element(By.XPATH, "..").get_attribute("open")
    assert browser.js("return decodeURIComponent(location.hash)") == f"#{LOW}"
    cell.find_element(By.LINK_TEXT, "back to the matrix").send_keys(Keys.ENTER)
    browser.focus().send_keys(Keys.TAB)
    browser.js("return document.activeElement").send_keys(Keys.SHIFT + Keys.TAB)
    assert browser.focused() == LOW


SEEN = """
    const box = document.getElementById(arguments[0]).getBoundingClientRect();
    return box.height > 100 && box.top >= 0 && box.top < innerHeight;
"""


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_link_to_a_cell_opens_it(browser: Browser, script: bool) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=not script)
    browser.show("run", f"#{LOW}")
    assert browser.js(SEEN, LOW)
    assert len(browser.all("details.cell[open]")) == 2  # that cell and the error


def test_failures_and_errors_are_open_by_default(browser: Browser) -> None:
    browser.show()
    shown = [each.get_attribute("class") for each in browser.all("details.cell[open]")]
    assert shown == ["cell r-fail", "cell r-error"]
    browser.show("large")
    assert not browser.all("details.cell[open]")  # all of its cells pass


def test_without_script_there_is_all_but_what_needs_it(browser: Browser) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    browser.show()
    assert not any(each.is_displayed() for each in browser.all(".copy, .tools"))
    body = browser.one(f'[id="{runs.REFUSED.id}"]')
    assert not body.is_displayed()
    browser.one(f'details:has(> [id="{runs.REFUSED.id}"]) > summary').click()
    assert body.is_displayed()
    assert "moved to 0x405d9000" in browser.one(f'[id="{LOW}"] svg.map').text
    assert "replaced by MAP_FIXED" in browser.one(f'[id="{LOW}"] .ledger').text
    assert {each.get_attribute("tabindex") for each in browser.all(".matrix a")} == {None}
    before = browser.one(".matrix .r-pass").value_of_css_property("background-color")
    browser.one("#by-result").click()
    assert browser.one(".matrix .r-pass").value_of_css_property("background-color") != before


@pytest.mark.parametrize("by", ["by-path", "by-result"])
@pytest.mark.parametrize(("media", "scheme"), [("", "light"), ("", "dark"), ("print", "dark")])
def test_all_text_has_contrast(browser: Browser, media: str, scheme: str, by: str) -> None:
    browser.media(media, scheme)
    browser.show()
    browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
    browser.js("document.getElementById(arguments[0]).click()", by)
    found = browser.js(CONTRAST)
    assert found["poor"] == []
    assert found["count"] > 400


def test_it_is_dark_in_the_dark_and_white_on_paper(browser: Browser) -> None:
    def ground() -> list[int]:
        color = browser.one("body").value_of_css_property("background-color")
        return [int(each) for each in re.findall(r"\d+", color)[:3]]

    browser.show()
    assert min(ground()) > 230
    browser.media("", "dark")
    assert max(ground()) < 50
    browser.media("print", "dark")
    assert ground() == [255, 255, 255]


def printed(browser: Browser) -> int:
    """Pages of paper."""
    document = base64.b64decode(browser.command("Page.printToPDF", preferCSSPageSize=True)["data"])
    return len(re.findall(rb"/Type\s*/Page\b", document))


def test_paper_has_every_cell_of_a_small_run_and_not_of_a_large_one(browser: Browser) -> None:
    browser.media("print")
    browser.show()
    shut = "return document.getElementById(arguments[0]).getBoundingClientRect().height"
    assert browser.js(shut, LOW) > 300
    assert not browser.one("nav").is_displayed()
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
    browser.media()
    assert printed(browser) >= 5
    assert len(browser.all("details.cell[open]")) == 2  # as before
    browser.show("large")
    assert printed(browser) < 40


def test_a_command_is_copied_without_any_network(browser: Browser) -> None:
    browser.show("run", f"#{LOW}")
    command = browser.one(f'[id="{LOW}"] .command')
    command.find_element(By.TAG_NAME, "button").click()
    browser.driver.implicitly_wait(5)
    assert command.find_element(By.XPATH, ".//button[starts-with(., 'Copied')]")
    browser.driver.implicitly_wait(0)
    field = browser.one("#filter")
    field.send_keys(Keys.CONTROL + "v")
    assert field.get_attribute("value") == " ".join(runs.LOW.command)


def test_cells_are_sifted(browser: Browser) -> None:
    browser.show()
    browser.one("#filter").send_keys("uml REFUSED")
    browser.one("#filter").send_keys(Keys.BACK_SPACE * 7 + "before")
    shown = [each for each in browser.all("details.cell") if each.is_displayed()]
    assert len(shown) == 1
    assert browser.one("#shown").text == "1 of 6 cells"
    browser.one("#filter").clear()
    browser.one("#filter").send_keys(" ")
    browser.one("#only").click()
    assert browser.one("#shown").text == "2 of 6 cells"
    browser.one("#open").click()
    assert len(browser.all("details.cell[open]")) == 2
    browser.one(f'[id="at:{runs.NATIVE.id}"]').click()  # a link leads to what is sifted out, too
    assert browser.one(f'[id="{runs.NATIVE.id}"]').is_displayed()


def test_what_a_screen_reader_is_told(browser: Browser) -> None:
    browser.show()
    browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
    nodes = browser.command("Accessibility.getFullAXTree")["nodes"]
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and "role" in node
    ]
    roles = [role for role, _ in seen]
    for landmark in ("banner", "main", "navigation", "contentinfo", "grid"):
        assert roles.count(landmark) == 1, landmark
    named = {"link", "button", "image", "img", "textbox", "searchbox", "radio", "checkbox", "grid",
             "article", "navigation", "heading", "region"}  # fmt: skip
    assert [role for role, name in seen if role in named and not name.strip()] == []
    assert (
        "link",
        "uml-6.12, none, after, not as expected, low, allocates, changed since the earlier run",
    ) in seen
    assert ("image", f"Address space of {LOW}") in seen or (
        "img",
        f"Address space of {LOW}",
    ) in seen
    levels = browser.js(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((each) => +each.tagName[1])"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


@pytest.mark.parametrize("width", [360, 1920])
def test_it_fits_a_telephone_and_a_wall(browser: Browser, width: int) -> None:
    browser.command(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=False,
    )
    try:
        browser.show("run", f"#{LOW}")
        assert browser.js("return document.documentElement.scrollWidth") <= width
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")


CUT_OFF = """
    const beyond = [...document.querySelectorAll("main *")].filter((each) => {
      const box = each.getBoundingClientRect();
      return box.width && !each.closest(".unseen, thead") && (box.right > innerWidth + 1 || box.left < -1);
    });
    const scrolled = [...document.querySelectorAll(".wide, figure, pre, .body")].filter(
      (each) => each.scrollWidth > each.clientWidth + 1);
    return [...beyond, ...scrolled].map((each) => each.outerHTML.slice(0, 120));
"""


@pytest.mark.parametrize("name", ["run", "hostile", "large"])
def test_nothing_is_cut_off_at_400_pixels(browser: Browser, name: str) -> None:
    metrics = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.command("Emulation.setDeviceMetricsOverride", **metrics)
    try:
        browser.show(name)
        browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
        assert browser.js("return document.documentElement.scrollWidth") <= 400
        assert browser.js(CUT_OFF) == []
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")


def test_432_cells_are_as_quick_to_reach(browser: Browser) -> None:
    browser.show("large")
    browser.one(".matrix a").send_keys(Keys.CONTROL + Keys.END)
    browser.focus().send_keys(Keys.ENTER)
    last = browser.all("article.body[id*='/']")[-1]
    assert len(browser.all("details.cell")) == 432
    assert browser.focus() == last
    assert browser.js(SEEN.replace("> 100", "> 10"), last.get_attribute("id"))
