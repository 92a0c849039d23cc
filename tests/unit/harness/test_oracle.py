"""The oracle against what the real toolchains of 2012 did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import allocator.predict
from allocator.modelkernel import ModelKernel
from allocator.policy import POLICIES
from harness import oracle
from harness.cells import Limits
from harness.errors import UsageError
from harness.oracle import predict
from harness.verdict import Expectation, Outcome, Path
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
REFUSED = Expectation(Path.REFUSED, Outcome.DIES, 2, CANNOT_RESERVE)


@pytest.mark.parametrize("rlimit", LIMITS)
@pytest.mark.parametrize("policy", ["before", "after"])
@pytest.mark.parametrize("task_size", [NATIVE, UML_7_2, LA57, 0x1000000000000])
def test_four_levels_give_the_high_arena(task_size: int, policy: str, rlimit: int | None) -> None:
    foretold = predict(facts(task_size), Limits(rlimit), policy)
    assert foretold.agrees(HIGH_ALLOCATES)
    assert f"{task_size:#x}" in foretold.reason


@pytest.mark.parametrize("rlimit", LIMITS)
@pytest.mark.parametrize("task_size", [UML_6_1, UML_6_12, 0x4000000000])
def test_three_levels_kill_before(task_size: int, rlimit: int | None) -> None:
    foretold = predict(facts(task_size), Limits(rlimit), "before")
    assert foretold.agrees(DIES)
    assert foretold.reason == (
        f"0xf840000000 lies beyond the task size {task_size:#x}, and nothing else is tried"
    )


@pytest.mark.parametrize(
    ("rlimit", "expected"),
    [
        (None, LOW_ALLOCATES), (300 * MIB, REFUSED), (800 * MIB, LOW_ALLOCATES),
        (2048 * MIB, LOW_ALLOCATES), (640 * MIB, REFUSED), (700 * MIB, LOW_ALLOCATES),
    ],
)  # fmt: skip
@pytest.mark.parametrize("task_size", [UML_6_1, UML_6_12])
def test_three_levels_give_after_the_low_arena(
    task_size: int, rlimit: int | None, expected: Expectation
) -> None:
    foretold = predict(facts(task_size), Limits(rlimit), "after")
    assert foretold.agrees(expected)
    assert foretold.reason.startswith(f"0xf800000000 lies beyond the task size {task_size:#x}")


def test_a_guest_has_limits_of_its_own() -> None:
    assert predict(facts(UML_6_1, rlimit_as=300 * MIB), Limits(), "after").agrees(REFUSED)
    both = predict(facts(UML_6_1, rlimit_as=300 * MIB), Limits(2048 * MIB), "after")
    assert both.agrees(REFUSED)


def test_the_footprint_counts() -> None:
    limits = Limits(700 * MIB)
    assert predict(facts(UML_6_1), limits, "after", 59 * MIB).agrees(LOW_ALLOCATES)
    assert predict(facts(UML_6_1), limits, "after", 61 * MIB).agrees(REFUSED)


@pytest.mark.parametrize("policy", ["before", "after"])
@pytest.mark.parametrize(
    ("room", "path"), [(1, Path.REFUSED), (2, Path.HIGH), (6, Path.HIGH)], ids=str
)
def test_no_room_for_the_heap(policy: str, room: int, path: Path) -> None:
    """The model of the kernel comes to the same."""
    limits = Limits(oracle.FOOTPRINT + room * MIB)
    foretold = predict(facts(), limits, policy)
    assert foretold.agrees(Expectation(path, Outcome.DIES, 2, OUT_OF_MEMORY))
    assert "RLIMIT_AS of" in foretold.reason
    model = allocator.predict.predict(POLICIES[policy], ModelKernel(rlimit_as=room * MIB))
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
    strange = facts(high=0x7F0000000000, low=0x7F0000000000)
    foretold = predict(strange, Limits(), "after")
    assert foretold.message == "throw: runtime: address space conflict"


def test_the_arena_ends_beyond_a_probe_that_was_granted() -> None:
    foretold = predict(facts(oracle.HIGH + (1 << 20), high=oracle.HIGH), Limits(), "after")
    assert foretold.agrees(DIES)


def test_an_unknown_policy_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown policy 'memlimit'") as told:
        predict(facts(), Limits(), "memlimit")
    assert told.value.hint == "policies are: before, after"


def test_pointers_of_four_bytes_are_another_story() -> None:
    with pytest.raises(UsageError, match="4 bytes"):
        predict(facts(0xC0000000, pointer_size=4), Limits(), "after")


@given(
    st.one_of(
        st.sampled_from([UML_6_1, UML_6_12, UML_7_2, NATIVE]),
        st.integers(1 << 20, 1 << 40).map(lambda pages: pages << 12),
    ),
    st.one_of(st.none(), st.integers(0, 64).map(lambda n: n * 64 * MIB)),
    st.sampled_from(["before", "after"]),
)
def test_the_oracle_and_the_allocator_on_a_model_agree(
    task_size: int, rlimit: int | None, policy: str
) -> None:
    """They share no code; where they differ, one of them is wrong about 2012."""
    if rlimit is not None and rlimit < oracle.FOOTPRINT + oracle.HEAP:
        return  # a subject that does not start: which throw comes first is nobody's promise
    kernel = ModelKernel(
        task_size, top_down=False,
        rlimit_as=None if rlimit is None else rlimit - oracle.FOOTPRINT,
    )  # fmt: skip
    model = allocator.predict.predict(POLICIES[policy], kernel, workload="none")
    end = oracle.HIGH_ARENA
    if end - (1 << 30) < task_size < end + oracle.HEAP:
        return  # the edge within which the probe is granted and the heap is not
    foretold = predict(facts(task_size), Limits(rlimit), policy)
    assert (model.path, model.outcome, model.status) == (
        foretold.path, foretold.outcome, foretold.status,
    )  # fmt: skip
    assert foretold.message == (f"throw: {model.message}" if model.message else "")
