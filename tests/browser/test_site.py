"""The documentation site: it builds without a warning, and a person with a phone can read it."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import foothold_lab

ROOT = Path(__file__).parents[2]
WIDTH = 400  # of a phone, in pixels of CSS
SECONDS = 120
# what is wider than the page, unless a box around it scrolls
_TOO_WIDE = """
const page = document.querySelector('.md-content');
return [...page.querySelectorAll('*')].filter(each => {
  if (each.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let box = each.parentElement; box; box = box.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(box).overflowX)
        && box.getBoundingClientRect().right <= innerWidth + 1) return false;
  return true;
}).map(each => each.outerHTML.slice(0, 100));
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with `--strict`: a warning is an error."""
    pytest.importorskip("mkdocs", reason="pip install 'foothold-lab[docs]'")
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(directory)],
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The URL at which the site is served."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def phone(chrome: Chrome, site: Path) -> Chrome:
    """A browser as wide as a phone. It remembers what was wrong on the pages before."""
    chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": WIDTH, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    return chrome


def pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.rglob("*.html")) if page.name != "404.html"]


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    made = {str(page.relative_to(site)) for page in pages(site)}
    written = {
        str(page.relative_to(ROOT / "docs").with_suffix(".html")).replace(
            "README.html", "index.html"
        )
        for page in (ROOT / "docs").rglob("*.md")
    }
    assert made == written


def test_every_page_fits_a_phone(phone: Chrome, site: Path) -> None:
    wrong = []
    for page in pages(site):
        phone.get(page.as_uri())
        if phone.execute_script("return document.scrollingElement.scrollWidth") > WIDTH:
            wrong.append(f"{page.name}: {phone.execute_script(_TOO_WIDE)[:3]}")
        elif wide := phone.execute_script(_TOO_WIDE):
            wrong.append(f"{page.name}: {wide[:3]}")
        size = phone.execute_script(
            "return parseFloat(getComputedStyle(document.querySelector('article')).fontSize)"
        )
        assert size >= 14, page.name
    assert not wrong, "\n".join(wrong)


def test_a_page_requests_nothing_from_other_hosts(phone: Chrome, address: str) -> None:
    phone.get(f"{address}/index.html")
    requested = phone.execute_script(
        "return performance.getEntriesByType('resource').map(each => each.name)"
    )
    assert requested
    assert [each for each in requested if not each.startswith(address)] == []


def test_the_search_finds_a_page(phone: Chrome, address: str) -> None:
    phone.get(f"{address}/index.html")
    wait = WebDriverWait(phone, SECONDS, poll_frequency=0.05)
    button = phone.find_element(By.CSS_SELECTOR, "label.md-header__button[for=__search]")
    wait.until(lambda _: button.is_displayed())
    button.click()
    field = phone.find_element(By.CSS_SELECTOR, "input.md-search__input")
    wait.until(lambda _: field.is_displayed() and field.size["width"] > WIDTH / 2)
    field.send_keys("thresholds")
    wait.until(lambda _: phone.find_elements(By.CSS_SELECTOR, ".md-search-result__link"))
    links = phone.find_elements(By.CSS_SELECTOR, ".md-search-result__link")
    assert any("runtimes.html" in (link.get_attribute("href") or "") for link in links)


def test_the_reference_has_every_exported_name_with_its_text(phone: Chrome, site: Path) -> None:
    phone.get((site / "reference.html").as_uri())
    headings = phone.find_elements(By.CSS_SELECTOR, "h2.doc-heading")
    assert {each.text.split()[0] for each in headings} == set(foothold_lab.__all__)
    article = phone.find_element(By.TAG_NAME, "article").text
    assert "Unsupported cells do not count" in article  # of RunResult.passed
