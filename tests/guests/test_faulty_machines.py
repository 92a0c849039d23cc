"""Faults in programs of machines whose calls differ from those of their guest, and with filters."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.guests.limit_support import support_for
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, ARMHF, I386, S390X, Port
from tests.guests.conftest import open_or_skip
from tests.libseccomp import needs_libseccomp

ONE, TWO, CHILD = 0x60000000, 0x61000000, 0x62000000
# guest, the port of the program, its machine
PROGRAMS = [
    ("native", AMD64, "x86_64"),
    ("qemu-s390x", S390X, "s390x"),
    ("qemu-x86_64", I386, "i386"),
    ("qemu-arm64", ARMHF, "arm"),
    ("qemu-arm64-16k", ARMHF, "arm"),
]
# what the program says under a limit, instead of the places that it asks for
FAULTS = {
    "fail=hinted:1:ENOMEM": {"one": -errno.ENOMEM},
    "fail=mmap[anonymous,write]:%2:EPERM": {"two": -errno.EPERM},
    "fail=mprotect[exec]:*:EACCES": {"exec": -errno.EACCES},
    "fail=personality:1:EIO": {"personality": -errno.EIO},
    f"occupied={TWO:#x}-{TWO + 0x100000:#x}": {"two": None},
    "hints=ignored": {"one": None, "two": None, "child": None},
}
FILTERS = {
    "seccomp=docker+fail=hinted:1:ENOMEM": {
        "one": -errno.ENOMEM, "personality": -errno.EPERM,
    },
    "wx=refused+fail=hinted:2:ENOMEM+hints=ignored@0x60000000-0x60001000": {
        "one": None, "two": -errno.ENOMEM,
    },
    "wx=refused+fail=personality:*:EIO": {"exec": -1, "personality": -errno.EIO},
    "wx=refused+seccomp=docker+ceiling=38bit": {"exec": -1, "personality": -errno.EPERM},
    # the fault precedes the filter, which refuses the call with EPERM
    "seccomp=docker+fail=personality:1:EIO": {"personality": -errno.EIO},
}  # fmt: skip


def program(builder: Builder, port: Port, place: Path) -> Path:
    source = Path(__file__).with_name("fault_probe.c")
    command = compiler.command(builder.image, port)
    subprocess.run([*command, "-static", "-O1", "-o", place / "probe", source], check=True)
    return place / "probe"


def said(verdict: Verdict) -> dict[str, int]:
    """Return what the program printed: addresses, and errnos as negative numbers."""
    assert verdict.result is Result.PASS, str(verdict)
    seen = {}
    for line in (Path(verdict.artefacts) / "stdout").read_text().splitlines():
        name, _, value = line.partition(" ")
        seen[name] = -int(value[6:]) if value.startswith("errno") else int(value, 16)
    return seen


def check(guest: OpenGuest, probe: Path, limit: str, expected: dict[str, int | None]) -> None:
    verdict = guest.run_cell(probe, limits=limit, expect="starts")
    seen = said(verdict)
    for name, asked in {"one": ONE, "two": TWO, "child": CHILD, **expected}.items():
        if asked is None:
            assert seen[name] > 0
            assert seen[name] not in (ONE, TWO, CHILD), (limit, name)
        elif asked == -1:  # by the kernel, or by a filter
            assert seen[name] in (-errno.EACCES, -errno.EPERM), (limit, name)
        else:
            assert seen[name] == asked, (limit, name)
    assert seen.keys() == {"one", "two", "child", *expected}
    assert verdict.observed
    assert "trace" in verdict.observed.evidence
    trace = next(Path(verdict.artefacts).glob("strace")).read_text()
    assert f"{CHILD:#x}, 1048576, PROT_READ|PROT_WRITE" in trace
    refused = sum(each is not None and each < 0 for each in expected.values())
    assert trace.count(" = -1 E") == refused


@pytest.mark.parametrize(("name", "port", "machine"), PROGRAMS, ids=lambda each: str(each)[:16])
def test_faults(name: str, port: Port, machine: str, builder: Builder, tmp_path: Path) -> None:
    probe = program(builder, port, tmp_path)
    with open_or_skip(name) as guest:
        for limit, expected in FAULTS.items():
            check(guest, probe, limit, expected)
        if machine == guest.facts.program_machine:
            return
        for limit, why in (
            ("ceiling=39bit", "the address space ends at 0x100000000"),
            ("occupied=0x100000000-0x100010000", "cannot be occupied"),
        ):
            support = support_for(guest.guest, guest.facts, Limits.parse(limit), machine)
            assert why in support.reason


@needs_libseccomp
@pytest.mark.parametrize(
    ("name", "port"),
    [("native", AMD64), ("uml-bookworm", AMD64), ("qemu-x86_64", AMD64), ("qemu-x86_64", I386)],
    ids=lambda each: str(each)[:16],
)
def test_a_fault_and_a_filter(name: str, port: Port, builder: Builder, tmp_path: Path) -> None:
    probe = program(builder, port, tmp_path)
    with open_or_skip(name) as guest:
        for limit, expected in FILTERS.items():
            if port is AMD64 or "ceiling" not in limit:
                check(guest, probe, limit, expected)


def test_a_filter_without_a_fault_holds_for_32_bit_programs(
    builder: Builder, tmp_path: Path
) -> None:
    """Linux 6.1 has no PR_SET_MDWE: a filter does it."""
    probe = program(builder, I386, tmp_path)
    with open_or_skip("qemu-x86_64") as guest:
        verdict = guest.run_cell(probe, limits="wx=refused", expect="starts")
    assert said(verdict)["exec"] == -errno.EPERM
