"""The tests that failed, or passed only when they were repeated, as the last lines of the output of tox.

`python -m tests.failures COMMAND…` runs COMMAND. Each pytest below it adds these tests to one file
(tests/conftest.py), which is printed at the end.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine import run

if TYPE_CHECKING:
    from _pytest.reports import BaseReport
    from _pytest.terminal import TerminalReporter

FILE = "FOOTHOLD_FAILED_TESTS"
FAILED, REPEATED = "failed", "passed only when repeated"
LONGEST = 400  # characters of a cause


def cause(report: BaseReport) -> str:
    """Return what a report says went wrong, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = report.longreprtext.splitlines()
    text = crash.message if crash else "\n".join([x[1:] for x in lines if x[:1] == "E"] or lines)
    return " ".join(text.split())[:LONGEST]


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Add the tests of this pytest to the list, if one is made."""
    path = os.environ.get(FILE)
    if not path or hasattr(
        terminalreporter.config, "workerinput"
    ):  # the main process has all reports
        return
    python = "{}.{}".format(*sys.version_info)
    failed = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    names = {each.nodeid for each in failed}
    repeated = [each for each in terminalreporter.getreports("rerun") if each.nodeid not in names]
    with Path(path).open("a", encoding="utf-8") as file:
        for what, reports in ((FAILED, failed), (REPEATED, repeated)):
            for each in reports:
                file.write(f"{what}\t{each.nodeid} (Python {python}): {cause(each)}\n")


def main(argv: list[str]) -> int:
    """Run a command, then print these tests. Returns the exit code of the command."""
    with tempfile.TemporaryDirectory(prefix="failed-tests-") as folder:
        path = Path(folder) / "failed"
        code = run(argv, {**os.environ, FILE: str(path)})
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for what in (REPEATED, FAILED):
        found = [text for kind, _, text in (line.partition("\t") for line in lines) if kind == what]
        if found:
            sys.stdout.write("\n  ".join([f"\n{len(found)} {what}:", *found]) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
