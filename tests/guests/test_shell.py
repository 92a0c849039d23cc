"""`foothold shell` with a person before it: a terminal, sizes, signals, colours, and what stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import open_guest
from foothold_lab.images.builder import Builder
from tests.guests.conftest import Sit
from tests.guests.person import PROMPT

SHELL = [sys.executable, "-m", "foothold_lab.harness.cli", "shell"]
GUESTS = ("native", "uml-bookworm", "uml-testing", "qemu-x86_64", "docker", "podman")


@pytest.fixture
def supported(builder: Builder) -> Callable[[str], None]:
    from foothold_lab.harness.guests.doctor import examine

    checks = {check.guest: check for check in examine(builder)}

    def or_skip(guest: str) -> None:
        check = checks.get(guest)
        if check and not check.ok:
            pytest.skip(f"{guest}: {check.reason}; {check.remedy}")

    return or_skip


@pytest.mark.parametrize("guest", GUESTS)
def test_a_person_at_a_terminal(
    guest: str, sit: Sit, tmp_path: Path, supported: Callable[[str], None]
) -> None:
    supported(guest)
    (tmp_path / "mine").write_text("a file of the host\n")
    person = sit("shell", guest, "--share", str(tmp_path))
    person.sees(PROMPT)

    assert "30 100" in person.types("stty size")
    person.tty.setwinsize(51, 132)
    assert "51 132" in person.types("stty size")

    person.starts_to_sleep()
    person.tty.send("\x03")
    person.sees(PROMPT)
    assert "130" in person.types("echo $?")

    person.starts_to_sleep()
    person.tty.send("\x1a")
    person.tty.expect("Stopped")
    person.sees(PROMPT)
    assert "sleep 1000" in person.types("jobs")
    person.types("kill %1; fg || true")

    assert "xterm-256color" in person.types("echo $TERM")
    assert "\x1b[" in person.types("ls --color=always /")
    assert "a file of the host" in person.types("cat mine")
    if guest != "native":
        person.types("touch /host/new")  # refused, or in a copy
        assert not (tmp_path / "new").exists()

    assert person.leaves("exit 7") == 7


def test_the_terminal_is_as_it_was_even_if_the_shell_is_killed(sit: Sit) -> None:
    person = sit("shell", "native")
    person.sees(PROMPT)
    assert person.now != person.before
    person.tty.kill(signal.SIGTERM)
    assert person.leaves() == 130
    assert person.now == person.before


@pytest.mark.uml
def test_the_way_out_of_a_guest_that_hangs(sit: Sit) -> None:
    person = sit(
        "shell",
        "uml-bookworm",
        "--",
        "sh",
        "-c",
        "trap '' INT; stty raw -echo; echo on; sleep 1000",
    )
    person.tty.expect("on")
    person.tty.send("\x03\x1d\x1d\x1d")
    assert person.leaves() == 130


@pytest.mark.uml
def test_limits_are_there_to_be_tried_by_hand(sit: Sit) -> None:
    person = sit("shell", "uml-bookworm", "--limit", "rlimit_as=300M+hints=ignored")
    person.sees(PROMPT)
    assert "307200" in person.types("ulimit -v")
    person.tty.send("\x04")
    assert person.leaves() == 0


def run(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*SHELL, *words], input=data, capture_output=True, timeout=120)


@pytest.mark.uml
def test_one_command_is_a_filter_like_any_other() -> None:
    data = os.urandom(200_000)
    done = run("uml-bookworm", "--", "sh", "-c", "cat; echo aside >&2; exit 9", data=data)
    assert (done.returncode, done.stdout, done.stderr) == (9, data, b"aside\n")


def test_a_command_that_a_signal_ends() -> None:
    assert run("native", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_what_makes_no_sense_is_told() -> None:
    done = run("native", "--", "/no/such/program")
    assert done.returncode == 3
    assert b"/no/such/program: No such file" in done.stderr
    done = run("uml-6.1x")
    assert (done.returncode, b"uml-6.1" in done.stderr) == (2, True)
    done = run("native", "--share", "/no/such/directory")
    assert done.returncode == 2
    done = run("native", "--limit", "overcommit=2")
    assert done.returncode == 3
    assert b"remedy: take a guest with a kernel of its own" in done.stderr


def test_a_directory_that_is_too_large_for_a_copy_is_told(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(33 << 20)
    done = run("qemu-x86_64", "--share", str(tmp_path), "--", "ls")
    assert done.returncode == 2
    assert b"more than 32 MiB" in done.stderr
    assert b"remedy: --share another directory" in done.stderr


@pytest.mark.parametrize("guest", ["uml-6.1", "qemu-x86_64"])
def test_a_guest_has_as_much_memory_as_in_a_run(guest: str, tmp_path: Path) -> None:
    def total(text: str) -> int:
        return next(int(line.split()[1]) for line in text.splitlines() if "MemTotal" in line)

    by_hand = total(run(guest, "--", "cat", "/proc/meminfo").stdout.decode())
    words = ("--guest", guest, "--limit", "none", "--subject", "/bin/cat", "--arg", "/proc/meminfo")
    command = [*SHELL[:-1], "run", *words, "--run-dir", str(tmp_path / "run")]
    subprocess.run(command, capture_output=True, check=True, timeout=200)
    in_a_run = total((tmp_path / "run/cells" / guest / "none/cat/stdout").read_text())
    with open_guest(guest) as opened:
        verdict = opened.run_cell("/bin/cat", "/proc/meminfo")
    in_python = total((Path(verdict.artefacts) / "stdout").read_text())
    # a kernel of UML takes a little of it, another amount in each boot
    assert [in_a_run, in_python] == pytest.approx([by_hand] * 2, rel=0.02)
    assert by_hand > 1800 << 10
