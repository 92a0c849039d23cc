"""Other machines: one boot each, its address space as measured, and both sides of the repair."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath, Result
from foothold_lab.harness.subjects.subject import of_program
from foothold_lab.images import compiler, rootfs
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, PORTS, Port
from tests.guests.conftest import happen
from tests.host_compiler import dynamic_compiler

LOW, HIGH = (ReservationPath.LOW, Outcome.ALLOCATES), (ReservationPath.HIGH, Outcome.ALLOCATES)
DIES = (ReservationPath.REFUSED, Outcome.DIES)
# guest, bits, levels, is a hint at its high address honoured; before the repair, after it
MACHINES = [
    ("qemu-x86_64-la57", 56, 5, True, HIGH, HIGH),
    ("qemu-x86_64-5.10", 47, 4, True, HIGH, HIGH),
    ("qemu-x86_64-7.2", 47, 4, True, HIGH, HIGH),
    ("qemu-i386", 32, 3, True, LOW, LOW),
    ("qemu-i386-4g", 32, 3, True, LOW, LOW),
    ("qemu-arm64", 48, 4, True, HIGH, HIGH),
    ("qemu-arm64-va52", 52, 5, True, HIGH, HIGH),
    ("qemu-arm64-16k", 47, 3, True, HIGH, HIGH),
    ("qemu-arm64-16k-va52", 52, 4, True, HIGH, HIGH),
    ("qemu-riscv64-sv39", 38, 3, False, DIES, LOW),
    ("qemu-riscv64-sv48", 47, 4, True, HIGH, HIGH),
    ("qemu-riscv64-sv57", 56, 5, True, HIGH, HIGH),
    ("qemu-ppc64le-64k", 52, 4, True, HIGH, HIGH),
    ("qemu-ppc64le", 46, 4, True, HIGH, HIGH),
    ("qemu-s390x", 64, 5, True, HIGH, HIGH),
    ("qemu-mips64el", 40, 3, True, HIGH, HIGH),
    ("qemu-loong64", 47, 3, True, HIGH, HIGH),
    ("qemu-armhf", 32, 3, True, LOW, LOW),
    ("qemu-user-arm64", 47, 4, True, HIGH, HIGH),
    ("qemu-user-arm64-39bit", 39, 3, False, DIES, LOW),
    ("qemu-user-arm64-16k", 47, 3, True, HIGH, HIGH),
    ("qemu-user-arm64-64k", 47, 3, True, HIGH, HIGH),
    ("qemu-user-arm64-10.0", 47, 4, True, HIGH, HIGH),
    ("qemu-user-arm64-10.0-39bit", 39, 3, False, DIES, LOW),
    ("qemu-user-riscv64", 47, 4, True, HIGH, HIGH),
    ("qemu-user-riscv64-39bit", 39, 3, False, DIES, LOW),
    ("qemu-user-riscv64-10.0", 47, 4, True, HIGH, HIGH),
    ("qemu-user-riscv64-10.0-39bit", 39, 3, False, DIES, LOW),
    ("qemu-user-i386", 32, 3, True, LOW, LOW),
    ("qemu-user-i386-3g", 32, 3, True, LOW, LOW),
    ("qemu-user-i386-10.0", 32, 3, True, LOW, LOW),
    ("qemu-user-armhf", 32, 3, True, LOW, LOW),
    ("qemu-user-ppc64le", 47, 4, True, HIGH, HIGH),
    ("qemu-user-mips64el", 47, 4, True, HIGH, HIGH),
    ("qemu-user-s390x-10.0", 47, 4, True, HIGH, HIGH),
]
# those of the plan `weekly`; the first boots without a snapshot
WEEKLY = (
    "qemu-mips64el", "qemu-armhf", "qemu-ppc64le", "qemu-ppc64le-64k", "qemu-loong64", "qemu-s390x",
)  # fmt: skip
# pages that are not of 4 KiB
PAGES = {"16k": 16 << 10, "64k": 64 << 10, "qemu-mips64el": 16 << 10, "qemu-loong64": 16 << 10}
# a large reservation at a hint, some of it used: what a runtime does, as short as can be
PROBE = """
#include <stdio.h>
#include <sys/mman.h>
int main(void)
{
	void *hint = (void *)(sizeof(void *) == 8 ? 0xf8UL << 16 << 16 : 0x30000000UL);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *got = mmap(hint, 256 << 20, PROT_NONE, flags, -1, 0);
	if (got == MAP_FAILED || mprotect(got, 65536, PROT_READ | PROT_WRITE))
		return 1;
	got[0] = 1;
	printf("%p\\n", (void *)got);
	return 0;
}
"""


@pytest.mark.parametrize(
    ("guest", "bits", "levels", "honoured", "before", "after"),
    [
        pytest.param(*line, marks=pytest.mark.weekly) if line[0] in WEEKLY else line
        for line in MACHINES
    ],
    ids=lambda each: each,
)
def test_a_machine(
    guest: str,
    bits: int,
    levels: int,
    honoured: bool,
    before: tuple[ReservationPath, Outcome],
    after: tuple[ReservationPath, Outcome],
    builder: Builder,
    tmp_path: Path,
) -> None:
    cells = [
        Cell(guest=guest, limits=Limits(), policy="before"),
        Cell(guest=guest, limits=Limits(), policy="after"),
    ]
    run = happen(cells, builder, tmp_path)
    [ready] = [each for each in run.events if isinstance(each, events.GuestReady)]
    facts = ready.facts
    assert (facts.bits, facts.levels, facts.hint_high.honoured) == (bits, levels, honoured)
    assert facts.pointer_size == (4 if bits == 32 else 8)
    assert facts.page_size == next((n for word, n in PAGES.items() if word in guest), 4 << 10)
    for cell, expected in zip(cells, (before, after), strict=True):
        verdict = run.verdicts[cell.id]
        assert verdict.result is Result.PASS, verdict.findings
        assert verdict.observed
        assert (verdict.observed.path, verdict.observed.outcome) == expected
        assert "trace" in verdict.observed.evidence


def test_every_machine_has_its_line(builder: Builder) -> None:
    foreign = {kind.name for kind in catalogue(builder).values() if kind.name.startswith("qemu-")}
    assert {line[0] for line in MACHINES} == foreign - {"qemu-x86_64"}


@pytest.fixture(scope="module")
def compiled(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The probe for other machines, static and dynamically linked."""
    place = tmp_path_factory.mktemp("probes")
    (place / "probe.c").write_text(PROBE)
    made = {}
    for name in ("arm64", "armhf", "i386", "mips64el", "ppc64el", "riscv64", "s390x"):
        port = PORTS[name]
        for linked, command in (
            ("static", [*compiler.command(builder.image, port), "-static"]),
            ("dynamic", dynamic_compiler(builder, port)),
        ):
            made[f"{name}-{linked}"] = program = place / f"probe-{name}-{linked}"
            subprocess.run([*command, "-o", program, place / "probe.c"], check=True)
    return made


