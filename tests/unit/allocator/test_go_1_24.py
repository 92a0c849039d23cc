"""modern-1.24 compared with the start-up of a real program of Go 1.24, call by call."""

from typing import Any

import pytest
from allocator_support import MIB

from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.options import parse_size
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import predict
from tests.go_trace import CASES, expected, symbolic

OWN = (131072, 4194304)  # bytes of the tables and of a heap bitmap, which Go 1.24 does not have
OWN_PLACE = 0x20000000


class WithOwnElsewhere(ModelKernel):
    """A kernel that places the mappings that Go does not make where they are not in the way."""

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self._own = OWN_PLACE

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        if addr or not prot or length not in OWN:
            return super().mmap(addr, length, prot, flags)
        self._own += length
        return super().mmap(self._own - length, length, prot, flags | 0x10)


def kernel(case: dict[str, Any]) -> ModelKernel:
    sizes = {k: parse_size(v) for k, v in case["kernel"].items() if isinstance(v, str)}
    return WithOwnElsewhere(AddressSpace(**{**case["kernel"], **sizes}))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_makes_every_call_of_the_packaged_go(case: dict[str, Any]) -> None:
    outcome = predict(POLICIES["modern-1.24"], kernel(case), workload="none")
    calls = [
        c
        for c in outcome.calls
        if not (c.args[0] == 0 and c.args[1] in OWN and c.args[2:3] == (3,))
    ]
    assert symbolic(calls) == expected(case)
    assert outcome.message == (
        "failed to reserve page summary memory" if "300 MiB" in case["name"] else ""
    )


def test_commits_4_mib_at_a_time() -> None:
    outcome = predict(POLICIES["modern-1.24"], ModelKernel(), workload="grow:70M")
    heap = [
        c.args[:2]
        for c in outcome.calls
        if c.name == "mmap" and 0xC0 << 32 <= c.args[0] < 0xC1 << 32
    ]
    arenas = [each for each in heap if each[1] == 64 * MIB]
    assert arenas == [(0xC000000000, 64 * MIB), (0xC004000000, 64 * MIB)]
    chunks = [each for each in heap if each[1] != 64 * MIB]
    assert chunks == [(0xC000000000 + i * 4 * MIB, 4 * MIB) for i in range(len(chunks))]
    assert (outcome.path, outcome.outcome) == ("high", "allocates")


@pytest.mark.parametrize(
    ("mib", "message"),
    [
        (1, "failed to reserve page summary memory"),
        (584, "failed to reserve page summary memory"),
        (586, "out of memory"),  # no arena, and the scavenger's index is missing
        (655, "out of memory allocating heap arena map"),
        (685, "out of memory allocating heap arena metadata"),
        (686, "pageAlloc: out of memory"),
        (700, ""),
        (1095, ""),
        (1100, "out of memory"),  # the index is there, and so an arena is not
        (1250, ""),
    ],
)
def test_dies_of_too_small_a_limit_as_go_does(mib: int, message: str) -> None:
    """Observed: go-hello starts under 700 and 1000 MiB, and not under 1110 MiB."""
    space = AddressSpace(rlimit_as=mib * MIB)
    assert predict(POLICIES["modern-1.24"], ModelKernel(space)).message == message


@pytest.mark.parametrize("nth", [1, 12, 18, 19, 20])
def test_dies_if_memory_of_the_runtime_itself_is_missing(nth: int) -> None:
    outcome = predict(
        POLICIES["modern-1.24"], ModelKernel(AddressSpace(failures=[("mmap", nth, 12)]))
    )
    assert (outcome.status, outcome.path) == (2, "refused")
