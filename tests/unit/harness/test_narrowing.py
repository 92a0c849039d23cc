"""What a guest cannot do is told with a remedy; what moves its facts has them measured again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import cast

import msgspec
import pytest

from foothold_lab.harness.guests.base import HOSTS_OWN, Guest
from foothold_lab.harness.guests.limit_support import facts_under, measure_under, support_for
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, UnsupportedError
from foothold_lab.harness.model.facts import Cgroup, Tools
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import Ending, Record
from tests.unit.harness.samples import facts

MEASURED = facts(0x7F80000000)


@dataclass
class Stub:
    """A guest that answers with facts of its own."""

    unable: dict[str, str] = field(default_factory=dict)
    answer: bytes = msgspec.json.encode(replace(MEASURED, first=0x50000000))
    agent: str = "/init"
    asked: list[Limits] = field(default_factory=list)

    def run(self, argv: list[str], limits: Limits, deadline: Deadline) -> Record:
        assert argv == ["/init", "facts"]
        self.asked.append(limits)
        return Record(argv=(), pid=1, ending=Ending(status=0), stdout=self.answer, stderr=b"")


def a_guest(**values: object) -> Guest:
    return cast("Guest", Stub(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "changes", "why"),
    [
        ("overcommit=2", {}, "the whole host's"),
        ("max_map_count=200+rlimit_as=1G", {}, "the whole host's"),
        ("memory=64M", {"cgroup": Cgroup()}, "no memory cgroup"),
        ("no-aslr", {"tools": Tools(personality=1)}, "Operation not permitted"),
        ("layout=legacy", {"tools": Tools(personality=1)}, "personality"),
        ("hints=ignored", {"tools": Tools(ptrace=1)}, "ptrace"),
        ("fail=mmap:1:ENOMEM", {"tools": Tools(seccomp=22)}, "seccomp"),
        ("hints=ignored", {"machine": "s390x"}, "this is s390x"),
        ("ceiling=38bit", {"pointer_size": 4, "task_size": 0xC0000000}, "ends at 0xc0000000"),
        ("occupied=0x7f00000000-0x8000000000", {}, "ends at 0x7f80000000"),
        ("ceiling=39bit", {}, "is none: the address space ends at 0x7f80000000"),
        ("ceiling=38bit", {"tools": Tools(ptrace=1)}, "ptrace"),
        ("ceiling=38bit", {"machine": "ppc64"}, "this is ppc64"),
        ("ceiling=38bit+occupied=0x4000000000-0x5000000000", {}, "ends at 0x4000000000"),
        ("occupied=0x1000-0x2000", {}, "lowest address is 0x10000"),
        ("occupied=0x40000000-0x80000000+rlimit_as=1G", {}, "count for RLIMIT_AS"),
    ],
)
def test_what_cannot_be_done_is_told(limit: str, changes: dict[str, object], why: str) -> None:
    where = replace(MEASURED, **changes)  # type: ignore[arg-type]
    support = support_for(a_guest(unable=HOSTS_OWN), where, Limits.parse(limit))
    assert not support.ok
    assert why in support.reason
    assert support.remedy
    with pytest.raises(UnsupportedError, match=re.escape(support.reason)):
        facts_under(a_guest(unable=HOSTS_OWN), where, Limits.parse(limit), Deadline.after(1))


def test_a_program_of_another_machine_than_its_guest_has_no_faults() -> None:
    limits = Limits.parse("hints=ignored")
    for machine in ("x86_64", "aarch64", "riscv64"):
        assert support_for(a_guest(), replace(MEASURED, machine=machine), limits).ok
    assert support_for(a_guest(), MEASURED, limits, "x86_64").ok
    assert support_for(a_guest(), replace(MEASURED, pointer_size=4), limits, "i386").ok
    assert "this is i386" in support_for(a_guest(), MEASURED, limits, "i386").reason


@pytest.mark.parametrize(
    "limit",
    [
        "none",
        "rlimit_as=1G+memory=64M",
        "occupied=0x40000000-0x50000000",
        "no-aslr",
        "ceiling=38bit+occupied=0x3000000000-0x4000000000",
        "ceiling=0x7f80000000",
    ],
)
def test_the_rest_can_be_done(limit: str) -> None:
    assert support_for(a_guest(unable=HOSTS_OWN), MEASURED, Limits.parse(limit)).ok


def test_facts_are_measured_again_only_where_a_limit_moves_them() -> None:
    stub = Stub()
    still = Limits.parse("rlimit_as=1G+hints=ignored+memory=64M")
    assert measure_under(cast("Guest", stub), MEASURED, still, Deadline.after(1)) is MEASURED
    moving = Limits.parse("rlimit_as=1G+no-aslr+hints=ignored+memory=64M+overcommit=2")
    assert (
        measure_under(cast("Guest", stub), MEASURED, moving, Deadline.after(1)).first == 0x50000000
    )
    assert [str(each) for each in stub.asked] == ["overcommit=2+no-aslr"]


def test_a_ceiling_is_measured_and_what_may_be_traced_is_not() -> None:
    traced = replace(MEASURED, task_size=1 << 38, tools=Tools(ptrace=1))
    stub = Stub(answer=msgspec.json.encode(traced))
    asked = Limits.parse("rlimit_as=1G+ceiling=38bit+hints=ignored")
    found = facts_under(cast("Guest", stub), MEASURED, asked, Deadline.after(1))
    assert (found.task_size, found.tools) == (1 << 38, MEASURED.tools)
    assert [str(each) for each in stub.asked] == ["ceiling=38bit"]


def test_facts_that_are_none_are_told() -> None:
    with pytest.raises(GuestError, match="cannot be read"):
        measure_under(a_guest(answer=b"{"), MEASURED, Limits.parse("no-aslr"), Deadline.after(1))
