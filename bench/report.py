"""The size of the HTML page of a run, the time to make it, and the time to show it in Chromium.

`./foothold bench report [RUN_DIR|last]`. If Chromium is installed, its load event is timed, and the
opening of a cell by its link. Medians of ROUNDS.
"""

from __future__ import annotations

import gzip
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from foothold_lab.harness.cli.runs import find_run
from foothold_lab.harness.html_report.page import render
from foothold_lab.harness.html_report.read import read_run

ROUNDS = 5
_LOADED = "return performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
_OPEN = """
    const start = performance.now();
    document.querySelector('.matrix tr:last-child td:last-child a').click();
    document.body.getBoundingClientRect();
    return (performance.now() - start) / 1000;
"""


def main(run: str) -> None:
    """Measure one run."""
    directory = find_run(run)
    taken = []
    for _ in range(ROUNDS):
        start = perf_counter()
        result = read_run(directory)
        page = render(result)
        taken.append(perf_counter() - start)
    figures = {
        "cells": str(len(result.result.cells)),
        "the file, MB": f"{len(page) / 1e6:.2f}",
        "a cell, KB": f"{len(page) / 1e3 / len(result.result.cells):.1f}",
        "the file as gzip, MB": f"{len(gzip.compress(page)) / 1e6:.2f}",
        "read and made, s": f"{statistics.median(taken):.2f}",
        **_browser_figures(page),
    }
    width = max(map(len, figures))
    for name, figure in figures.items():
        print(f"{name:<{width}}  {figure}")


def _browser_figures(page: bytes) -> dict[str, str]:
    """Return the timings of Chromium, nothing if it is not installed."""
    try:
        from tests.browser.chromium import chromium, missing
    except ImportError as error:
        sys.stderr.write(f"not measured in a browser: {error}\n")
        return {}
    if reason := missing():
        sys.stderr.write(f"not measured in a browser: {reason}\n")
        return {}
    loaded, opened = [], []
    with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder, chromium() as driver:
        path = Path(folder) / "page.html"
        path.write_bytes(page)
        for _ in range(ROUNDS):
            driver.get(path.as_uri())
            loaded.append(float(driver.execute_script(_LOADED)))
            opened.append(float(driver.execute_script(_OPEN)))
    return {
        "loaded by Chromium, s": f"{statistics.median(loaded):.2f}",
        "a cell opened, s": f"{statistics.median(opened):.3f}",
    }
