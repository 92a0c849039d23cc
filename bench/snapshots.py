"""Guests restored from a snapshot, compared with cold boots, and with virtme-ng if it is installed.

virtme-ng (`pip install virtme-ng`) boots the newest kernel of /boot (one with 9p, such as Debian's
linux-image-amd64), or the kernel $VNG_KERNEL. Both run the same program in turns, a ctypes mmap of
64 KiB at 0xF8<<32, measured from the command to its output. The work is not quite equal: a guest of
virtme-ng sees all files of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.guests import Line, cell, medians, seconds, workplace
from foothold_lab.harness.guests.base import run_program
from foothold_lab.harness.guests.catalogue import GuestType, catalogue
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.images.builder import Builder

ASK = (
    "import ctypes; c = ctypes.CDLL(None); c.mmap.restype = ctypes.c_void_p;"
    "print(hex(c.mmap(ctypes.c_void_p(0xf8 << 32), 65536, 0, 0x22, -1, 0)))"
)


# seconds to the first answer, and the ratio of the first cells
USUAL, SLOWER = (0.5, 0.35), (0.7, 0.4)
FIRST = (
    "qemu-x86_64",
    "qemu-x86_64-la57",
    "qemu-i386",
    "qemu-i386-4g",
    "qemu-arm64",
    "qemu-arm64-va52",
)


def first_answer(kind: GuestType, builder: Builder) -> float:
    """Return seconds from the start of QEMU to the first answer over SSH."""
    with workplace(builder, kind) as place:
        guest = kind.make(place)
        try:
            return seconds(lambda: guest.boot(Deadline.after(120)))
        finally:
            guest.stop()


def first_cell(kind: GuestType, builder: Builder, *, snapshots: bool) -> float:
    """Return seconds from the start of QEMU to the verdict of one cell."""
    with workplace(builder, kind) as place:
        guest = kind.make(replace(place, snapshots=snapshots))
        try:
            return seconds(
                lambda: cell(
                    guest,
                    guest.boot(Deadline.after(120)),
                    Cell(guest=kind.name, limits=Limits(), policy="after"),
                )
            )
        finally:
            guest.stop()


def first_question(kind: GuestType, builder: Builder) -> float:
    """Return seconds from the start of QEMU to the output of ASK."""
    with workplace(builder, kind) as place:
        guest = kind.make(place)

        def ask() -> None:
            guest.boot(Deadline.after(120))
            argv = [guest.paths.python, "-I", "-S", "-c", ASK]
            record = run_program(guest, argv, Limits(), Deadline.after(120))
            assert record.stdout == b"0xf800000000\n", record

        try:
            return seconds(ask)
        finally:
            guest.stop()


def virtme(kernel: str) -> float:
    """Return the seconds of virtme-ng for the same program."""
    argv = ["vng", "--run", kernel, "--disable-kvm", "--memory", "256M", "--cpus", "1", "--",
            "python3", "-I", "-S", "-c", ASK]  # fmt: skip

    def once() -> None:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
        assert "0xf800000000" in done.stdout, done

    return seconds(once)


def lines(builder: Builder, times: int, kernel: str) -> Iterator[Line]:
    """Yield the lines of all emulated guests that have snapshots."""
    for name, kind in catalogue(builder).items():
        if not name.startswith("qemu-") or name.startswith("qemu-user"):
            continue
        quick, ratio = USUAL if name in FIRST or "riscv64" in name else SLOWER
        [answer] = medians(times, lambda kind=kind: first_answer(kind, builder))  # type: ignore[misc]
        yield Line(
            name=f"{name}: restored, to the first answer", ours=answer, reference=None, goal=quick
        )
        warm, cold = medians(
            times,
            lambda kind=kind: first_cell(kind, builder, snapshots=True),  # type: ignore[misc]
            lambda kind=kind: first_cell(kind, builder, snapshots=False),  # type: ignore[misc]
        )
        yield Line(
            name=f"{name}: first cell, restored / cold", ours=warm, reference=cold, goal=ratio
        )
    if kernel:
        kind = catalogue(builder)["qemu-x86_64"]
        ours, theirs = medians(
            max(3, times // 2), lambda: first_question(kind, builder), lambda: virtme(kernel)
        )
        yield Line(
            name="qemu-x86_64: one question / virtme-ng", ours=ours, reference=theirs, goal=0.1
        )


def kernel_for_virtme() -> str:
    """Return a kernel that virtme-ng can boot. Without one, print why and return an empty text."""
    for program, remedy in (("vng", "pip install virtme-ng"), ("qemu-system-x86_64", "apt-get")):
        if not shutil.which(program):
            print(f"not compared with virtme-ng: {program} is not installed ({remedy})")
            return ""
    kernels = sorted(k for k in Path("/boot").glob("vmlinuz-*") if "cloud" not in k.name)
    if not (kernel := os.environ.get("VNG_KERNEL") or next(map(str, reversed(kernels)), "")):
        print("not compared with virtme-ng: no kernel in /boot (apt-get install linux-image-amd64)")
        return ""
    try:
        virtme(kernel)
    except (AssertionError, subprocess.SubprocessError) as error:
        print(f"not compared with virtme-ng: {kernel}: {error}"[:2000])
        return ""
    return kernel


def main(times: int = 7) -> None:
    """Print the table."""
    kernel = kernel_for_virtme()
    print(f"{'':44} {'ours':>8} {'ref.':>8} {'ratio':>8} {'goal':>8}")
    for line in lines(Builder(), times, kernel):
        print(line, flush=True)
