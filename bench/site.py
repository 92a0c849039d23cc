"""Timings of the web site of a history with 100,000 cells, and the size of its pages."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.history import CELLS, SHAPES, fill
from foothold_lab.harness.dashboard import SiteOptions, write_site
from foothold_lab.harness.results_db.database import Database

GOAL, MOST = 30.0, 300_000  # seconds; bytes of a page
RUNS = 365


def main() -> None:
    """Print the table: a new site, and the same again."""
    print(f"{CELLS} cells, at most {RUNS} runs of each plan; seconds, the goal is {GOAL:.0f}")
    print(f"{'':28} {'wall':>7} {'cpu':>7} {'pages':>7} {'largest, kB':>12}")
    for shape in SHAPES:
        with tempfile.TemporaryDirectory(prefix="foothold-bench-") as folder:
            file, site = Path(folder) / "history.db", Path(folder) / "site"
            with Database(file) as database:
                fill(database, shape)
            with Database(file, read_only=True) as database:
                clock, processor = time.perf_counter(), time.process_time()
                written = write_site(database, site, SiteOptions(runs=RUNS))
                wall, cpu = time.perf_counter() - clock, time.process_time() - processor
            largest = max(page.stat().st_size for page in site.rglob("*.html"))
            verdict = "met" if cpu <= GOAL and largest <= MOST else "MISSED"
            print(
                f"{shape.name:28} {wall:7.1f} {cpu:7.1f} {written.pages:7} {largest / 1000:12.0f}"
                f"  {verdict}",
                flush=True,
            )
