"""Expectations about what a program prints, in real guests that run at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import open_guest
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.images import processes
from tests.host_compiler import host_compiler

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
DIFFERENCE = "differs in line 2: expected `45 bits`, printed `31 bits`"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program that prints how many bits the address of its memory has."""
    program = tmp_path_factory.mktemp("program") / "place"
    source = Path(__file__).with_name("place.c")
    done = processes.run([*host_compiler(static=True), "-O1", "-static", "-o", program, source])
    if done.returncode:
        pytest.skip(f"no C compiler: {done.stderr.strip()}")
    return program


def run(directory: Path, *words: object) -> tuple[int, dict[str, dict[str, object]], str]:
    """Return the exit code of a run, its verdicts by cell, and what it printed."""
    document = directory / "result.json"
    done = subprocess.run(
        [*FOOTHOLD, "run", "--limit", "none", "--json", document, *map(str, words)],
        capture_output=True, text=True, timeout=200, cwd=directory,
        stdin=subprocess.DEVNULL, env={**os.environ, "XDG_STATE_HOME": str(directory)}, check=False,
    )  # fmt: skip
    cells = json.loads(document.read_text())["cells"] if document.exists() else []
    verdicts = {each["verdict"]["cell"]: each["verdict"] for each in cells}
    return done.returncode, verdicts, done.stdout + done.stderr


def codes(verdict: dict[str, object]) -> list[object]:
    findings = verdict["findings"]
    assert isinstance(findings, list)
    return [each["code"] for each in findings]


@pytest.mark.uml
@pytest.mark.parametrize("jobs", [1, 3])
def test_compares_the_output_with_that_in_another_guest(
    place: Path, tmp_path: Path, jobs: int
) -> None:
    guests = ("--guest", "uml-6.1", "--guest", "uml-7.2", "--jobs", jobs)
    expect = ("--subject", place, "--expect", "same-output-as:native")
    code, verdicts, printed = run(tmp_path, *guests, *expect)
    assert code == 1
    assert {name: each["result"] for name, each in verdicts.items()} == {
        "native/none/place": "pass",  # it was added
        "uml-7.2/none/place": "pass",
        "uml-6.1/none/place": "fail",
    }
    assert codes(verdicts["uml-6.1/none/place"]) == [Code.PLAN_SAME_OUTPUT]
    assert DIFFERENCE in printed


@pytest.mark.uml
def test_retries_are_compared_with_the_same_output(place: Path, tmp_path: Path) -> None:
    words = ("--guest", "uml-6.1", "--subject", place, "--expect", "same-output-as:native")
    code, verdicts, _ = run(tmp_path, *words, "--retries", 1)
    verdict = verdicts["uml-6.1/none/place"]
    attempts = verdict["attempts"]
    assert isinstance(attempts, list)
    assert (code, len(attempts), codes(verdict)) == (1, 1, [Code.PLAN_SAME_OUTPUT])


@pytest.mark.uml
def test_compares_the_output_with_a_file(place: Path, tmp_path: Path) -> None:
    (tmp_path / "expected").write_text("reserved\n45 bits\n")
    words = ("--guest", "native", "--guest", "uml-6.1", "--subject", place)
    code, verdicts, printed = run(tmp_path, *words, "--expect", "stdout:expected")
    assert code == 1
    assert verdicts["native/none/place"]["result"] == "pass"
    assert codes(verdicts["uml-6.1/none/place"]) == [Code.PLAN_STDOUT]
    assert DIFFERENCE in printed
    assert f"--expect stdout:{tmp_path / 'expected'}" in printed
    code, _, printed = run(tmp_path, *words, "--expect", "stdout:missing")
    assert code == 2
    assert "missing: No such file" in printed


@pytest.mark.uml
def test_a_cell_is_repeated_without_the_other_guest(place: Path, tmp_path: Path) -> None:
    words = ("--guest", "uml-6.1", "--subject", place, "--expect", "same-output-as:native")
    run(tmp_path, *words, "--run-dir", tmp_path / "run")
    done = subprocess.run(
        [*FOOTHOLD, "repro", tmp_path / "run", "uml-6.1/none/place"],
        capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert (done.returncode, "same result as in" in done.stdout) == (0, True), done.stdout
    assert DIFFERENCE in done.stdout


@pytest.mark.parametrize("name", ["native", "uml-6.1"])
def test_an_open_guest_compares_with_a_file(name: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "expected").write_text("reserved\n45 bits\n")
    with open_guest(name) as guest:
        verdict = guest.run_cell(place, expect=f"stdout:{tmp_path / 'expected'}")
        assert verdict.passed is (name == "native")
        with pytest.raises(UsageError, match="cannot run a cell in another guest"):
            guest.run_cell(place, expect="same-output-as:native")
        # a pattern that takes Python's re 2^60 steps
        died = guest.run_cell("/bin/sh", "-c", f"printf {'a' * 60}!; exit 1", expect="dies:(a+)+$")
        assert [each.code for each in died.findings] == [Code.PLAN_EXPECTATION]
        assert died.seconds < 20
