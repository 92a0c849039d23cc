"""The oracle against the allocator on a model of the kernel, over random address spaces.

They share no code. Where they differ, one of them is wrong about Go or about Linux. Where the
oracle says that it cannot tell, nothing is compared: that is one space in twenty, and less.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

import allocator.predict
from allocator.arena import GO_END
from allocator.kernel import ENOMEM, MAP_FIXED
from allocator.modelkernel import PAGE, ModelKernel
from allocator.policy import POLICIES
from harness import oracle
from harness.errors import UnsupportedError
from harness.facts import Facts, Hint
from harness.limits import EVERYWHERE, Failure, Limits, Range
from tests.unit.harness.samples import facts

MIB = 1 << 20
HIGH = 0xF8 << 32
LOW = (GO_END + (1 << 18) + MIB - 1) & ~(MIB - 1)
MODEL = oracle.Process(size=0, data=0, unsure=0, low=Range(LOW, LOW))
SIZES = [0x7FC0000000, 0x7F80000000, 0x4000000000, 0x7F8000000000, 0x7FFFFFFFF000]


class Bent(ModelKernel):
    """The model with what it has not: RLIMIT_DATA, promises, ignored hints, failing ones."""

    def __init__(self, space: Facts, limits: Limits) -> None:
        self._limits = limits
        self._hinted = 0
        self._promises = space.commit_limit - space.committed - space.memory // 32
        super().__init__(
            space.task_size, top_down=space.placement == "top-down", mmap_base=space.first,
            occupied=[(each.start, each.end) for each in limits.occupied],
            rlimit_as=limits.rlimit_as,
        )  # fmt: skip

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        limits = self._limits
        if addr and not flags & MAP_FIXED:
            self._hinted += 1
            for each in limits.fail:
                if each.nth == self._hinted:
                    return -each.number
            if limits.hints_ignored and addr in limits.hints_ignored:
                addr = 0
        if prot & 2:
            used = sum(end - start for start, end, had in self.maps() if had & 2)
            # mmap_region() takes off what MAP_FIXED replaces, whatever that was
            more = length - (self._mapped(addr, addr + length) if flags & MAP_FIXED else 0)
            if limits.rlimit_data is not None and used + more > limits.rlimit_data:
                return -ENOMEM
            if limits.overcommit == 2 and used + length > self._promises:
                return -ENOMEM
        return super().mmap(addr, length, prot, flags)


def pages(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low // PAGE, high // PAGE).map(lambda n: n * PAGE)


INTERESTING = [LOW, HIGH, HIGH + (1 << 30), 0xC0 << 32, 0x40 << 32, 0x40000000, 1 << 32]
lengths = st.sampled_from([PAGE, 65536, MIB, 8 * MIB, 64 * MIB, 640 * MIB, 18 << 30])
near = st.tuples(st.sampled_from(INTERESTING), st.sampled_from([-65536, -MIB, 0, 0, PAGE, MIB]))
ranges = st.tuples(near, lengths).map(lambda it: Range(sum(it[0]), sum(it[0]) + it[1]))
hints = st.none() | st.just(EVERYWHERE) | ranges
rooms = st.none() | st.one_of(
    st.integers(0, 40).map(lambda n: n * MIB // 2), st.integers(1, 64).map(lambda n: n * 32 * MIB),
    st.integers(600, 720).map(lambda n: n * MIB), pages(MIB, 3000 * MIB),
)  # fmt: skip
failures = st.lists(
    st.builds(Failure, st.just("hinted"), st.integers(1, 5), st.sampled_from(["ENOMEM", "EAGAIN"])),
    max_size=2,
).map(tuple)
limits = st.builds(
    Limits, rlimit_as=rooms, rlimit_data=rooms, overcommit=st.sampled_from([None, 0, 1, 2]),
    occupied=st.lists(ranges, max_size=2).map(tuple), hints_ignored=hints, fail=failures,
)  # fmt: skip
few = st.builds(Limits, rlimit_as=rooms) | st.builds(Limits, occupied=st.tuples(ranges))


@st.composite
def spaces(draw: st.DrawFn) -> Facts:
    size = draw(st.sampled_from(SIZES) | pages(1 << 32, 1 << 52))
    upward = draw(st.booleans())
    first = 0x40000000 if upward else size - (256 << 20)
    space = facts(size, high=HIGH if size >= HIGH + 65536 else first)
    commit = draw(st.integers(0, 200)) * MIB
    return replace(
        space, placement="bottom-up" if upward else "top-down", first=first,
        hint_low=Hint(0x10000000, 0x10000000, 0), commit_limit=commit + space.committed,
    )  # fmt: skip


@pytest.mark.parametrize("policy", oracle.POLICIES)
@settings(max_examples=int(os.environ.get("FOOTHOLD_EXAMPLES", "150")), deadline=None)
@given(spaces(), few | limits)
def test_the_oracle_and_the_allocator_on_a_model_agree(
    policy: str, space: Facts, narrowed: Limits
) -> None:
    taken = sorted(narrowed.occupied)
    assume(all(each.end <= space.task_size for each in taken))
    assume(all(one.end <= other.start for one, other in itertools.pairwise(taken)))
    if narrowed.rlimit_as is not None:
        assume(sum(each.length for each in taken) < narrowed.rlimit_as)
    try:
        foretold = oracle.predict(space, narrowed, policy, MODEL)
    except UnsupportedError as error:
        event(f"cannot tell: {str(error)[-40:]}")
        return
    event(f"{foretold.path} {foretold.message}")
    model = allocator.predict.predict(POLICIES[policy], Bent(space, narrowed))
    assert (model.path, model.outcome, model.status, model.message) == (
        foretold.path, foretold.outcome, foretold.status, foretold.message.removeprefix("throw: "),
    ), f"{foretold.reason}\n" + "\n".join(map(str, model.calls[:12]))  # fmt: skip
