"""What the oracle's model of a kernel refuses: the errno of each call, at the limit and beyond."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from foothold_lab.harness.model.facts import Tools
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.oracle.modelled import Narrowed
from tests.unit.harness.oracle_spaces import empty_process
from tests.unit.harness.samples import facts

MIB = 1 << 20
READ, WRITE, EXECUTE = 1, 2, 4
PRIVATE, FIXED = 0x22, 0x32
PROCESS = empty_process(8)
SPACE = facts()


def kernel(limits: str = "none", **changed: object) -> Narrowed:
    return Narrowed(replace(SPACE, **changed), Limits.parse(limits), PROCESS)  # type: ignore[arg-type]


@pytest.mark.parametrize("protection", [WRITE, READ | WRITE])
@pytest.mark.parametrize(
    ("limits", "changed", "granted"),
    [
        ("none", {"memory": 8 * MIB}, 8 * MIB),
        ("overcommit=0", {"memory": 8 * MIB, "overcommit": 1}, 8 * MIB),
        ("rlimit_data=8M", {}, 8 * MIB - PROCESS.data),
        # /proc/meminfo: CommitLimit, less what is committed, less the reserve of a process
        (
            "overcommit=2",
            {"commit_limit": 16 * MIB, "committed": 4 * MIB, "memory": 32 * MIB},
            11 * MIB - PROCESS.data,
        ),
    ],
)
def test_writable_memory_is_limited(
    limits: str, changed: dict[str, object], granted: int, protection: int
) -> None:
    assert kernel(limits, **changed).mmap(0, granted + 4096, protection, PRIVATE) == -errno.ENOMEM
    full = kernel(limits, **changed)
    assert full.mmap(0, granted, protection, PRIVATE) > 0
    assert full.mmap(0, 64 * MIB, READ, PRIVATE) > 0, "what cannot be written is not counted"


def test_memory_that_is_there_is_not_counted_with_all_overcommit() -> None:
    assert kernel("overcommit=1", memory=8 * MIB).mmap(0, 9 * MIB, WRITE, PRIVATE) > 0


def test_a_mapping_that_is_replaced_counts_once() -> None:
    data = kernel("rlimit_data=8M")
    room = 8 * MIB - PROCESS.data
    place = data.mmap(0, room, READ | WRITE, PRIVATE)
    assert data.mmap(place, room, READ | WRITE, FIXED) == place
    assert data.mmap(0, 4096, READ | WRITE, PRIVATE) == -errno.ENOMEM


@pytest.mark.parametrize(("mdwe", "number"), [(0, errno.EACCES), (errno.EINVAL, errno.EPERM)])
def test_memory_to_write_and_execute_is_refused(mdwe: int, number: int) -> None:
    refusing = kernel("wx=refused", tools=Tools(mdwe=mdwe))
    assert refusing.mmap(0, MIB, READ | WRITE | EXECUTE, PRIVATE) == -number
    assert refusing.mmap(0, MIB, READ | EXECUTE, PRIVATE) > 0
    assert refusing.mmap(0, MIB, READ | WRITE, PRIVATE) > 0


def test_the_hinted_mapping_with_that_number_fails() -> None:
    failing = kernel("fail=hinted:2:EACCES")
    assert failing.mmap(0, MIB, READ, PRIVATE) > 0, "without a hint"
    assert failing.mmap(0x10000000, MIB, READ, PRIVATE) == 0x10000000
    assert failing.mmap(0x20000000, MIB, READ, PRIVATE) == -errno.EACCES
    assert failing.mmap(0x20000000, MIB, READ, PRIVATE) == 0x20000000


def test_an_ignored_hint_gives_another_address() -> None:
    ignoring = kernel("hints=ignored")
    assert ignoring.mmap(0x10000000, MIB, READ, PRIVATE) != 0x10000000
    assert ignoring.mmap(0x10000000, MIB, READ, FIXED) == 0x10000000
