"""The oracle against what the real toolchains of 2012 did."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import foothold_lab.allocator.predict
from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.harness import oracle
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.facts import Hint
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath
from foothold_lab.harness.oracle import Process, predict
from foothold_lab.harness.oracle.forms import process_of
from tests.unit.harness.samples import (
    CANNOT_RESERVE,
    DIES,
    HIGH_ALLOCATES,
    LOW_ALLOCATES,
    OUT_OF_MEMORY,
    facts,
)

MIB = 1 << 20
UML_6_1, UML_6_12, UML_7_2 = 0x7FC0000000, 0x7F80000000, 0x7F8000000000
NATIVE, LA57 = 0x7FFFFFFFF000, 0xFFFFFFFFFF000
LIMITS = [None, 300 * MIB, 800 * MIB, 2048 * MIB]
REFUSED = Expectation(
    path=ReservationPath.REFUSED, outcome=Outcome.DIES, status=2, message=CANNOT_RESERVE
)


@pytest.mark.parametrize("rlimit", LIMITS)
@pytest.mark.parametrize("policy", ["before", "after"])
@pytest.mark.parametrize("task_size", [NATIVE, UML_7_2, LA57, 0x1000000000000])
def test_four_levels_give_the_high_arena(task_size: int, policy: str, rlimit: int | None) -> None:
    foretold = predict(facts(task_size), Limits(rlimit_as=rlimit), policy)
    assert foretold.agrees(HIGH_ALLOCATES)
    assert f"{task_size:#x}" in foretold.reason


@pytest.mark.parametrize("rlimit", LIMITS)
@pytest.mark.parametrize("task_size", [UML_6_1, UML_6_12, 0x4000000000])
def test_three_levels_kill_before(task_size: int, rlimit: int | None) -> None:
    foretold = predict(facts(task_size), Limits(rlimit_as=rlimit), "before")
    assert foretold.agrees(DIES)
    assert foretold.reason == (
        f"0xf840000000 lies beyond the task size {task_size:#x}, and nothing else is tried"
    )


@pytest.mark.parametrize(
    ("rlimit", "expected"),
    [
        (None, LOW_ALLOCATES),
        (300 * MIB, REFUSED),
        (800 * MIB, LOW_ALLOCATES),
        (2048 * MIB, LOW_ALLOCATES),
        (640 * MIB, REFUSED),
        (700 * MIB, LOW_ALLOCATES),
    ],
)
@pytest.mark.parametrize("task_size", [UML_6_1, UML_6_12])
def test_three_levels_give_after_the_low_arena(
    task_size: int, rlimit: int | None, expected: Expectation
) -> None:
    foretold = predict(facts(task_size), Limits(rlimit_as=rlimit), "after")
    assert foretold.agrees(expected)
    assert foretold.reason.startswith(f"0xf800000000 lies beyond the task size {task_size:#x}")


def test_a_guest_has_limits_of_its_own() -> None:
    assert predict(facts(UML_6_1, rlimit_as=300 * MIB), Limits(), "after").agrees(REFUSED)
    both = predict(facts(UML_6_1, rlimit_as=300 * MIB), Limits(rlimit_as=2048 * MIB), "after")
    assert both.agrees(REFUSED)


def test_the_footprint_counts() -> None:
    limits = Limits(rlimit_as=700 * MIB)
    assert predict(facts(UML_6_1), limits, "after", Process(size=59 * MIB)).agrees(LOW_ALLOCATES)
    assert predict(facts(UML_6_1), limits, "after", Process(size=61 * MIB)).agrees(REFUSED)
    with pytest.raises(UnsupportedError, match="too close"):
        predict(facts(UML_6_1), limits, "after", Process(size=60 * MIB))


@pytest.mark.parametrize("policy", ["before", "after"])
@pytest.mark.parametrize(
    ("room", "path"),
    [(1, ReservationPath.REFUSED), (2, ReservationPath.HIGH), (6, ReservationPath.HIGH)],
    ids=str,
)
def test_no_room_for_the_heap(policy: str, room: int, path: ReservationPath) -> None:
    """The model of the kernel comes to the same."""
    limits = Limits(rlimit_as=Process().size + room * MIB)
    foretold = predict(facts(), limits, policy, Process(unsure=0))
    assert foretold.agrees(
        Expectation(path=path, outcome=Outcome.DIES, status=2, message=OUT_OF_MEMORY)
    )
    assert "RLIMIT_AS of" in foretold.reason
    model = foothold_lab.allocator.predict.predict(
        POLICIES[policy], ModelKernel(AddressSpace(rlimit_as=room * MIB))
    )
    assert (model.path, f"throw: {model.message}") == (foretold.path, foretold.message)


def test_a_hint_that_is_ignored_within_the_address_space() -> None:
    """As under grsecurity: before insists with MAP_FIXED, after takes the low arena."""
    strange = facts(high=0x7F0000000000)
    assert predict(strange, Limits(), "before").agrees(HIGH_ALLOCATES)
    after = predict(strange, Limits(), "after")
    assert after.agrees(LOW_ALLOCATES)
    assert "does not honour" in after.reason


def test_all_hints_ignored() -> None:
    """The low reservation lands far up, where it is not taken as reserved (measured)."""
    strange = replace(
        facts(high=0x7F0000000000, low=0x7F0000000000), placement="top-down", first=0x7F0000000000
    )
    foretold = predict(strange, Limits(), "after")
    assert foretold.message == "throw: runtime: address space conflict"


def test_the_arena_ends_beyond_a_probe_that_was_granted() -> None:
    foretold = predict(facts(oracle.HIGH + (1 << 20), high=oracle.HIGH), Limits(), "after")
    assert foretold.agrees(DIES)


def test_an_unknown_policy_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown policy 'later'") as told:
        predict(facts(), Limits(), "later")
    assert (
        told.value.remedy
        == "policies are: before, after, grsec, memlimit, modern, modern-arm64, modern-1.24"
    )


@pytest.mark.parametrize(
    ("limit", "policy", "path", "message"),
    [
        # a kernel as grsecurity's: after falls back and fails, grsec was made for it
        ("hints=ignored", "before", ReservationPath.HIGH, ""),
        ("hints=ignored", "after", ReservationPath.REFUSED, oracle.CONFLICT),
        ("hints=ignored", "grsec", ReservationPath.HIGH, ""),
        ("hints=ignored@0xf800000000-0x10000000000", "after", ReservationPath.LOW, ""),
        ("hints=ignored@0x100000000-0x800000000000", "modern", ReservationPath.LOW, ""),
        # somebody else lives at the high address
        ("occupied=0xf800000000-0xfc00000000", "before", ReservationPath.REFUSED, oracle.CONFLICT),
        ("occupied=0xf800000000-0xfc00000000", "after", ReservationPath.LOW, ""),
        ("occupied=0xf800000000-0xfc00000000", "grsec", ReservationPath.LOW, ""),
        ("occupied=0xc000000000-0xc100000000", "modern", ReservationPath.HIGH, ""),
        ("fail=hinted:1:ENOMEM", "before", ReservationPath.HIGH, ""),
        ("fail=hinted:1:ENOMEM", "after", ReservationPath.LOW, ""),
        ("fail=hinted:1:ENOMEM", "grsec", ReservationPath.HIGH, ""),
        (
            "fail=hinted:1:ENOMEM+fail=hinted:2:ENOMEM",
            "after",
            ReservationPath.REFUSED,
            CANNOT_RESERVE,
        ),
        ("rlimit_as=300M", "memlimit", ReservationPath.LOW, ""),
        ("rlimit_as=150M", "memlimit", ReservationPath.HIGH, ""),
        ("rlimit_as=1400M", "memlimit", ReservationPath.HIGH, ""),
        ("rlimit_data=9M", "after", ReservationPath.HIGH, OUT_OF_MEMORY),
        ("rlimit_data=32M", "after", ReservationPath.HIGH, ""),
        ("memory=64M", "after", ReservationPath.HIGH, ""),
        ("overcommit=1", "modern", ReservationPath.HIGH, ""),
        ("overcommit=2", "after", ReservationPath.HIGH, ""),
    ],
)
def test_every_limit_has_its_consequence(
    limit: str, policy: str, path: ReservationPath, message: str
) -> None:
    """On four levels of page table, top-down, in a guest of 128 MiB."""
    space = replace(facts(NATIVE), placement="top-down", first=0x7F8000000000)
    foretold = predict(space, Limits.parse(limit), policy)
    assert (foretold.path, foretold.message) == (path, message), foretold.reason
    assert foretold.reason


@pytest.mark.parametrize(
    ("limit", "policy", "why"),
    [
        ("fail=mmap:3:ENOMEM", "after", "whose the failing mmap is"),
        ("fail=mprotect[exec]:*:EACCES", "after", r"whose the failing mprotect\[exec\] is"),
        ("fail=hinted[none]:1:EACCES", "after", r"whose the failing hinted\[none\] is"),
        ("max_map_count=60", "after", "too few for an interpreter"),
        ("seccomp=./mine.json", "after", "which calls ./mine.json refuses"),
        ("exec=refused@/usr/lib", "after", "maps files of /usr/lib"),
        ("rlimit_nofile=8:soft", "after", "8 open files may be too few for an interpreter"),
        ("memory=16M", "after", "too little for an interpreter"),
        ("rlimit_as=14M", "after", "may not start"),
        ("occupied=0xf840000000-0xf840010000", "after", "partly in the way"),
        ("occupied=0x2000000-0x2600000+hints=ignored@0xf800000000-0xf900000000", "after", "image"),
        ("overcommit=2", "modern", ""),
        ("rlimit_as=201M", "memlimit", "how the heap grows"),
    ],
)
def test_what_it_cannot_tell_is_told_with_a_remedy(limit: str, policy: str, why: str) -> None:
    if why:
        with pytest.raises(UnsupportedError, match=why) as told:
            predict(facts(NATIVE), Limits.parse(limit), policy)
        assert told.value.remedy
    else:
        assert predict(facts(NATIVE), Limits.parse(limit), policy).message == OUT_OF_MEMORY


@pytest.mark.parametrize(
    "limit",
    [
        "seccomp=docker", "user=nobody+rlimit_memlock=0+rlimit_nproc=1", "rlimit_fsize=0",
        "rlimit_nofile=16:soft", "noreplace=unknown+noreserve=ignored", "mmap_rnd_bits=32",
        "mmap_rnd_compat_bits=16+thp=always", "hugepages=2", "exec=refused@/tmp+exec=refused@/run",
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", ["after", "modern"])
def test_these_limits_do_not_concern_the_allocator(limit: str, policy: str) -> None:
    """It locks and writes nothing, starts no process, and opens few files."""
    space = replace(facts(NATIVE), huge_page_size=2 << 20)
    assert predict(space, Limits.parse(limit), policy).agrees(predict(space, Limits(), policy))


def test_huge_pages_take_memory_away() -> None:
    space = replace(facts(NATIVE), huge_page_size=2 << 20)
    with pytest.raises(UnsupportedError, match="2M of memory may be too little"):
        predict(space, Limits.parse("hugepages=60"), "after")


@pytest.mark.parametrize("policy", oracle.NARROW)
@pytest.mark.parametrize("task_size", [0xC0000000, 0xFFFFE000])
def test_with_pointers_of_four_bytes_there_is_one_way(task_size: int, policy: str) -> None:
    """As the toolchains for 386 did, in spaces of both sizes."""
    narrow = facts(task_size, pointer_size=4)
    foretold = predict(narrow, Limits(), policy)
    assert foretold.agrees(LOW_ALLOCATES)
    assert foretold.reason == (
        "pointers of 4 bytes reach no high address, and 768M are to be had at 0x8500000"
    )
    assert predict(narrow, Limits(rlimit_as=820 * MIB), policy).agrees(LOW_ALLOCATES)
    ignored = predict(narrow, Limits.parse("hints=ignored"), policy)
    assert ignored.agrees(LOW_ALLOCATES) and "768M are to be had at 0x40000000" in ignored.reason


@pytest.mark.parametrize(
    ("mib", "policy", "path"),
    [
        (700, "after", ReservationPath.REFUSED),
        (700, "before", ReservationPath.REFUSED),
        (700, "memlimit", ReservationPath.LOW),
        (300, "memlimit", ReservationPath.LOW),
        (170, "memlimit", ReservationPath.LOW),
        (120, "memlimit", ReservationPath.REFUSED),
    ],
)
def test_limits_with_pointers_of_four_bytes(mib: int, policy: str, path: ReservationPath) -> None:
    foretold = predict(facts(0xFFFFE000, pointer_size=4), Limits(rlimit_as=mib * MIB), policy)
    if path is ReservationPath.LOW:
        assert foretold.agrees(LOW_ALLOCATES)
    else:
        assert foretold.agrees(REFUSED)


def test_modern_go_is_not_known_with_pointers_of_four_bytes() -> None:
    narrow = facts(0xC0000000, pointer_size=4)
    assert not oracle.unknown(narrow, "memlimit")
    with pytest.raises(UnsupportedError, match="modern is not known for pointers of 4 bytes"):
        predict(narrow, Limits(), "modern")
    with pytest.raises(UsageError, match="unknown policy"):
        predict(narrow, Limits(), "ancient")


def test_a_kernel_that_places_downward_tries_upward_in_the_end() -> None:
    """There are 768 MiB above where it begins, and not below."""
    narrow = replace(
        facts(0xFFFFE000, pointer_size=4),
        placement="top-down",
        first=0xC8000000,
        hint_low=Hint(0x10000000, 0xC8000000, 0),
    )
    limits = Limits.parse("occupied=0x10000000-0xc0000000")
    assert predict(narrow, limits, "after").reason.endswith("768M are to be had at 0xc0000000")


def test_a_reservation_that_takes_all_addresses_leaves_none_for_the_tables() -> None:
    """768 MiB from 0x40000000 to the end of the address space."""
    narrow = facts(0x70000000, pointer_size=4)
    foretold = predict(narrow, Limits.parse("occupied=0x8500000-0x40000000"), "after")
    assert foretold.message == "throw: out of memory (FixAlloc)"
    assert "leave no addresses" in foretold.reason


@pytest.mark.parametrize("machine", ["aarch64", "riscv64"])
def test_elsewhere_the_heap_begins_within_a_gibibyte_behind_the_image(machine: str) -> None:
    """On x86 it is 32 MiB, so that this range is never in the way of the low arena."""
    limits = Limits.parse("occupied=0x40000000-0x50000000")
    here, there = facts(UML_6_1), replace(facts(UML_6_1), machine=machine)
    assert predict(here, limits, "after").agrees(LOW_ALLOCATES)
    with pytest.raises(UnsupportedError, match="depends on where the subject's image ends"):
        predict(there, limits, "after")


def test_a_newer_python_takes_more_of_a_limit() -> None:
    there = replace(facts(UML_6_1), machine="riscv64")
    assert predict(facts(UML_6_1), Limits(rlimit_as=655 * MIB), "after").agrees(LOW_ALLOCATES)
    with pytest.raises(UnsupportedError, match="too close"):
        predict(there, Limits(rlimit_as=655 * MIB), "after")
    assert predict(there, Limits(rlimit_as=658 * MIB), "after").agrees(LOW_ALLOCATES)


@pytest.mark.parametrize("policy", oracle.POLICIES)
@pytest.mark.parametrize(("space", "is_low"), [(UML_6_1, True), (NATIVE, False)])
@pytest.mark.parametrize("workload", ["none", "hello", "grow:8M", "block:2M", "small:20:100"])
def test_of_other_workloads_it_predicts_the_path_alone(
    workload: str, space: int, is_low: bool, policy: str
) -> None:
    """Whether a low arena is large enough depends on the workload; modern arenas have no end."""
    if is_low and policy == "before":
        assert predict(facts(space), Limits(), policy, workload=workload).agrees(DIES)
    elif is_low and not policy.startswith("modern") and workload not in ("none", "hello"):
        with pytest.raises(UnsupportedError, match=f"depends on {workload}"):
            predict(facts(space), Limits(), policy, workload=workload)
    else:
        foretold = predict(facts(space), Limits(), policy, workload=workload)
        goes_low = is_low and policy != "modern-arm64"  # whose hint has 39 bits
        assert foretold.path is (ReservationPath.LOW if goes_low else ReservationPath.HIGH)
        assert foretold.outcome is None


def test_names_each_mapping_that_fails() -> None:
    foretold = predict(facts(UML_6_1), Limits.parse("fail=hinted:*:EACCES"), "after")
    assert re.findall("0x[0-9a-f]+", foretold.reason) == ["0xf800000000", "0x0"]


def test_a_failing_probe_is_the_reason_for_the_low_arena_under_grsec() -> None:
    first = predict(facts(UML_6_1), Limits.parse("fail=hinted:1:EACCES"), "grsec")
    assert (first.path, "EACCES" in first.reason) == (ReservationPath.LOW, True)
    second = predict(facts(UML_6_1), Limits.parse("fail=hinted:2:EACCES"), "grsec")
    assert (second.path, second.message) == (ReservationPath.REFUSED, CANNOT_RESERVE)


def test_more_than_all_promises_is_none() -> None:
    """More is committed than the limit: it was lowered later."""
    full = replace(facts(NATIVE), commit_limit=100 << 20, committed=90 << 20, memory=1 << 30)
    with pytest.raises(UnsupportedError) as told:
        predict(full, Limits.parse("overcommit=2"), "after")
    assert re.findall(r"leaves (\S+) to", str(told.value)) == ["0"]


# MiB of the address space of a Python with ctypes, and of its private writable memory, in guests
MEASURED = {
    ("x86_64", 8): (13.8, 4.8),
    ("i686", 4): (12.5, 2.9),
    ("aarch64", 8): (13.1, 4.7),
    ("riscv64", 8): (14.8, 6.8),
    ("s390x", 8): (13.3, 4.9),
    ("ppc64le", 8): (17.2, 5.6),
    ("armv7l", 4): (8.5, 2.6),
}


@pytest.mark.parametrize(("machine", "pointer_size"), MEASURED)
def test_the_process_of_each_machine_is_as_measured(machine: str, pointer_size: int) -> None:
    process = process_of(replace(facts(pointer_size=pointer_size), machine=machine))
    size, data = MEASURED[machine, pointer_size]
    assert abs(process.size / MIB - size) < 1
    assert abs(process.data / MIB - data) <= 0.5
    assert process.unsure == MIB // 2
    assert process.low.start % (64 << 10) == process.low.end % (64 << 10) == 0
    # behind the image, and behind a heap that begins up to 32 MiB or 1 GiB later (arch_randomize_brk)
    assert 32 * MIB <= process.low.length <= 1100 * MIB


@pytest.mark.parametrize("task_size", [64 * MIB, 128 * MIB])
def test_a_space_without_room_for_two_arenas(task_size: int) -> None:
    top = replace(facts(task_size), placement="top-down", first=task_size - (64 << 10))
    foretold = predict(top, Limits(), "modern")
    assert (foretold.outcome, foretold.message) == (Outcome.DIES, "throw: out of memory")
    assert re.findall(r" (\S+)M are", foretold.reason) == ["128"]
