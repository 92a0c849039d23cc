"""The operations of a guest do the same in every guest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.guests.base import GuestConfig, run_program
from foothold_lab.harness.guests.catalogue import known_guests, make
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import SubjectError
from foothold_lab.images.builder import Builder
from tests.guests.conftest import BootGuest

UML = ("uml-bookworm", "uml-trixie", "uml-testing")
SCRIPT = """
import os, resource, sys
print(resource.getrlimit(resource.RLIMIT_AS)[0], os.getpgid(0) == os.getpid(), sys.argv[1])
print("and on stderr", file=sys.stderr)
sys.exit(7)
"""
pytestmark = pytest.mark.foothold_guest("native", "docker", "podman", "qemu-x86_64", *UML)


def test_open_push_pull_and_diagnose(foothold_guest: OpenGuest, tmp_path: Path) -> None:
    one = foothold_guest.guest
    odd = "two words, 'quotes', $HOME and ü"
    argv = [one.paths.python, "-c", SCRIPT, odd]
    record = run_program(one, argv, Limits(rlimit_as=512 << 20), Deadline.after(120))
    assert record.stdout.decode() == f"{512 << 20} True {odd}\n"
    assert record.stderr == b"and on stderr\n"
    assert (record.ending.status, record.ending.signal, record.ending.outlived) == (7, 0, 0)
    assert 0 < record.seconds < 120
    assert 0 < record.ending.wall < 120  # of the guest's clock: it catches up after it had to wait
    assert record.ending.max_rss > 1 << 20

    killed = run_program(
        one, [one.paths.python, "-c", "import os; os.abort()"], Limits(), Deadline.after(120)
    )
    assert (killed.ending.status, killed.ending.signal) == (-1, 6)

    with pytest.raises(SubjectError, match="cannot execute"):
        run_program(one, ["/no/such/program"], Limits(), Deadline.after(120))

    data = os.urandom(100_000)
    (tmp_path / "in").write_bytes(data)
    inside = str(tmp_path / "inside") if one.name == "native" else "/tmp/inside"
    one.push(tmp_path / "in", inside)
    one.pull(inside, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data

    assert isinstance(one.diagnose(), str)


@pytest.mark.parametrize("name", ["native", "uml-trixie", "qemu-x86_64"])
def test_can_be_stopped_twice(
    name: str, place: GuestConfig, boot: BootGuest, builder: Builder
) -> None:
    one = make(builder, known_guests(builder)[name], place)
    boot(one)
    one.stop()
    one.stop()


def test_reads_the_maps_at_a_checkpoint(foothold_guest: OpenGuest) -> None:
    hold = (
        "import ctypes, sys\n"
        "libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "at = libc.mmap(ctypes.c_void_p(0x20000000), 123 << 12, 0, 0x22, -1, 0)\n"
        'print(\'{"event":"hold","at":"now"}\', flush=True)\n'
        "sys.stdin.readline(); print(hex(at))\n"
    )
    record = run_program(
        foothold_guest.guest,
        [foothold_guest.guest.paths.python, "-c", hold],
        Limits(),
        Deadline.after(120),
    )
    at = int(record.stdout.split()[-1], 16)
    assert at == 0x20000000
    assert any(
        line.startswith(f"{at:08x}-{at + (123 << 12):08x} ---p")
        for line in record.maps["now"].splitlines()
    )
