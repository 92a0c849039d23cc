"""Limits that a guest does not support, and facts under limits."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import cast

import msgspec
import pytest

from foothold_lab.harness.guests import (
    container_image,
    container_root,
    gvisor,
    native,
    qemu_user,
    remote_machine,
)
from foothold_lab.harness.guests.base import HOST_LIMITS, Capabilities, Guest, GuestPaths
from foothold_lab.harness.guests.limit_support import facts_under, measure_under, support_for
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, UnsupportedError
from foothold_lab.harness.model.facts import Cgroup, Tools
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.transport.frames import FrameKind, frame
from tests.unit.harness.samples import facts
from tests.unit.transport.sealing import Sealer

MEASURED = facts(0x7F80000000)
OWN_KERNEL = Capabilities(own_kernel=True)
HOST_KERNEL = Capabilities(own_kernel=False, unsupported_limits=HOST_LIMITS)


class AgentStream:
    """The frames of an agent that runs a program which prints `answer`."""

    def __init__(self, answer: bytes) -> None:
        frames = (
            (FrameKind.STARTED, b'{"pid": 1, "page_size": 4096}'),
            (FrameKind.STDOUT, answer),
            (FrameKind.ENDED, b'{"status": 0}'),
        )
        self._data = [b"".join(frame(kind, payload) for kind, payload in frames)]
        self._sealer = Sealer()

    def send(self, data: bytes, deadline: Deadline) -> None:
        assert self._sealer.hear(data)

    def receive(self, deadline: Deadline) -> bytes:
        return self._sealer.seal(self._data.pop())


@dataclass
class FakeGuest:
    """A guest whose agent prints these facts; it records the limits under which they are read."""

    capabilities: Capabilities = OWN_KERNEL
    answer: bytes = msgspec.json.encode(replace(MEASURED, first=0x50000000))
    paths: GuestPaths = field(default_factory=GuestPaths)
    limits: list[Limits] = field(default_factory=list)

    @contextlib.contextmanager
    def open(
        self, argv: list[str], limits: Limits, deadline: Deadline, how: Supervision
    ) -> Iterator[AgentStream]:
        assert argv == ["/init", "facts"]
        self.limits.append(limits)
        yield AgentStream(self.answer)


def a_guest(**values: object) -> Guest:
    return cast("Guest", FakeGuest(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "changes", "why"),
    [
        ("overcommit=2", {}, "belongs to the whole host"),
        ("max_map_count=200+rlimit_as=1G", {}, "belongs to the whole host"),
        ("memory=64M", {"cgroup": Cgroup()}, "no memory cgroup"),
        ("no-aslr", {"tools": Tools(personality=1)}, "Operation not permitted"),
        ("layout=legacy", {"tools": Tools(personality=1)}, "personality"),
        ("wx=refused", {"tools": Tools(mdwe=22, seccomp=22)}, "the kernel lacks PR_SET_MDWE"),
        ("seccomp=docker", {"tools": Tools(seccomp=22)}, "seccomp is refused here"),
        ("mmap_rnd_bits=28", {}, "belongs to the whole host"),
        ("mmap_rnd_compat_bits=8", {}, "belongs to the whole host"),
        ("hugepages=1", {}, "belongs to the whole host"),
        ("thp=never", {}, "belongs to the whole host"),
        ("noreplace=unknown", {"tools": Tools(ptrace=1)}, "ptrace"),
        ("noreserve=ignored", {"tools": Tools(ptrace=1)}, "ptrace"),
        ("hints=ignored", {"tools": Tools(ptrace=1)}, "ptrace"),
        ("fail=mmap:1:ENOMEM", {"tools": Tools(seccomp=22)}, "seccomp"),
        ("ceiling=38bit", {"pointer_size": 4, "task_size": 0xC0000000}, "ends at 0xc0000000"),
        ("occupied=0x7f00000000-0x8000000000", {}, "ends at 0x7f80000000"),
        ("ceiling=39bit", {}, "no effect: the address space ends at 0x7f80000000"),
        ("ceiling=38bit", {"tools": Tools(ptrace=1)}, "ptrace"),
        ("ceiling=38bit", {"machine": "ppc64"}, "programs for ppc64 in a guest"),
        ("ceiling=38bit+occupied=0x4000000000-0x5000000000", {}, "ends at 0x4000000000"),
        ("occupied=0x1000-0x2000", {}, "lowest address is 0x10000"),
        ("occupied=0x40000000-0x80000000+rlimit_as=1G", {}, "count for RLIMIT_AS"),
        ("occupied=0x40001000-0x40008000", {"page_size": 16384}, "0x40001000 is not a multiple"),
        ("occupied=0x40004000-0x40009000", {"page_size": 16384}, "0x40009000 is not a multiple"),
        ("hints=ignored@0x40000000-0x40008000", {"page_size": 65536}, "of this guest, 64K"),
        ("ceiling=0x7f40001000", {"page_size": 16384}, "0x7f40001000 is not a multiple"),
    ],
)
def test_names_reason_and_remedy_of_an_unsupported_limit(
    limit: str, changes: dict[str, object], why: str
) -> None:
    where = replace(MEASURED, **changes)  # type: ignore[arg-type]
    support = support_for(a_guest(capabilities=HOST_KERNEL), where, Limits.parse(limit))
    assert not support.ok
    assert why in support.reason
    assert support.remedy
    with pytest.raises(UnsupportedError, match=re.escape(support.reason)):
        facts_under(
            a_guest(capabilities=HOST_KERNEL), where, Limits.parse(limit), Deadline.after(1)
        )


@pytest.mark.parametrize(("error", "named"), [(errno.EPERM, True), (errno.EINVAL, False)])
def test_an_engine_can_allow_only_what_its_profile_refuses(error: int, named: bool) -> None:
    where = replace(MEASURED, tools=Tools(seccomp=error))
    support = support_for(a_guest(), where, Limits.parse("hints=ignored"))
    assert not support.ok
    assert ("seccomp profile" in support.remedy) is named
    assert "UML or QEMU" in support.remedy


def test_faults_need_a_program_of_the_machine_of_the_guest() -> None:
    limits = Limits.parse("hints=ignored")
    for machine in ("x86_64", "aarch64", "riscv64", "s390x"):
        assert support_for(a_guest(), replace(MEASURED, machine=machine), limits).ok
    assert support_for(a_guest(), MEASURED, limits, "x86_64").ok
    assert support_for(a_guest(), replace(MEASURED, pointer_size=4), limits, "i386").ok
    assert support_for(a_guest(), MEASURED, limits, "i386").ok, "a 64-bit kernel runs it as well"
    assert not support_for(a_guest(), MEASURED, limits, "arm").ok
    assert "programs for riscv64" in support_for(a_guest(), MEASURED, limits, "riscv64").reason


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
def test_supports_other_limits(limit: str) -> None:
    assert support_for(a_guest(capabilities=HOST_KERNEL), MEASURED, Limits.parse(limit)).ok


@pytest.mark.parametrize(
    ("tools", "note"),
    [
        (Tools(mdwe=0), "(PR_SET_MDWE), with EACCES"),
        (Tools(), "a seccomp filter does it, with EPERM"),
    ],
)
def test_notes_how_write_and_execute_is_refused(tools: Tools, note: str) -> None:
    limits = Limits.parse("wx=refused")
    assert note in support_for(a_guest(), replace(MEASURED, tools=tools), limits).notes[0]


def test_huge_pages_leave_half_of_the_memory() -> None:
    """A kernel that may take all of it kills the programs of the guest."""
    space = replace(MEASURED, huge_page_size=32 << 20)
    refused = support_for(a_guest(), space, Limits.parse("hugepages=2"))
    assert "2 huge pages are 64M, of the 122M" in refused.reason
    assert refused.remedy
    assert support_for(a_guest(), space, Limits.parse("hugepages=1")).ok
    assert support_for(a_guest(), MEASURED, Limits.parse("hugepages=1")).ok, "it has none"


@pytest.mark.parametrize("limit", ["rlimit_memlock=64K", "rlimit_nproc=8"])
def test_root_is_exempt_from_some_limits(limit: str) -> None:
    own = a_guest(capabilities=OWN_KERNEL)
    refused = support_for(own, MEASURED, Limits.parse(limit))
    assert f"to which the kernel does not apply {limit.partition('=')[0]}" in refused.reason
    assert "+user=nobody" in refused.remedy
    assert support_for(own, MEASURED, Limits.parse(f"{limit}+user=nobody")).ok
    assert not support_for(own, MEASURED, Limits.parse(f"{limit}+user=root")).ok
    assert support_for(own, MEASURED, Limits.parse(limit), user="1000").ok
    container = a_guest(capabilities=HOST_KERNEL)
    assert support_for(container, MEASURED, Limits.parse(limit)).ok


def test_measures_facts_again_only_if_a_limit_changes_them() -> None:
    guest = FakeGuest()
    still = Limits.parse("rlimit_as=1G+hints=ignored+memory=64M")
    assert measure_under(cast("Guest", guest), MEASURED, still, Deadline.after(1)) is MEASURED
    moving = Limits.parse("rlimit_as=1G+no-aslr+hints=ignored+memory=64M+overcommit=2")
    assert (
        measure_under(cast("Guest", guest), MEASURED, moving, Deadline.after(1)).first == 0x50000000
    )
    assert [str(each) for each in guest.limits] == ["overcommit=2+no-aslr"]


def test_measures_a_ceiling_but_keeps_the_tools() -> None:
    traced = replace(MEASURED, task_size=1 << 38, tools=Tools(ptrace=1))
    guest = FakeGuest(answer=msgspec.json.encode(traced))
    asked = Limits.parse("rlimit_as=1G+ceiling=38bit+hints=ignored")
    found = facts_under(cast("Guest", guest), MEASURED, asked, Deadline.after(1))
    assert (found.task_size, found.tools) == (1 << 38, MEASURED.tools)
    assert [str(each) for each in guest.limits] == ["ceiling=38bit"]


def test_rejects_facts_that_cannot_be_read() -> None:
    with pytest.raises(GuestError, match="cannot be read"):
        measure_under(a_guest(answer=b"{"), MEASURED, Limits.parse("no-aslr"), Deadline.after(1))


@pytest.mark.parametrize(
    "kind", [native, container_root, container_image, remote_machine, qemu_user, gvisor]
)
def test_no_guest_without_a_kernel_of_ours_changes_settings_of_a_kernel(kind: ModuleType) -> None:
    refused = kind.CAPABILITIES.unsupported_limits
    for limit in (
        "overcommit", "max_map_count", "mmap_rnd_bits", "hugepages", "thp", "exec_refused",
    ):  # fmt: skip
        assert refused[limit]
