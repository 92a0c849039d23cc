"""The six verbs mean the same in every guest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cells import Limits
from harness.deadline import Deadline
from harness.errors import SubjectError
from harness.guests.catalogue import known_guests, make
from harness.guests.guest import Guest, Workplace
from images.builder import Builder
from tests.guests.conftest import Boot

GUESTS = ("native", "docker", "qemu-x86_64", "uml-bookworm", "uml-trixie", "uml-testing")
SCRIPT = """
import os, resource, sys
print(resource.getrlimit(resource.RLIMIT_AS)[0], os.getpgid(0) == os.getpid(), sys.argv[1])
print("and on stderr", file=sys.stderr)
sys.exit(7)
"""


@pytest.fixture(params=GUESTS)
def guest(request: pytest.FixtureRequest, place: Workplace, boot: Boot, builder: Builder) -> Guest:
    one = make(builder, known_guests(builder)[request.param], place)
    boot(one)
    return one


def test_every_guest(guest: Guest, tmp_path: Path) -> None:
    odd = "two words, 'quotes', $HOME and ü"
    argv = [guest.python, "-c", SCRIPT, odd]
    record = guest.run(argv, Limits(512 << 20), Deadline.after(120))
    assert record.stdout.decode() == f"{512 << 20} True {odd}\n"
    assert record.stderr == b"and on stderr\n"
    assert (record.ending.status, record.ending.signal, record.ending.outlived) == (7, 0, 0)
    assert 0 < record.ending.wall <= record.seconds < 120
    assert record.ending.max_rss > 1 << 20

    killed = guest.run([guest.python, "-c", "import os; os.abort()"], Limits(), Deadline.after(120))
    assert (killed.ending.status, killed.ending.signal) == (-1, 6)

    with pytest.raises(SubjectError, match="cannot execute"):
        guest.run(["/no/such/program"], Limits(), Deadline.after(120))

    data = os.urandom(100_000)
    (tmp_path / "in").write_bytes(data)
    inside = str(tmp_path / "inside") if guest.name == "native" else "/tmp/inside"
    guest.push(tmp_path / "in", inside)
    guest.pull(inside, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data

    assert isinstance(guest.diagnose(), str)
    guest.stop()
    guest.stop()


def test_maps_are_read_while_a_program_is_held(guest: Guest) -> None:
    hold = (
        "import ctypes, sys\n"
        "libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "at = libc.mmap(ctypes.c_void_p(0x20000000), 123 << 12, 0, 0x22, -1, 0)\n"
        'print(\'{"event":"hold","at":"now"}\', flush=True)\n'
        "sys.stdin.readline(); print(hex(at))\n"
    )
    record = guest.run([guest.python, "-c", hold], Limits(), Deadline.after(120))
    at = int(record.stdout.split()[-1], 16)
    assert at == 0x20000000
    assert any(
        line.startswith(f"{at:08x}-{at + (123 << 12):08x} ---p")
        for line in record.maps["now"].splitlines()
    )
