"""Changes the code in small ways, and looks whether a test fails: `python -m tests.mutation AREA`.

cosmic-ray makes the mutants. They are too many to run all, so a random sample of the places in the
code is taken, with one mutant each. Mutants that survive are printed. The work is done in a clone of
this checkout. docs/reliability.md says how it is run.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).parents[1]
# a mutant of an annotation changes nothing: annotations are not evaluated
_ANNOTATIONS = "core/ReplaceBinaryOperator_BitOr_"
TIMEOUT = 300  # seconds of the tests of one mutant: a loop that does not end is killed


@dataclass(frozen=True, kw_only=True)
class Area:
    """A part of the code, and the tests that hold for it."""

    code: str
    tests: Sequence[str]


AREAS = {
    "oracle": Area(code="harness/oracle", tests=("tests/unit/harness/test_oracle*.py",)),
    "evidence": Area(
        code="harness/evidence",
        tests=[
            f"tests/unit/harness/test_{name}.py"
            for name in (
                "strace", "maps", "mapping_calls", "observe_and_judge", "program", "refusals",
                "three_witnesses", "decisive", "emulator", "expected_output", "last_words",
                "live_subject", "native", "hostile_evidence", "panics", "patterns", "ledger",
            )
        ],
    ),
    "allocator": Area(code="allocator", tests=("tests/unit/allocator",)),
}  # fmt: skip


def sample(work: WorkDB, count: int, seed: int) -> list[str]:
    """Choose one mutant at each of `count` random places; the others are marked as skipped."""
    places: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for item in work.work_items:
        [mutation] = item.mutations
        if not mutation.operator_name.startswith(_ANNOTATIONS):
            places[(mutation.module_path, mutation.start_pos)].append(item.job_id)
    source = random.Random(seed)
    ordered = [places[key] for key in sorted(places, key=str)]
    chosen = [source.choice(jobs) for jobs in source.sample(ordered, min(count, len(ordered)))]
    wanted = set(chosen)
    skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
    work.set_multiple_results(
        [each.job_id for each in work.work_items if each.job_id not in wanted], skipped
    )
    return chosen


def survivors(work: WorkDB, chosen: Sequence[str]) -> Iterator[str]:
    """Yield the difference of each mutant that no test noticed."""
    for job, result in work.results:
        if job in chosen and result.test_outcome is TestOutcome.SURVIVED:
            yield result.diff or ""


def configuration(area: Area, python: str) -> str:
    """Return the configuration file of cosmic-ray for an area."""
    tests = " ".join(
        str(path) for each in area.tests for path in (sorted(ROOT.glob(each)) or [each])
    ).replace(f"{ROOT}/", "")
    marks = "not guests and not browser"
    return (
        f'[cosmic-ray]\nmodule-path = "{area.code}"\ntimeout = {TIMEOUT}.0\nexcluded-modules = []\n'
        f"test-command = \"{python} -m pytest -x -q -p no:cacheprovider -m '{marks}' {tests}\"\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
    )


def main() -> int:
    """Run the command line; return 1 if a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("--sample", type=int, default=200, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0, help="repeats the same sample")
    given = parser.parse_args()
    area = AREAS[given.area]
    with tempfile.TemporaryDirectory(prefix="foothold-mutation-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        settings, database = Path(folder) / "settings.toml", Path(folder) / "work.sqlite"
        settings.write_text(configuration(area, sys.executable))
        environment = {
            **os.environ, "PYTHONPATH": str(clone / "src"), "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(Path(folder) / "hypothesis"),
        }  # fmt: skip
        tool = [sys.executable, "-m", "cosmic_ray.cli"]

        def cosmic_ray(*words: str | Path) -> None:
            subprocess.run([*tool, *map(str, words)], cwd=clone, env=environment, check=True)

        cosmic_ray("init", settings, database)
        with use_db(str(database), WorkDB.Mode.open) as work:
            total = work.num_work_items
            chosen = sample(work, given.sample, given.seed)
        cosmic_ray("baseline", settings)
        cosmic_ray("exec", settings, database)
        with use_db(str(database), WorkDB.Mode.open) as work:
            alive = list(survivors(work, chosen))
    for each in alive:
        sys.stdout.write(f"{each}\n\n")
    killed = len(chosen) - len(alive)
    sys.stdout.write(
        f"{given.area}: {killed} of {len(chosen)} mutants killed, of {total} that there are\n"
    )
    return 1 if alive else 0


if __name__ == "__main__":
    raise SystemExit(main())
