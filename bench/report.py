"""How large the page of a run is, how long it takes to make, and how long Chromium to show it.

`python -m bench.report [RUN_DIR|last]`. Chromium is timed where it is installed: until the page is
there (its load event), and until a cell is open that a link leads to. Medians of ROUNDS.
"""

from __future__ import annotations

import argparse
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


def main() -> None:
    """Measure one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", default="last", metavar="RUN")
    directory = find_run(parser.parse_args().run)
    taken = []
    for _ in range(ROUNDS):
        start = perf_counter()
        run = read_run(directory)
        page = render(run)
        taken.append(perf_counter() - start)
    told = {
        "cells": str(len(run.result.cells)),
        "the file, MB": f"{len(page) / 1e6:.2f}",
        "a cell, KB": f"{len(page) / 1e3 / len(run.result.cells):.1f}",
        "the file as gzip, MB": f"{len(gzip.compress(page)) / 1e6:.2f}",
        "read and made, s": f"{statistics.median(taken):.2f}",
        **_shown(page),
    }
    width = max(map(len, told))
    for what, figure in told.items():
        print(f"{what:<{width}}  {figure}")


def _shown(page: bytes) -> dict[str, str]:
    """How long a browser takes; nothing where there is none."""
    try:
        from tests.browser.chromium import chromium, missing
    except ImportError as error:
        sys.stderr.write(f"not shown in a browser: {error}\n")
        return {}
    if why := missing():
        sys.stderr.write(f"not shown in a browser: {why}\n")
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


if __name__ == "__main__":
    main()
