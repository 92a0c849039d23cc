"""Every limit in every guest: that it holds for a subject, that it goes again, and that the
allocator does under it what the oracle foretells.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from foothold_lab.harness.api.guest import OpenGuest
from foothold_lab.harness.guests.base import Guest, run_program
from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.guests.limit_support import measure_under, support_for
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import SubjectError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import Record
from foothold_lab.harness.model.verdict import Result
from foothold_lab.images.builder import Builder
from tests.guests.conftest import happen

GUESTS = (
    "native", "docker", "qemu-x86_64", "qemu-arm64-16k", "uml-bookworm", "uml-trixie", "uml-testing",
)  # fmt: skip

# what a program sees: places of mappings by three ways of asking, from three kinds of task
PLACES = """
import ctypes, json, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_ssize_t
libc.mmap.argtypes = [ctypes.c_size_t] * 2 + [ctypes.c_int] * 3 + [ctypes.c_ssize_t]
def mmap(address, prot=0, flags=0x22, length=65536):
    got = libc.mmap(address, length, prot, flags, -1, 0)
    return got if got != -1 else -ctypes.get_errno()
seen = {"one": mmap(0x3000000000), "two": mmap(0x3100000000), "fixed": mmap(0x3000000000, 3, 0x32)}
thread = threading.Thread(target=lambda: seen.update(thread=mmap(0x3200000000)))
thread.start(); thread.join()
print(json.dumps(seen), flush=True)
if os.fork() == 0:
    print(json.dumps({"child": mmap(0x3300000000)}), flush=True)
    os._exit(0)
