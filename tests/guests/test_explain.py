"""What a verdict says of a program that the kernel refused something, in real guests."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from foothold_lab.harness import subjects
from foothold_lab.harness.cli.main import main
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.verdict import Expectation, Result, Verdict
from foothold_lab.images import compiler
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import AMD64, ARM64
from tests.guests.conftest import happen

GUESTS = ("native", "uml-6.1", "uml-7.2", "qemu-x86_64")
# the C library calls mprotect without a key
PKEY = """
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
    char *p = mmap((void *)0x100000000000, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long key = syscall(SYS_pkey_alloc, 0, 0);
    return syscall(SYS_pkey_mprotect, p, 64 << 20, PROT_READ | PROT_WRITE, key < 0 ? -1 : key) != 0;
}
"""
SEGMENT = """
#include <sys/mman.h>
#include <sys/shm.h>
int main(void) {
    char *p = mmap((void *)0x10000000, 128 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int id = shmget(IPC_PRIVATE, 64 << 20, IPC_CREAT | 0600);
    void *at = shmat(id, p + (32 << 20), SHM_REMAP);
    shmctl(id, IPC_RMID, 0);
    return at != p + (32 << 20);
}
"""
MOVES = """
#define _GNU_SOURCE
#include <sys/mman.h>
int main(void) {
    char *p = mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mremap(p, 64 << 20, 64 << 20, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0) == MAP_FAILED;
}
"""

REFUSED = """
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
    char *p = 0;
    for (int i = 0; i < 40; i++)
        p = mmap(0, (64 << 20) + (i << 12), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 20; i++)
        mprotect(p + (1L << 45), 4096, PROT_READ | PROT_EXEC);
    if (mmap(0, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0) == MAP_FAILED)
        fprintf(stderr, "FATAL: no huge page\\n");
    return 3;
}
"""

# reservations of Go's runtime in February 2012, before the change and after it
BEFORE = """
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
    int rwx = PROT_READ | PROT_WRITE | PROT_EXEC, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *want = (void *)0xf840000000;
    void *got = mmap(want, 1 << 20, rwx, flags, -1, 0);
    if (got == want)
        return 0;
    munmap(got, 1 << 20);
    if (mmap(want, 1 << 20, rwx, flags | MAP_FIXED, -1, 0) == want)
        return 0;
    fprintf(stderr, "runtime: address space conflict\\nthrow: SysMap\\n");
    return 2;
}
"""
AFTER = """
#include <stdio.h>
#include <sys/mman.h>
int main(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *want = (void *)0xf800000000, *low = (void *)0x4c00000;
    if (mmap(want, 64 << 10, PROT_NONE, flags, -1, 0) == want)
        return 0;
    void *got = mmap(low, 640 << 20, PROT_NONE, flags, -1, 0);
    if (got != MAP_FAILED)
        return mprotect(got, 4096, PROT_READ | PROT_WRITE) != 0;
    fprintf(stderr, "throw: runtime: cannot reserve arena virtual address space\\n");
    return 2;
}
"""

# linked at a terabyte; without a C library, which cannot be linked there
FAR = """
void _start(void) {
    __asm__ volatile("mov $60, %eax; xor %edi, %edi; syscall");
    __builtin_unreachable();
}
"""
FAR_FLAGS = ("-nostdlib", "-no-pie", "-Wl,--image-base=0x10000000000")
EXIT = """
void _start(void) {
    __asm__ volatile("mov x0, #0; mov x8, #93; svc #0");
    __builtin_unreachable();
}
"""

IDLE = """
void _start(void) {
    /* ppoll(NULL, 0, NULL, NULL) */
    __asm__ volatile("mov x0, #0; mov x1, #0; mov x2, #0; mov x3, #0; mov x8, #73; svc #0");
    __builtin_unreachable();
}
"""

BANDS = """
#include <stdio.h>
#include <sys/resource.h>
int main(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    unsigned long m = limit.rlim_cur >> 20;
    if (limit.rlim_cur == RLIM_INFINITY)
        return 0;
    if (m < 100 || (m >= 1100 && m < 1500) || (m >= 2000 && m < 2600)) {
        fprintf(stderr, "fatal error: no cage\\n");
        return 1;
    }
    return 0;
}
"""


def compiled(
    builder: Builder,
    directory: Path,
    *,
    arm64: bool = False,
    flags: Sequence[str] = (),
    **sources: str,
) -> dict[str, subjects.Subject]:
    """Make static programs, for x86_64 or for arm64."""
    command = compiler.command(builder.image, ARM64 if arm64 else AMD64)
    found = {}
    for name, source in sources.items():
        file = directory / f"{name}.c"
        file.write_text(source)
        subprocess.run(
            [*command, "-O1", "-static", *flags, "-o", directory / name, file], check=True
        )
        found[name] = subjects.of_program(str(directory / name))
    return found


def verdicts(
    builder: Builder,
    directory: Path,
    programs: dict[str, subjects.Subject],
    guests: tuple[str, ...] = GUESTS,
    limits: str = "none",
) -> dict[tuple[str, str], Verdict]:
    """Run each program in each guest; guests that this machine cannot boot are left out."""
    cells = {
        (guest, name): Cell(
            guest=known_guests(builder)[guest],
            limits=Limits.parse(limits),
            policy="",
            subject=name,
            workload="",
            expected=Expectation.parse("anything"),
        )
        for guest in guests
        for name in programs
    }
    happened = happen(list(cells.values()), builder, directory, subjects=programs)
    found = {key: happened.verdicts[cell.id] for key, cell in cells.items()}
    return {key: each for key, each in found.items() if each.observed}


@pytest.mark.uml
def test_calls_that_map_agree_with_the_maps(builder: Builder, tmp_path: Path) -> None:
    programs = compiled(builder, tmp_path, pkey=PKEY, segment=SEGMENT, moves=MOVES)
    found = verdicts(builder, tmp_path / "run", programs)
    assert {guest for guest, _ in found} >= {"native", "uml-6.1", "uml-7.2"}
    for key, verdict in found.items():
        assert verdict.passed, (key, verdict.findings)
        assert verdict.observed
        assert "maps at the end" in verdict.observed.evidence, key
    no_keys = found["uml-6.1", "pkey"].observed
    assert no_keys
    assert no_keys.status in (0, 1), "1: UML kernels lack pkey_mprotect"
    assert found["native", "segment"].observed.status == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("limits", ["fail=hinted:9:ENOMEM", "ceiling=46bit"])
def test_the_tracer_of_the_agent_knows_them_as_well(
    limits: str, builder: Builder, tmp_path: Path
) -> None:
    programs = compiled(builder, tmp_path, pkey=PKEY, segment=SEGMENT, moves=MOVES)
    found = verdicts(builder, tmp_path / "run", programs, ("native",), limits)
    assert len(found) == len(programs)
    for key, verdict in found.items():
        assert verdict.passed, (key, verdict.findings)


def test_what_killed_it_is_shown(builder: Builder, tmp_path: Path) -> None:
    found = verdicts(builder, tmp_path / "run", compiled(builder, tmp_path, refused=REFUSED))
    for key, verdict in found.items():
        assert verdict.observed, key
        assert str(verdict.observed).endswith("dies, status 3: FATAL: no huge page"), key
        last, *others = verdict.observed.evidence["refused"].split("; ")
        assert last.startswith("mmap, 2M r-- MAP_HUGETLB at anywhere: refused, "), key
        assert others[0].startswith("mprotect(0x"), key
        assert "PROT_READ|PROT_EXEC) = -1 ENOMEM" in others[0], key
        assert ", and 19 more, the last: mprotect(0x" in others[0], key


def test_the_emulator_shows_it_as_well(builder: Builder, tmp_path: Path) -> None:
    found = verdicts(
        builder, tmp_path / "run", compiled(builder, tmp_path, arm64=True, refused=REFUSED),
        ("qemu-user-arm64",),
    )  # fmt: skip
    observed = found["qemu-user-arm64", "refused"].observed
    assert observed
    assert observed.message == "FATAL: no huge page"
    assert "mprotect(" in observed.evidence["refused"]


@pytest.mark.parametrize(
    ("guest", "limits", "before", "after"),
    [
        ("native", "none", "high", "high"),
        ("native", "layout=legacy+ceiling=39bit", "refused", "low"),
        ("native", "ceiling=39bit+rlimit_as=300M", "refused", "refused"),
        ("uml-6.1", "none", "refused", "low"),
        ("uml-6.1", "rlimit_as=300M", "refused", "refused"),
        ("uml-7.2", "none", "high", "high"),
        ("qemu-x86_64", "none", "high", "high"),
    ],
)
def test_the_path_is_that_of_the_decisive_reservation(
    guest: str, limits: str, before: str, after: str, builder: Builder, tmp_path: Path
) -> None:
    programs = compiled(builder, tmp_path, before=BEFORE, after=AFTER)
    found = verdicts(builder, tmp_path / "run", programs, (guest,), limits)
    if not found:
        pytest.skip(f"{guest} cannot be booted here")
    for name, path in (("before", before), ("after", after)):
        observed = found[guest, name].observed
        assert observed
        assert observed.path == path, (name, observed.evidence)
        assert observed.evidence["path"].startswith(f"{path}: ")
        assert observed.outcome == ("dies" if path == "refused" else "starts")


@pytest.mark.uml
def test_a_program_that_the_kernel_kills_in_execve_is_no_contradiction(
    builder: Builder, tmp_path: Path
) -> None:
    """The address space of UML 6.1 ends below the program."""
    programs = compiled(builder, tmp_path, flags=FAR_FLAGS, far=FAR)
    found = verdicts(builder, tmp_path / "run", programs, ("native", "uml-6.1", "uml-7.2"))
    for guest, outcome in (("native", "starts"), ("uml-6.1", "dies"), ("uml-7.2", "starts")):
        verdict = found[guest, "far"]
        assert verdict.passed, (guest, verdict.findings)
        assert verdict.observed
        assert verdict.observed.outcome == outcome, guest
    observed = found["uml-6.1", "far"].observed
    assert observed
    assert observed.evidence["killed in"].startswith("execve(")


def test_a_ceiling_cannot_judge_a_program_that_is_linked_above_it(
    builder: Builder, tmp_path: Path
) -> None:
    programs = compiled(builder, tmp_path, flags=FAR_FLAGS, far=FAR)
    cells = [
        Cell(
            guest="native", limits=Limits.parse(f"ceiling={bits}bit"), subject="far",
            policy="", workload="", expected=Expectation.parse("starts"),
        )
        for bits in (39, 42)
    ]  # fmt: skip
    happened = happen(cells, builder, tmp_path / "run", subjects=programs)
    narrow, wide = (happened.verdicts[cell.id] for cell in cells)
    assert narrow.result is Result.UNSUPPORTED
    assert "above the imitated ceiling 0x8000000000" in narrow.reason
    assert wide.passed


def test_a_program_may_end_by_exit_under_the_emulator(builder: Builder, tmp_path: Path) -> None:
    programs = compiled(builder, tmp_path, arm64=True, flags=("-nostdlib",), ends=EXIT)
    verdict = verdicts(builder, tmp_path / "run", programs, ("qemu-user-arm64",))[
        "qemu-user-arm64", "ends"
    ]
    assert verdict.passed, verdict.findings
    assert str(verdict.observed) == "starts"


def test_a_server_is_idle_under_the_emulator(builder: Builder, tmp_path: Path) -> None:
    """The emulator has a thread of its own, which waits as well."""
    programs = compiled(builder, tmp_path, arm64=True, flags=("-nostdlib",), idle=IDLE)
    verdict = verdicts(builder, tmp_path / "run", programs, ("qemu-user-arm64",))[
        "qemu-user-arm64", "idle"
    ]
    assert verdict.passed, verdict.findings
    assert verdict.observed
    ending = re.fullmatch(
        r"it was ready after (.*) s \(it waits in ppoll, futex, 2 threads\), and was ended",
        verdict.observed.evidence["ending"],
    )
    assert ending, verdict.observed.evidence["ending"]
    assert float(ending[1]) < 10  # 2 on a busy machine; its timeout is longer


@pytest.mark.uml
def test_a_sweep_draws_the_bands_of_a_program(
    builder: Builder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled(builder, tmp_path, bands=BANDS)
    argv = ["threshold", str(tmp_path / "bands"), "--guest", "native", "--guest", "uml-6.1", "-q"]
    assert main(argv) == 1
    assert "rlimit_as: 100M, not monotonic" in capsys.readouterr().out
    file = tmp_path / "bands.svg"
    assert main([*argv, "--sweep", "--from", "64M", "--to", "8G", "--svg", str(file)]) == 1
    swept = capsys.readouterr().out
    edges = re.findall(r"^ +starts from (\S+) to (\S+)$", swept, re.MULTILINE)
    assert len(edges) == 2 * 3, swept
    assert edges[0][0] == "100M"
    assert "fatal error: no cage" in swept
    assert file.read_text().count('class="dies"') == 2 * 3
