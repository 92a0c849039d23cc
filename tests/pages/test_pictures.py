"""The session of the README as a picture: its lines, in their order and at their times."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from tests.pages.blocks import ROOT
from tests.pages.pictures import COLUMNS, Line, draw

_TEXT = "{http://www.w3.org/2000/svg}text"


def _lines(drawing: str) -> list[tuple[float, str]]:
    """Return each line of a drawing with its height."""
    found: dict[float, str] = {}
    for text in ElementTree.fromstring(drawing).iter(_TEXT):
        if "-line-" in text.get("clip-path", ""):
            at = float(text.get("y", ""))
            found[at] = (found.get(at, "") + (text.text or "")).replace("\xa0", " ")
    return sorted((at, text.rstrip()) for at, text in found.items())


def test_a_session_is_drawn_with_its_times() -> None:
    long = "x" * 2 * COLUMNS
    lines = [Line("$ ./foothold run"), Line("pass   a <b> & c  1 s", 0.25), Line(long, 1.5)]
    drawing = draw(lines)
    assert [text for _, text in _lines(drawing)] == [
        lines[0].text, lines[1].text, "x" * (COLUMNS - 1) + "…",
    ]  # fmt: skip
    delays = re.findall(r"animation-delay:([\d.]+)s", drawing)
    assert list(dict.fromkeys(delays)) == ["0.00", "0.25", "1.50"]


def test_a_picture_asks_for_nothing_from_elsewhere() -> None:
    for drawing in (draw([Line("$ a")]), (ROOT / "docs/run.svg").read_text()):
        assert set(re.findall(r"url\((.)", drawing)) == {"#"}
        assert "@font-face" not in drawing


def test_the_readme_shows_a_run_that_passed() -> None:
    drawing = (ROOT / "docs/run.svg").read_text()
    texts = [text for _, text in _lines(drawing)]
    assert texts[0] == "$ ./foothold run --html report.html"
    assert any(
        re.fullmatch(r"\d+ cells: \d+ passed(, \d+ unsupported)? in [\d.]+ s", each)
        for each in texts
    )
    delays = [float(each) for each in re.findall(r"animation-delay:([\d.]+)s", drawing)]
    assert all(before <= after for before, after in pairwise(delays))