os.wait()
"""
ONE, TWO = 0x3000000000, 0x3100000000


pytestmark = pytest.mark.foothold_guest(*GUESTS)


@dataclass
class Booted:
    guest: Guest
    facts: Facts

    def python(self, limit: str, code: str) -> Record:
        """Run a program under a limit that this guest can do; else the test is skipped."""
        limits = Limits.parse(limit)
        support = support_for(self.guest, self.facts, limits)
        if not support.ok:
            assert support.remedy
            pytest.skip(f"{self.guest.name}: {support.reason}; {support.remedy}")
        argv = [self.guest.paths.python, "-I", "-S", "-c", code]
        return run_program(self.guest, argv, limits, Deadline.after(60 * self.guest.scale))

    def places(self, limit: str) -> dict[str, int]:
        record = self.python(limit, PLACES)
        assert record.ending.status == 0, record.stderr
        seen: dict[str, int] = {}
        for line in record.stdout.splitlines():
            seen |= json.loads(line)
        return seen


@pytest.fixture
def booted(foothold_guest: OpenGuest) -> Booted:
    return Booted(foothold_guest.guest, foothold_guest.facts)


def test_changes_no_call_without_a_fault(booted: Booted) -> None:
    seen = booted.places("none")
    assert (seen["one"], seen["two"]) == (ONE, TWO)
    assert (seen["thread"], seen["child"]) == (0x3200000000, 0x3300000000)


def test_ignores_hints_of_threads_and_children(booted: Booted) -> None:
    seen = booted.places("hints=ignored")
    assert seen["fixed"] == ONE, "MAP_FIXED insists"
    for name, asked in {
        "one": ONE,
        "two": TWO,
        "thread": 0x3200000000,
        "child": 0x3300000000,
    }.items():
        assert seen[name] > 0
        assert seen[name] != asked


def test_ignores_hints_only_in_a_range(booted: Booted) -> None:
    seen = booted.places("hints=ignored@0x3000000000-0x3100000000")
    assert seen["one"] != ONE
    assert seen["two"] == TWO


def test_maps_nothing_above_a_ceiling(booted: Booted) -> None:
    seen = booted.places(f"ceiling={TWO:#x}")
    assert (seen["one"], seen["fixed"]) == (ONE, ONE)
    for name in ("two", "thread", "child"):
        assert 0 < seen[name] < TWO
    limits = Limits.parse(f"ceiling={TWO:#x}")
    measured = measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert (measured.task_size, measured.placement) == (TWO, booted.facts.placement)
    assert measured.first < TWO
    assert measured.hint_low.honoured
    assert not measured.hint_beyond.honoured


def test_occupies_a_range_before_the_first_instruction(booted: Booted) -> None:
    seen = booted.places("occupied=0x3000000000-0x3040000000+occupied=0x3300000000-0x3300010000")
    assert seen["one"] not in range(0x3000000000, 0x3040000000)
    assert seen["two"] == TWO
    assert seen["child"] != 0x3300000000
    after_exec = booted.python(
        "occupied=0x3000000000-0x3040000000",
        "import os; os.execv('/bin/cat', ['cat', '/proc/self/maps'])",
    )
    assert b"3000000000-3040000000 ---p" in after_exec.stdout


def test_reports_a_range_that_cannot_be_occupied(booted: Booted) -> None:
    limits = Limits.parse("occupied=0x3000000000-0x3040000000+occupied=0x3000000000-0x3000010000")
    if not support_for(booted.guest, booted.facts, limits).ok:
        pytest.skip("no faults here")
    with pytest.raises(SubjectError, match="cannot occupy 0x3000000000-0x3000010000: File exists"):
        run_program(booted.guest, ["/bin/true"], limits, Deadline.after(60))


def test_fails_the_nth_call_of_threads_and_children(booted: Booted) -> None:
    seen = booted.places("fail=hinted:2:EAGAIN+fail=hinted:4:ENOMEM")
    assert (seen["one"], seen["two"], seen["thread"]) == (ONE, -11, 0x3200000000)
    assert seen["child"] == -12


def test_fails_other_kinds_of_calls(booted: Booted) -> None:
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); libc.mincore(0, 4096, 0);"
        "print(ctypes.get_errno())"
    )
    assert booted.python("fail=mincore:1:EFBIG", code).stdout == b"27\n"
    lost = booted.python("fail=mmap:1:ENOMEM", "")
    assert lost.ending.signal or lost.ending.status, "the loader cannot map the first library"


def test_limits_the_address_space(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + "print(mmap(0, 0, 0x22, 400 << 20) > 0)"
    assert booted.python("none", code).stdout == b"True\n"
    assert booted.python("rlimit_as=300M", code).stdout == b"False\n"


def test_limits_data_but_not_reservations(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + (
        "print(mmap(0, 0, 0x22, 1 << 30) > 0, mmap(0, 3, 0x22, 64 << 20))"
    )
    assert booted.python("rlimit_data=32M", code).stdout == b"True -12\n"


def test_limits_the_stack(booted: Booted) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_STACK)[0])"
    assert booted.python("rlimit_stack=1M", code).stdout == b"1048576\n"


def test_a_memory_cgroup_kills_a_program_that_uses_more(booted: Booted) -> None:
    code = "block = bytearray(56 << 20); print(len(block))"
    assert booted.python("none", code).ending.status == 0
    assert booted.python("memory=32M", code).ending.signal == 9
    assert booted.python("none", code).ending.status == 0, "and the limit has gone"


def test_restores_the_overcommit_mode(booted: Booted) -> None:
    mode = "print(open('/proc/sys/vm/overcommit_memory').read().strip())"
    before = booted.python("none", mode).stdout
    code = PLACES.partition("seen =")[0] + "print(mmap(0, 3, 0x22, 1 << 34))"
    assert booted.python("overcommit=2", mode).stdout == b"2\n"
    assert booted.python("overcommit=2", code).stdout == b"-12\n"
    assert int(booted.python("overcommit=1", code).stdout) > 0
    assert booted.python("none", mode).stdout == before


def test_restores_max_map_count(booted: Booted) -> None:
    code = PLACES.partition("seen =")[0] + (
        "print(min(mmap(ONE + i * 131072, 0, 0x22, 65536) for i in range(400)))"
    ).replace("ONE", str(ONE))
    assert int(booted.python("none", code).stdout) > 0
    assert booted.python("max_map_count=200", code).stdout == b"-12\n"
    assert int(booted.python("none", code).stdout) > 0


def test_no_aslr_fixes_the_addresses(booted: Booted) -> None:
    limits = Limits.parse("no-aslr")
    if not (support := support_for(booted.guest, booted.facts, limits)).ok:
        assert support.remedy
        pytest.skip(support.reason)
    measured = measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert measured.aslr_bits == 0


def test_the_legacy_layout_is_bottom_up(booted: Booted) -> None:
    limits = Limits.parse("layout=legacy")
    if not (support := support_for(booted.guest, booted.facts, limits)).ok:
        assert support.remedy
        pytest.skip(support.reason)
    measured = measure_under(booted.guest, booted.facts, limits, Deadline.after(60))
    assert measured.placement == "bottom-up"


def test_facts_are_complete(booted: Booted) -> None:
    facts = booted.facts
    assert facts.memory > 0
    assert facts.commit_limit > 0
    assert facts.max_map_count > 0
    assert facts.cgroup.version in (1, 2)
    assert not facts.hint_beyond.honoured
    upward = booted.guest.name.startswith("uml")
    assert facts.aslr_bits == 0 if upward else facts.aslr_bits > 12


@pytest.mark.parametrize("guest", GUESTS)
def test_the_allocator_under_limits_is_as_predicted(
    guest: str, builder: Builder, tmp_path: Path
) -> None:
    """And an unsupported one says what would help."""
    limits = (
        "hints=ignored", "occupied=0xf800000000-0xfc00000000", "fail=hinted:1:ENOMEM",
        "fail=hinted:2:ENOMEM", "rlimit_data=9M", "rlimit_data=32M", "overcommit=2", "memory=64M",
        "no-aslr", "layout=legacy+hints=ignored", "ceiling=38bit",
        "layout=legacy+ceiling=38bit+hints=ignored", "rlimit_as=300M+overcommit=2",
        "rlimit_stack=1M",
    )  # fmt: skip
    name = known_guests(builder)[guest]
    cells = [
        Cell(guest=name, limits=Limits.parse(limit), policy=policy)
        for limit in limits
        for policy in ("before", "after", "grsec")
    ] + [
        Cell(guest=name, limits=Limits.parse(limit), policy=policy)
        for limit in ("none", "hints=ignored", "rlimit_as=100M")
        for policy in ("modern", "modern-arm64")
    ]
    happened = happen(cells, builder, tmp_path)
    for cell in cells:
        verdict = happened.verdicts[cell.id]
        assert verdict.result in (Result.PASS, Result.UNSUPPORTED), (cell.id, verdict.findings)
        assert verdict.result is Result.PASS or verdict.remedy


def test_facts_fit_into_a_uml_line(booted: Booted) -> None:
    """A UML line stalls at 4,095 bytes that nobody has read: a hello is shorter."""
    record = run_program(
        booted.guest, [booted.guest.paths.agent, "facts"], Limits(), Deadline.after(60)
    )
    assert len(record.stdout) < 4000
