"""`pytest --foothold-keep`: guests that stay booted for the next session."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.processes import wait_until_gone, with_word

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.foothold_guest("native", "uml-6.1")
def test_it_starts(foothold_cell):
    assert foothold_cell("./program", expect="starts").passed

@pytest.mark.foothold_guest("uml-6.1")
@pytest.mark.foothold_limit(rlimit_as="300M")
def test_the_path(foothold_cell, foothold_facts, foothold_guest):
    verdict = foothold_cell(policy="after")
    assert verdict.observed.path == "refused"
    assert foothold_facts.bits == 39
    assert verdict.artefacts and foothold_guest.console
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of kept guests, with none in it before and afterwards."""
    place = tmp_path / "kept"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    foothold("guests", "--end")
    assert wait_until_gone(place, 10) == []
    assert not list(place.glob("*/*"))


@pytest.fixture
def project(pytester: pytest.Pytester, kept: Path) -> pytest.Pytester:
    pytester.makepyfile(TESTS)
    write(pytester.path / "program", "true")
    return pytester


def write(program: Path, command: str) -> None:
    program.write_text(f"#!/bin/sh\n{command}\n")
    program.chmod(0o755)


def foothold(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def keeper() -> int:
    """The process that keeps the guest."""
    found = re.search(r"^uml-6\.1 +(\d+) ", foothold("guests"), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.uml
def test_the_next_session_finds_the_guest_and_sees_the_new_program(
    project: pytest.Pytester, kept: Path
) -> None:
    project.runpytest_subprocess("--foothold-keep").assert_outcomes(passed=3)
    first = keeper()
    project.runpytest_subprocess("--foothold-keep").assert_outcomes(passed=3)
    assert keeper() == first
    write(project.path / "program", "exit 3")
    again = project.runpytest_subprocess("--foothold-keep")
    again.assert_outcomes(passed=1, failed=2)
    again.stdout.fnmatch_lines(["*console of uml-6.1*", "uml-6.1/none/program: fail"])
    assert keeper() == first
    assert foothold("guests", "--end", "uml-6.1") == "uml-6.1 has ended\n"
    assert wait_until_gone(kept, 10) == []
    assert foothold("guests") == "no guest is kept\n"
    assert "uml-6.1 is not kept" in foothold("guests", "uml-6.1")


@pytest.mark.uml
def test_without_the_option_nothing_stays(project: pytest.Pytester, kept: Path) -> None:
    project.runpytest_subprocess().assert_outcomes(passed=3)
    assert foothold("guests") == "no guest is kept\n"


@pytest.mark.uml
def test_a_kept_guest_ends_after_its_time(project: pytest.Pytester, kept: Path) -> None:
    options = ("--foothold-keep", "--foothold-keep-for", "1")
    project.runpytest_subprocess(*options).assert_outcomes(passed=3)
    assert wait_until_gone(kept, 20) == []


@pytest.mark.uml
def test_a_guest_ends_with_its_keeper_and_is_booted_again(
    project: pytest.Pytester, kept: Path
) -> None:
    project.runpytest_subprocess("--foothold-keep").assert_outcomes(passed=3)
    os.kill(first := keeper(), signal.SIGKILL)
    assert wait_until_gone(kept, 10) == []
    project.runpytest_subprocess("--foothold-keep").assert_outcomes(passed=3)
    assert keeper() != first


@pytest.mark.uml
def test_a_guest_that_died_or_was_damaged_is_replaced(project: pytest.Pytester, kept: Path) -> None:
    project.runpytest_subprocess("--foothold-keep").assert_outcomes(passed=3)
    first = keeper()
    for process, line in with_word(str(kept)).items():
        if "mem=" in line:
            with contextlib.suppress(ProcessLookupError):  # it ended with another one
                os.kill(process, signal.SIGKILL)
    project.runpytest_subprocess("--foothold-keep").assert_outcomes(passed=3)
    assert (second := keeper()) != first
    write(project.path / "program", "echo 1 > /proc/sys/vm/overcommit_memory")
    project.runpytest_subprocess("--foothold-keep", "-k", "uml-6.1")
    write(project.path / "program", "true")
    project.runpytest_subprocess("--foothold-keep").assert_outcomes(passed=3)
    assert keeper() != second


@pytest.mark.uml
def test_two_sessions_do_not_share_a_guest(project: pytest.Pytester, kept: Path) -> None:
    project.makepyfile(
        test_wait="""
        import pathlib, time, pytest

        @pytest.mark.foothold_guest("uml-6.1")
        def test_wait(foothold_cell):
            assert foothold_cell(policy="before").passed
            pathlib.Path("booted").touch()
            while not pathlib.Path("go").exists():
                time.sleep(0.05)
        """
    )
    waiting = project.popen(
        [sys.executable, "-m", "pytest", "--foothold-keep", "test_wait.py"],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not (project.path / "booted").exists():
            assert waiting.poll() is None
            time.sleep(0.05)
        project.runpytest_subprocess("--foothold-keep", "-k", "test_the_path").assert_outcomes(
            passed=1, deselected=3
        )
    finally:
        (project.path / "go").touch()
        assert waiting.wait(60) == 0
    assert keeper()
