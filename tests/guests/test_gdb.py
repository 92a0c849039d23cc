"""gdb on a UML kernel: it stops in the kernel for what a subject asks, and goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.guests.conftest import Sit

HINT = """
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
print("granted", hex(libc.mmap(ctypes.c_void_p(0xF8 << 32), 65536, 0, 0x22, -1, 0)))
"""

needs_gdb = pytest.mark.skipif(not shutil.which("gdb"), reason="gdb: apt-get install gdb")


@needs_gdb
@pytest.mark.parametrize(
    "guest, answer", [("uml-bookworm", "0x405"), ("uml-testing", "0xf800000000")]
)
def test_a_break_in_do_mmap(guest: str, answer: str) -> None:
    commands = (
        "break do_mmap if $rsi == 0xf8ULL<<32",
        "continue",
        'printf "asked for %#lx, %#lx bytes\\n", $rsi, $rdx',
        "backtrace 6",
        "delete",
        "detach",
    )
    words = [word for command in commands for word in ("--command", command)]
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", "gdb", guest, "--batch", *words, "--",
         "python3", "-c", HINT],
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "asked for 0xf800000000, 0x10000 bytes" in done.stdout
    assert "in ksys_mmap_pgoff ()" in done.stdout
    assert f"granted {answer}" in done.stdout


@needs_gdb
def test_a_person_interrupts_the_kernel(sit: Sit) -> None:
    person = sit("gdb", "uml-bookworm")
    path = person.sees(r"\(gdb\) ").partition("foothold shell ")[2].split()[0]
    person.tty.sendline("continue")
    person.sees("Continuing")
    inside = [sys.executable, "-m", "foothold_lab.harness.cli", "shell", path, "--", "uname", "-r"]
    assert subprocess.run(inside, capture_output=True, timeout=60).stdout.startswith(b"6.1")
    person.tty.send("\x03")
    person.sees("SIGINT")
    person.sees(r"\(gdb\) ")
    assert person.leaves("quit") == 0


def test_a_guest_without_such_a_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "foothold_lab.harness.cli", "gdb", "native"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "remedy: take a UML guest" in done.stderr
