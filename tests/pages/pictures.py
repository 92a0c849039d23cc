"""The pictures of the pages, made from one real run: `python -m tests.pages.pictures` writes them.

docs/run.svg is the session of the README. Each line appears after the seconds after which it was
printed. docs/report.png and docs/report-cell.png show the report of the same run in Chromium.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text
from selenium.webdriver.common.by import By

from foothold_lab.images.builder import Builder
from tests.browser.chromium import chromium, missing
from tests.pages.blocks import ROOT
from tests.pages.workspace import HOME

COLUMNS = 132
CELL = "uml-6.1/none/after"
_STYLES = {
    r"^\$ .*": "bold",
    r"^pass\b|\d+ passed": "green",
    r"^(fail|error)\b|\d+ (failed|errors?)": "red",
    r"^unsupported\b|\d+ unsupported": "yellow",
}
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # from another site
_TEXT = re.compile(r"<text (?=[^>]*-line-(\d+)\))")
_ANIMATION = """
@keyframes appear { from { visibility: hidden } to { visibility: visible } }
text { animation: appear 1ms both }
@media (prefers-reduced-motion) { text { animation: none } }
</style>"""


@dataclass(frozen=True)
class Line:
    """A line of a session, and the seconds after which it appears."""

    text: str
    seconds: float = 0


def record(argv: Sequence[str | Path], shown: str, home: Path) -> list[Line]:
    """Run a command in a new home, and return its session. Raises AssertionError if it fails."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("XDG_")},
        "HOME": str(home), "FOOTHOLD_CACHE": str(Builder().cache.root), "TERM": "dumb",
    }  # fmt: skip
    lines = [Line(f"$ {shown}")]
    started = time.monotonic()
    with subprocess.Popen(
        argv, cwd=home, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as command:
        for text in command.stdout or ():
            seconds = time.monotonic() - started
            for here, name in ((str(home), HOME), (os.uname().release, "6.18")):
                text = text.replace(here, name)
            lines.append(Line(text.rstrip("\n"), seconds))
    assert command.returncode == 0, "\n".join(line.text for line in lines)
    return lines


def draw(lines: Sequence[Line]) -> str:
    """Draw a session as SVG, whose lines appear one after the other."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), legacy_windows=False)
    for line in lines:
        text = Text(line.text)
        for pattern, style in _STYLES.items():
            text.highlight_regex(pattern, style)
        console.print(text, no_wrap=True, overflow="ellipsis")
    drawn = _FONTS.sub("", console.export_svg(title="foothold", unique_id="run"))
    drawn = _TEXT.sub(
        lambda at: f'<text style="animation-delay:{lines[int(at[1])].seconds:.2f}s" ', drawn
    )
    return drawn.replace("</style>", _ANIMATION.lstrip(), 1)


def photograph(report: Path, top: Path, cell: Path) -> None:
    """Take pictures of the top of a report, and of one cell."""
    with chromium() as driver:
        driver.set_window_size(1240, 900)
        driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        driver.get(report.as_uri())
        driver.save_screenshot(str(top))
        driver.set_window_size(
            1240, 1700
        )  # an element is photographed as far as the window shows it
        driver.get(f"{report.as_uri()}#{CELL}")
        driver.find_element(By.ID, CELL).screenshot(str(cell))


def main() -> None:
    """Write all pictures."""
    if why := missing():
        raise SystemExit(why)
    docs = ROOT / "docs"
    with tempfile.TemporaryDirectory(prefix="foothold-pictures-") as folder:
        home = Path(folder)
        argv = [sys.executable, "-m", "foothold_lab.harness.cli", "run", "--html", "report.html"]
        lines = record(argv, "./foothold run --html report.html", home)
        (docs / "run.svg").write_text(draw(lines))
        photograph(home / "report.html", docs / "report.png", docs / "report-cell.png")


if __name__ == "__main__":
    main()
