"""Kernels of other releases than the usual guests have: limits, faults, a program of the user."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model import events
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath, Result
from foothold_lab.harness.subjects.subject import ALLOCATOR, of_program
from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64
from tests.guests.conftest import happen

LOW, HIGH = ReservationPath.LOW, ReservationPath.HIGH
KERNELS = [
    # guest, width of an address, transparent huge pages, where allocator and program reserve
    ("uml-bullseye", 39, "", LOW),
    ("qemu-x86_64-bullseye", 47, "[always] madvise never", HIGH),
    ("qemu-x86_64-testing", 47, "[always] madvise never", HIGH),
]
LIMITS = (
    "none", "rlimit_as=300M", "memory=64M", "overcommit=2", "hints=ignored", "fail=hinted:1:ENOMEM",
    "ceiling=38bit",
)  # fmt: skip

# reserves 256 MiB at the hint of 2012, uses some of it, and prints the mode of huge pages
PROGRAM = """
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char mode[64], *got = mmap((void *)(0xf8UL << 32), 256 << 20, PROT_NONE, flags, -1, 0);
	if (got == MAP_FAILED || mprotect(got, 65536, PROT_READ | PROT_WRITE))
		return 3;
	got[0] = 1;
	int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
	ssize_t length = fd < 0 ? 0 : read(fd, mode, sizeof mode);
	return write(1, mode, length) != length;
}
"""


@pytest.fixture(scope="module")
def program(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("program")
    (place / "reserve.c").write_text(PROGRAM)
    command = compiler.command(builder.image, AMD64)
    subprocess.run([*command, "-static", "-o", place / "reserve", place / "reserve.c"], check=True)
    return place / "reserve"


@pytest.mark.parametrize(("alias", "bits", "huge", "path"), KERNELS)
def test_a_kernel_of_another_release(
    alias: str,
    bits: int,
    huge: str,
    path: ReservationPath,
    program: Path,
    builder: Builder,
    tmp_path: Path,
) -> None:
    guest = known_guests(builder)[alias]
    subject = of_program(str(program))
    cells = [Cell(guest=guest, limits=Limits(), policy=policy) for policy in ("before", "modern")]
    cells += [Cell(guest=guest, limits=Limits.parse(each), policy="after") for each in LIMITS]
    cells += [
        Cell(
            guest=guest,
            limits=Limits.parse(limit),
            policy="",
            subject=subject.name,
            expected=Expectation.parse(expected),
        )
        for limit, expected in (("rlimit_as=64M", "status:3"), ("none", "starts"))
    ]
    run = happen(cells, builder, tmp_path, subjects={"allocator": ALLOCATOR, subject.name: subject})
    [ready] = [each for each in run.events if isinstance(each, events.GuestReady)]
    assert guest.endswith("-" + ".".join(ready.facts.release.split(".")[:2]))
    assert ready.facts.bits == bits
    for cell in cells:
        verdict = run.verdicts[cell.id]
        assert verdict.result is Result.PASS, (cell.id, verdict.reason, verdict.findings)
        assert verdict.observed
        assert "trace" in verdict.observed.evidence
    allocated, started = run.verdicts[cells[2].id].observed, run.verdicts[cells[-1].id].observed
    assert allocated
    assert started
    assert (allocated.path, allocated.outcome) == (path, Outcome.ALLOCATES)
    assert started.path is path
    assert Path(run.verdicts[cells[-1].id].artefacts, "stdout").read_text().strip() == huge
