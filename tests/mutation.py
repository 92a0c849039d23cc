"""Changes the code in small ways, and looks whether a test fails: `python -m tests.mutation AREA`.

cosmic-ray makes the mutants. They are too many to run all, so a random sample of the places in the
code is taken, with one mutant each. A mutant meets the tests that execute its lines, the fastest
first, until one fails. Mutants that survive are printed. The work is done in clones of this checkout,
one a processor. docs/reliability.md says how it is run.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import coverage
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parents[1]
# a mutant of an annotation changes nothing: annotations are not evaluated
_ANNOTATIONS = "core/ReplaceBinaryOperator_BitOr_"
TIMEOUT = 300  # seconds of the tests of one mutant: a loop that does not end is killed
MEASURE_TIMEOUT = 3600  # of all tests without a mutant, whose lines are recorded


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
    "allocator": Area(code="allocator", tests=("tests/unit/allocator/test_*.py",)),
}  # fmt: skip


def sample(work: WorkDB, count: int, seed: int) -> list[MutationSpec]:
    """Choose one mutant at each of `count` random places."""
    places: defaultdict[tuple[Path, tuple[int, int]], list[MutationSpec]] = defaultdict(list)
    for item in work.work_items:
        [mutation] = item.mutations
        if not mutation.operator_name.startswith(_ANNOTATIONS):
            places[mutation.module_path, mutation.start_pos].append(mutation)
    source = random.Random(seed)
    ordered = [places[key] for key in sorted(places)]
    return [source.choice(each) for each in source.sample(ordered, min(count, len(ordered)))]


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A clone of this checkout, in which one mutant at a time is tested."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its tests, which import the clone's code."""
        return {
            **os.environ, "PYTHONPATH": str(self.root / "src"), "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.root / ".hypothesis"),
        }  # fmt: skip

    def pytest(self, *words: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Run pytest in one process. Raises subprocess.TimeoutExpired."""
        program = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*program, "-m", "not guests and not browser", "--hypothesis-seed=0", *words],
            cwd=self.root, env=self.environment, timeout=timeout, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def survivor(self, mutation: MutationSpec, tests: Sequence[str]) -> str:
        """Return the difference that a mutant makes if these tests pass, or else an empty text."""
        operator = get_operator(mutation.operator_name)(**mutation.operator_args)
        with use_mutation(self.root / mutation.module_path, operator, mutation.occurrence) as texts:
            try:
                if tests and self.pytest("-x", *tests).returncode:
                    return ""
            except subprocess.TimeoutExpired:  # a loop that does not end
                return ""
        name = str(mutation.module_path)
        before, after = (text.splitlines() for text in texts)
        return "\n".join(difflib.unified_diff(before, after, name, name, lineterm=""))


@dataclass(frozen=True, kw_only=True)
class TestsOfLines:
    """Which tests execute which lines. seconds: of each test, by its node id."""

    __test__ = False
    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[int, Sequence[str]]]

    @classmethod
    def measure(cls, area: Area, clone: Clone, folder: Path) -> TestsOfLines:
        """Run all tests of an area. Raises SystemExit if one fails."""
        files = [
            str(each.relative_to(clone.root))
            for name in area.tests
            for each in clone.root.glob(name)
        ]
        report, data = folder / "report.xml", folder / "coverage"
        settings = folder / "coveragerc"
        settings.write_text(f"[run]\ndata_file = {data}\nsource = {area.code}\n")
        options = (f"--cov-config={settings}", "--cov", "--cov-context=test", "--cov-report=")
        options += (f"--junitxml={report}", "--override-ini=junit_family=xunit1")
        done = clone.pytest(*options, *files, timeout=MEASURE_TIMEOUT)
        if done.returncode:
            raise SystemExit(f"the tests fail without a mutant:\n{done.stdout}")
        cases = ElementTree.parse(report).iter("testcase")
        seconds = {_node_id(case.attrib): float(case.get("time", 0)) for case in cases}
        if (listed := clone.pytest("--collect-only", *seconds)).returncode:
            raise SystemExit(f"pytest does not find its own tests again:\n{listed.stdout}")
        measured = coverage.CoverageData(str(data))
        measured.read()
        return cls(
            seconds=seconds,
            lines={
                str(Path(file).relative_to(clone.root)): measured.contexts_by_lineno(file)
                for file in measured.measured_files()
            },
        )

    def of(self, mutation: MutationSpec) -> list[str]:
        """Return the tests that execute a line of a mutant, the fastest first.

        A line that is executed at import has an empty context: it concerns all tests.
        """
        (first, _), (last, _) = mutation.start_pos, mutation.end_pos
        lines = self.lines.get(str(mutation.module_path), {})
        contexts = {each for line in range(first, last + 1) for each in lines.get(line, ())}
        if "" in contexts:
            found = set(self.seconds)
        else:
            found = {each.rpartition("|")[0] for each in contexts} & set(self.seconds)
        return sorted(found, key=lambda each: (self.seconds[each], each))


def _node_id(case: Mapping[str, str]) -> str:
    """Return the node id of a test in a report: `file::class::name`."""
    module = case["file"].removesuffix(".py").replace("/", ".")
    inner = case["classname"].removeprefix(module).split(".")[1:]
    return "::".join((case["file"], *inner, case["name"]))


def mutants(area: Area, clone: Clone, folder: Path, count: int, seed: int) -> list[MutationSpec]:
    """Let cosmic-ray list all mutants of an area; return a sample."""
    settings, database = folder / "settings.toml", folder / "work.sqlite"
    settings.write_text(
        f'[cosmic-ray]\nmodule-path = "{area.code}"\ntimeout = {TIMEOUT}.0\nexcluded-modules = []\n'
        'test-command = "true"\n[cosmic-ray.distributor]\nname = "local"\n'
    )
    tool = [sys.executable, "-m", "cosmic_ray.cli", "init", str(settings), str(database)]
    subprocess.run(tool, cwd=clone.root, check=True)
    with use_db(str(database), WorkDB.Mode.open) as work:
        return sample(work, count, seed)


def main() -> int:
    """Run the command line; return 1 if a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("--sample", type=int, default=200, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0, help="repeats the same sample")
    given = parser.parse_args()
    area = AREAS[given.area]
    with tempfile.TemporaryDirectory(prefix="foothold-mutation-") as name:
        folder = Path(name)
        clones = [Clone(root=folder / f"clone-{cpu}") for cpu in os.sched_getaffinity(0)]
        free: SimpleQueue[Clone] = SimpleQueue()
        for clone in clones:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone.root)], check=True)
            free.put(clone)
        chosen = mutants(area, clones[0], folder, given.sample, given.seed)
        tests = TestsOfLines.measure(area, clones[0], folder)

        def survivor(mutation: MutationSpec) -> str:
            clone = free.get()
            try:
                return clone.survivor(mutation, tests.of(mutation))
            finally:
                free.put(clone)

        alive = []
        with ThreadPoolExecutor(len(clones)) as pool:
            for count, found in enumerate(pool.map(survivor, chosen), 1):
                sys.stderr.write(f"{count} of {len(chosen)}\n")
                if found:
                    alive.append(found)
                    sys.stdout.write(f"{found}\n\n")
                    sys.stdout.flush()
    sys.stdout.write(f"{given.area}: {len(chosen) - len(alive)} of {len(chosen)} mutants killed\n")
    return 1 if alive else 0


if __name__ == "__main__":
    raise SystemExit(main())