@pytest.mark.parametrize(
    ("program", "guests", "others"),
    [
        # the kernel of qemu-x86_64 runs programs of i386 as well
        (
            "i386-static",
            {"qemu-x86_64": ReservationPath.LOW, "qemu-user-i386": ReservationPath.LOW},
            ["uml-6.1"],
        ),
        (
            "i386-dynamic",
            {
                "qemu-user-i386": ReservationPath.LOW,
                "qemu-user-i386-3g": ReservationPath.LOW,
                "qemu-user-i386-10.0": ReservationPath.LOW,
            },
            [],
        ),
        (
            "arm64-static",
            {
                "qemu-user-arm64": ReservationPath.HIGH,
                "qemu-user-arm64-39bit": ReservationPath.HIGH,
            },
            ["native", "qemu-user-riscv64"],
        ),
        # so do arm64 kernels for arm, with pages of 4 and 16 KiB
        (
            "armhf-static",
            {
                "qemu-arm64": ReservationPath.LOW,
                "qemu-arm64-16k": ReservationPath.LOW,
                "qemu-user-armhf": ReservationPath.LOW,
            },
            ["qemu-user-arm64"],
        ),
        ("armhf-dynamic", {"qemu-user-armhf": ReservationPath.LOW}, []),
        ("ppc64el-dynamic", {"qemu-user-ppc64le": ReservationPath.HIGH}, ["native"]),
        ("mips64el-dynamic", {"qemu-user-mips64el": ReservationPath.HIGH}, ["native"]),
        ("s390x-dynamic", {"qemu-user-s390x-10.0": ReservationPath.HIGH}, ["native"]),
        (
            "arm64-dynamic",
            {
                "qemu-user-arm64": ReservationPath.HIGH,
                "qemu-user-arm64-39bit": ReservationPath.HIGH,
                "qemu-user-arm64-10.0": ReservationPath.HIGH,
                "qemu-user-arm64-16k": ReservationPath.HIGH,
                "qemu-user-arm64-64k": ReservationPath.HIGH,
            },
            [],
        ),
        (
            "riscv64-static",
            {
                "qemu-user-riscv64": ReservationPath.HIGH,
                "qemu-user-riscv64-39bit": ReservationPath.HIGH,
            },
            [],
        ),
        # its libraries are those of the guest's root
        (
            "riscv64-dynamic",
            {
                "qemu-riscv64-sv39": ReservationPath.HIGH,
                "qemu-user-riscv64": ReservationPath.HIGH,
                "qemu-user-riscv64-39bit": ReservationPath.HIGH,
            },
            ["native"],
        ),
    ],
)
def test_a_program_of_another_machine(
    program: str,
    guests: dict[str, ReservationPath],
    others: list[str],
    compiled: dict[str, Path],
    builder: Builder,
    tmp_path: Path,
) -> None:
    subject = of_program(str(compiled[program]))
    starts = Expectation(path=None, outcome=Outcome.STARTS)
    cells = [
        Cell(guest=guest, limits=Limits(), policy="", subject=subject.name, expected=starts)
        for guest in [*guests, *others]
    ]
    run = happen(cells, builder, tmp_path, subjects={subject.name: subject})
    for cell in cells:
        verdict = run.verdicts[cell.id]
        if cell.guest in others:
            assert verdict.result is Result.UNSUPPORTED
            assert verdict.findings[0].code is Code.UNSUPPORTED_SUBJECT
            assert f"{subject.name} is for {subject.machine}" in verdict.reason
            assert f"take {next(iter(guests))}" in verdict.remedy or "qemu-" in verdict.remedy
            continue
        assert verdict.result is Result.PASS, verdict.findings
        assert verdict.observed
        assert verdict.observed.path is guests[cell.guest]
        assert "256M --- at 0x" in verdict.observed.evidence["trace"]
    booted = {each.guest for each in run.events if isinstance(each, events.GuestBooting)}
    assert booted == set(guests)  # nobody else is even started


# compiles constants whose size differs from machine to machine, and prints what a .pyc has of them
COMPILE = """
import marshal
source = "def f(a=1 << 31, b=-1 << 63, *, c=2**100): return [a * 1.5, b'abc', 'é', {1, 2 << 40}, c]"
print(marshal.dumps(compile(source, 'module.py', 'exec')).hex())
"""


@pytest.mark.parametrize(
    "port",
    [each for each in PORTS.values() if each.foreign and each.suite == AMD64.suite],
    ids=lambda port: port.name,
)
def test_bytecode_does_not_depend_on_the_machine(port: Port, builder: Builder) -> None:
    """So the Python of this machine compiles the library of a port, without an emulator."""
    compiled = [
        rootfs.run_python(
            each,
            builder.image(each.image("userland")),
            builder.image(each.emulators) if each.foreign else None,
            *("-c", COMPILE),
        )
        for each in (AMD64, port)
    ]
    assert compiled[0] == compiled[1]
