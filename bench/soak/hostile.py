"""The hostile programs of `tests/hostile` in a random order, beside a busy neighbour.

The tests say whether an attack had an effect: a forged verdict, a spoiled cell of a neighbour, a
process that lives on. After each batch nothing of them may be left on the machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench.soak.chaos import unsound_store
from bench.soak.leftovers import Machine, adopt_orphans, leftovers, temporary_files
from bench.soak.load import neighbour

ROOT = Path(__file__).parents[2]
BATCH = 24  # tests of one pytest process
SECONDS = 1800  # of a batch: pytest ends each test after 300 s
_PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
_CHOSEN = "guests and not weekly"
_RESULTS = ("failure", "error", "skipped")  # of a test, in a report for JUnit


@dataclass
class Tally:
    """What all batches came to. `counts`: tests by result. `faults`: failures, and what was left."""

    batches: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def tests() -> list[str]:
    """Return the node ids of all hostile tests with guests."""
    done = subprocess.run(
        [*_PYTEST, "-n0", "--collect-only", "-m", _CHOSEN, "tests/hostile"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if "::" in line]


def batches(found: Sequence[str], seed: int) -> Iterator[list[str]]:
    """Yield all tests in batches, each time in another random order, without end."""
    source = random.Random(seed)
    while True:
        order = source.sample(found, len(found))
        for first in range(0, len(order), BATCH):
            yield order[first : first + BATCH]


def run(batch: Sequence[str], place: Path, tally: Tally) -> None:
    """Run a batch, and add its results."""
    (place / "tmp").mkdir(parents=True)
    report = place / "report.xml"
    workers = len(os.sched_getaffinity(0))
    words = (
        "-n", str(workers), "--dist", "load", f"--junitxml={report}", f"--basetemp={place}/pytest",
    )  # fmt: skip
    with (place / "output").open("wb") as output:
        pytest = subprocess.Popen(
            [*_PYTEST, *words, *batch], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, env={**os.environ, "TMPDIR": str(place / "tmp")},
        )  # fmt: skip
        try:
            pytest.wait(SECONDS)
        except subprocess.TimeoutExpired:
            pytest.kill()
            pytest.wait()
            tally.faults.append(f"a batch did not end: {' '.join(batch)}")
            return
    if not report.exists():
        tally.faults.append(
            f"pytest ended with {pytest.returncode}: {(place / 'output').read_text()}"
        )
        return
    for case in ElementTree.parse(report).iter("testcase"):
        result = next((each.tag for each in case if each.tag in _RESULTS), "passed")
        tally.counts[result] += 1
        if result in ("failure", "error"):
            what = next(each.get("message", "") for each in case if each.tag == result)
            tally.faults.append(f"{case.get('classname')}::{case.get('name')}: {what}")


def repeat(seconds: float, seed: int, folder: Path, others: frozenset[int]) -> Tally:
    """Run batches until the time is over."""
    tally, before, end = Tally(), Machine.now(), time.monotonic() + seconds
    for batch in batches(tests(), seed):
        if time.monotonic() >= end:
            return tally
        tally.batches += 1
        place = folder / f"batch-{tally.batches}"
        run(batch, place, tally)
        left = (*leftovers(before, others), *temporary_files(place / "tmp"))
        tally.faults += [f"batch {tally.batches}: {each}" for each in left]
    return tally


@click.command
@click.option("--minutes", default=60.0, show_default=True, help="How long batches are started.")
@click.option("--seed", default=0, show_default=True, help="Repeats the same random order.")
@click.option("--load/--no-load", default=True, show_default=True, help="Have a busy neighbour.")
def hostile(minutes: float, seed: int, load: bool) -> None:
    """Run hostile programs in a random order; list the attacks that had an effect."""
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="foothold-soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # some programs run as another user
        with neighbour() if load else contextlib.nullcontext(()) as others:
            tally = repeat(60 * minutes, seed, folder, frozenset(others))
        faults = [*tally.faults, *unsound_store()]
    print("| batches | tests passed | skipped | failed | faults |")
    print("|---|---|---|---|---|")
    counts = tally.counts
    failed = counts["failure"] + counts["error"]
    print(
        f"| {tally.batches} | {counts['passed']} | {counts['skipped']} | {failed} | {len(faults)} |"
    )
    for fault in faults:
        click.echo(fault, err=True)
    raise SystemExit(1 if faults else 0)
