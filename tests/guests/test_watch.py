"""`foothold watch`: real guests stay booted, and answer whenever a program changes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foothold_lab.images.compiler import host_compiler
from tests.guests.conftest import Sit, open_or_skip
from tests.guests.processes import wait_until_gone, with_word

FOOTHOLD = [sys.executable, "-m", "foothold_lab.harness.cli"]
SOURCE = Path(__file__).parents[1] / "pages/server.c"
ANYWHERE = ("0xf800000000UL", "0x70000000UL")  # UML 6.1 grants this address as well
GUESTS = ("--guest", "native", "--guest", "uml-bookworm", "--limit", "none")
READY = ("--ready-pattern", "listening")
ANSWERED = "after the change"

pytestmark = pytest.mark.skipif(not host_compiler(), reason="this machine has no C compiler")


class Watching:
    """A process `foothold watch` in a directory, whose lines are read."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.run = directory / "run"
        self.process = subprocess.Popen(
            [*FOOTHOLD, "watch", "--run-dir", str(self.run), *GUESTS, *words],
            cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def until(self, text: str) -> list[str]:
        """Return the lines up to one with a text."""
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if text in line:
                return lines
        pytest.fail(f"no {text!r} in {lines}; {self.process.communicate()[1]}")

    def ends(self, number: int) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def guests(self) -> dict[int, str]:
        """The processes of the kernels of UML, by their command lines."""
        return {pid: line for pid, line in with_word(str(self.run)).items() if "linux" in line}


Watch = Callable[..., Watching]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    started: list[Watching] = []

    def start(*words: str) -> Watching:
        started.append(Watching(tmp_path, *words))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of a server, and a command `./build` that compiles it."""
    compiler = host_compiler()
    assert compiler
    build = tmp_path / "build"
    build.write_text(f'#!/bin/sh -e\nexec "{compiler}" -o server server.c\n')
    build.chmod(0o755)
    return shutil.copy(SOURCE, tmp_path / "server.c")


def edit(source: Path, old: str, new: str) -> None:
    source.write_text(source.read_text().replace(old, new))


def compile_server(source: Path) -> None:
    subprocess.run(["./build"], cwd=source.parent, check=True)


def cells(lines: list[str]) -> dict[str, str]:
    """The mark and the result of each cell that was printed."""
    found = {}
    for line in lines:
        words = line[2:].split()
        if len(words) > 1 and "/none/" in words[1]:
            found[words[1]] = f"{line[0]} {words[0]}".strip()
    return found


def test_the_program_is_built_and_tested_whenever_a_source_changes(
    source: Path, watch: Watch
) -> None:
    watching = watch(*READY, "--", "./build")
    first = cells(watching.until(ANSWERED))
    assert first == {"native/none/server": "pass", "uml-6.1/none/server": "fail"}
    guests = watching.guests()
    assert guests

    watching.until("waiting")
    edit(source, *ANYWHERE)
    lines = watching.until(ANSWERED)
    assert cells(lines) == {"native/none/server": "* pass", "uml-6.1/none/server": "* pass"}
    assert "2 passed, 2 changed" in lines[-1]
    assert watching.guests() == guests, "the guests stay"
    verdict = json.loads((watching.run / "cells/uml-6.1/none/server/verdict.json").read_text())
    assert verdict["result"] == "pass"

    watching.until("waiting")
    edit(source, 'puts("listening");', 'puts("listening")')
    assert any("error:" in line for line in watching.until("failed with status 1"))
    watching.until("waiting")
    edit(source, 'puts("listening")', 'puts("listening") ;')
    watching.until("the program has not changed")
    edit(source, "return 1", "return 2")
    assert cells(watching.until(ANSWERED)) == {}
    assert watching.guests() == guests
    assert watching.ends(signal.SIGINT) == 130
    assert wait_until_gone(watching.run, 10) == []


def test_a_guest_that_was_hurt_is_replaced_and_nothing_accumulates(
    source: Path, watch: Watch
) -> None:
    compile_server(source)
    watching = watch("./server", *READY)
    watching.until(ANSWERED)
    watching.until("waiting")
    before = watching.guests()
    os.kill(next(iter(before)), signal.SIGKILL)  # the keeper of the guest ends the others
    assert wait_until_gone(watching.run / "guests", 10) == []
    edit(source, *ANYWHERE)
    compile_server(source)
    assert cells(watching.until(ANSWERED))["uml-6.1/none/server"] == "* pass"
    assert watching.guests().keys().isdisjoint(before)

    files = sorted(watching.run.rglob("*"))
    for number in range(3):
        watching.until("waiting")
        edit(source, "return 0", f'puts("{number}"); return 0')
        compile_server(source)
        watching.until(ANSWERED)
    assert sorted(watching.run.rglob("*")) == files
    assert len(watching.guests()) == len(before)
    assert watching.ends(signal.SIGTERM) == 130
    assert wait_until_gone(watching.run, 10) == []


def test_a_program_that_is_replaced_while_it_runs_is_ended(source: Path, watch: Watch) -> None:
    compile_server(source)
    watching = watch("./server", "--ready-pattern", "never printed", "--timeout", "100")
    # both cells would run for 100 seconds
    assert watching.process.stderr
    wait_for_process(source.with_name("server"))
    edit(source, 'puts("listening")', 'puts("never printed")')
    compile_server(source)
    lines = watching.until(ANSWERED)
    assert cells(lines) == {
        "native/none/server": "pass", "uml-6.1/none/server": "fail",
    }, lines  # fmt: skip
    assert watching.ends(signal.SIGINT) == 130
    assert wait_until_gone(watching.run, 10) == []


def wait_for_process(program: Path) -> None:
    """Wait until a process executes a program."""
    while True:
        for process in Path("/proc").glob("[0-9]*/exe"):
            try:
                if process.readlink() == program:
                    return
            except OSError:
                continue
        time.sleep(0.05)


def test_nothing_is_left_when_it_is_killed(source: Path, watch: Watch, tmp_path: Path) -> None:
    sleeper = tmp_path / "slow-build"
    sleep = f"exec '{sys.executable}' -c 'import time; time.sleep(1000)' '{tmp_path}'"
    sleeper.write_text(f"#!/bin/sh\n./build && test ! -e again || {sleep}\n")
    sleeper.chmod(0o755)
    watching = watch(*READY, "./server", "--", "./slow-build")
    watching.until(ANSWERED)
    watching.until("waiting")
    (tmp_path / "again").touch()
    while not any("sleep(1000)" in line for line in with_word(str(tmp_path)).values()):
        time.sleep(0.05)
    watching.process.kill()
    watching.process.communicate()
    assert wait_until_gone(tmp_path, 10) == []


def test_a_terminal_shows_a_table_that_is_redrawn(source: Path, sit: Sit, tmp_path: Path) -> None:
    compile_server(source)
    person = sit("watch", "./server", *GUESTS, *READY, "--run-dir", str(tmp_path / "run"))
    person.sees(r"✗ fail\b")
    person.sees("waiting for a change; Ctrl-C ends")
    edit(source, *ANYWHERE)
    compile_server(source)
    person.sees(r"\*\S* \S*✓ pass\b.*was fail")
    person.sees("2 changed")
    person.sees("waiting for a change")
    person.tty.sendcontrol("c")
    assert person.leaves() == 130
    assert person.now == person.before
    assert wait_until_gone(tmp_path / "run", 10) == []


def test_a_guest_with_a_copy_of_the_files_gets_only_what_has_changed(tmp_path: Path) -> None:
    program, data = tmp_path / "program", tmp_path / "data"
    data.write_text("1")
    with open_or_skip("qemu-x86_64") as guest:

        def says(text: str) -> bool:
            program.write_text(
                f"#!/bin/sh\necho {text}; cat data; test ! -x data || echo executable\n"
            )
            program.chmod(0o755)
            return guest.run_cell(program, files=[data], expect=f"says:{text}").passed

        assert says("one")
        assert says("two")
        data.write_text("2")
        assert guest.run_cell(program, files=[data], expect="says:2").passed
        data.chmod(0o755)
        assert guest.run_cell(program, files=[data], expect="says:executable").passed
