"""What the kernel refused to a program is always shown, in few words."""

from __future__ import annotations

import pytest

from foothold_lab.harness.evidence import observe_program
from foothold_lab.harness.model.verdict import Observation
from tests.unit.harness.test_program import ANON, BEGIN, ENOMEM, record

EACCES = "= -1 EACCES (Permission denied)"
GRANTED = [f"7 mmap({n << 40:#x}, {n + 64 << 20}, {ANON}) = {n << 40:#x}" for n in range(1, 40)]


def dead(*lines: str, status: int = 1) -> Observation:
    return observe_program(record(*lines, status=status))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            f"mprotect(0x1000, 4096, PROT_READ|PROT_EXEC) {EACCES}",
            "mprotect(0x1000, 4096, PROT_READ|PROT_EXEC) = -1 EACCES (Permission denied)",
        ),
        (
            f"pkey_mprotect(0x1000, 4096, PROT_READ, 1) {ENOMEM}",
            "pkey_mprotect(0x1000, 4096, PROT_READ, 1) = -1 ENOMEM (Cannot allocate memory)",
        ),
        ("brk(0x9000) = 0x5000", "brk(0x9000) = 0x5000, the heap does not grow by 16K"),
        (
            f"mremap(0x1000, 4096, 8192, MREMAP_MAYMOVE) {ENOMEM}",
            "mremap(0x1000, 4096, 8192, MREMAP_MAYMOVE) = -1 ENOMEM (Cannot allocate memory)",
        ),
        (
            f"mmap(NULL, 2097152, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB, -1, 0) {ENOMEM}",
            "mmap, 2M rw- MAP_HUGETLB at anywhere: refused, ENOMEM",
        ),
        (
            f"mmap(NULL, 65536, PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS|MAP_32BIT, -1, 0) {EACCES}",
            "mmap, 64K rwx MAP_32BIT at anywhere: refused, EACCES",
        ),
        (
            "clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = -1 EAGAIN (Try again)",
            "clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = -1 EAGAIN (Try again)",
        ),
        (f"munmap(0x1000, 4096) {ENOMEM}", f"munmap(0x1000, 4096) {ENOMEM}"),
    ],
)
def test_a_refused_call_is_shown_beside_forty_granted_ones(line: str, told: str) -> None:
    for lines in ([f"7 {line}", *GRANTED], [*GRANTED, f"7 {line}"]):
        assert dead(*lines).evidence["refused"] == told


def test_a_call_that_the_kernel_lacks_or_repeats_is_not_a_refusal() -> None:
    lines = (
        "7 clone3({flags=0}, 88) = -1 ENOSYS (Function not implemented)",
        "7 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = ? ERESTARTSYS (To be restarted)",
        "7 munmap(0x1001, 4096) = -1 EINVAL (Invalid argument)",
        "7 brk(NULL) = 0x5000",
    )
    assert "refused" not in dead(*lines).evidence


def test_like_refusals_are_one_with_their_number() -> None:
    lines = [f"7 mprotect({n << 12:#x}, 4096, PROT_READ|PROT_EXEC) {EACCES}" for n in range(1, 129)]
    told = dead(*lines, f"7 brk(0x9000) {'= 0x5000'}").evidence["refused"]
    last, like = told.split("; ")
    assert last.startswith("brk"), "the last refused call comes first"
    assert like.startswith("mprotect(0x1000, 4096, PROT_READ|PROT_EXEC) = -1 EACCES")
    assert "and 127 more, the last: mprotect(0x80000, " in like


def test_the_refused_reservation_comes_before_forty_granted_ones() -> None:
    told = dead(*GRANTED, f"7 mmap(0x10000000, 671088640, {ANON}) {ENOMEM}").evidence["trace"]
    assert told.startswith("640M --- at 0x10000000: refused, ENOMEM, gave up; ")
    assert "103M --- at 0x270000000000: honoured" in told, "the largest granted"
    assert told.endswith("and 28 more")


def test_many_kinds_of_refusals_keep_the_last() -> None:
    lines = []
    for n in range(1, 30):
        flags = "|".join(f"{1 << bit + 20:#x}" for bit in range(5) if n >> bit & 1)
        anon = ANON.replace("MAP_ANONYMOUS", f"MAP_ANONYMOUS|{flags}")
        lines.append(f"7 mmap(NULL, {n + 64 << 20}, {anon}) {ENOMEM}")
    told = dead(*lines).evidence["trace"]
    assert told.startswith("65M ---")
    assert "93M --- at anywhere: refused, ENOMEM, gave up; and " in told


def test_a_refusal_before_another_program_was_executed_is_not_its_own() -> None:
    lines = f"7 mprotect(0x1000, 4096, PROT_EXEC) {EACCES}", *BEGIN.splitlines()[1:]
    assert "refused" not in dead(*lines).evidence


def test_what_mremap_gave_is_shown() -> None:
    lines = (
        f"7 mmap(NULL, 67108864, {ANON}) = 0x7f0000000000",
        "7 mremap(0x7f0000000000, 67108864, 134217728, MREMAP_MAYMOVE) = 0x7e0000000000",
    )
    assert "mremap: 128M --- at 0x7e0000000000" in dead(*lines).evidence["trace"]


def test_a_program_that_dies_has_not_taken_what_it_was_given_elsewhere() -> None:
    moved = f"7 mmap(0xc000000000, 1073741824, {ANON}) = 0x68000000"
    assert dead(moved).evidence["trace"].endswith(": moved, 0x68000000, kept, then died")
    assert dead(moved, status=0).evidence["trace"].endswith(": moved, 0x68000000, kept")


def test_the_arena_of_another_thread_is_not_the_next_attempt() -> None:
    clone = "7 clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = 8"
    refused = f"7 mmap(0xc000000000, 1073741824, {ANON}) {ENOMEM}"
    arena = f"8 mmap(NULL, 134217728, {ANON}) = 0x7f0000000000"
    assert "ENOMEM, gave up" in dead(clone, refused, arena).evidence["trace"]
    own = arena.replace("8 mmap", "7 mmap")
    assert "ENOMEM, asked for less" in dead(clone, refused, own).evidence["trace"]
