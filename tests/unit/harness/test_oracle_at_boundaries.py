"""The oracle against the allocator on a model of the kernel, at each value where the oracle changes its
answer: to the page below it, at it, and half-way to the next one.

Random values seldom meet such a value. Here a limit or a fact grows from nothing to plenty.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from foothold_lab.harness import oracle
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import EVERYWHERE, Limits, Range
from foothold_lab.harness.model.verdict import Expectation
from foothold_lab.harness.oracle import modelled
from tests.unit.harness.oracle_spaces import INTERESTING, empty_process, space_of

pytestmark = pytest.mark.thorough

MIB = 1 << 20
HIGH = 0xF8 << 32


@dataclass(frozen=True, kw_only=True)
class Question:
    """An address space and its limits."""

    space: Facts
    limits: Limits


def unlimited_space(size: int, page: int, pointer_size: int = 8, *, upward: bool = False) -> Facts:
    """Return an address space of a machine with unlimited memory."""
    space = space_of(size, page, pointer_size, upward=upward)
    return replace(space, commit_limit=-1, committed=-1, memory=-1)


def rlimit_as(asked: Question, size: int) -> Question:
    return replace(asked, limits=replace(asked.limits, rlimit_as=size))


def rlimit_data(asked: Question, size: int) -> Question:
    return replace(asked, limits=replace(asked.limits, rlimit_data=size))


def promised(asked: Question, size: int) -> Question:
    """Overcommit mode 2 promises `size` bytes."""
    space = replace(asked.space, commit_limit=size, committed=0, memory=0)
    return Question(space=space, limits=replace(asked.limits, overcommit=2))


def memory(asked: Question, size: int) -> Question:
    """Overcommit mode 0 promises at most `size` bytes at once."""
    return replace(asked, space=replace(asked.space, memory=size, overcommit=0))


def ends_at(asked: Question, address: int) -> Question:
    """The address space ends there."""
    space = asked.space
    upward = space.placement == "bottom-up"
    ended = unlimited_space(address, space.page_size, space.pointer_size, upward=upward)
    return replace(asked, space=replace(ended, first=space.first) if upward else ended)


def occupied(asked: Question, start: int, end: int) -> Question:
    return replace(asked, limits=replace(asked.limits, occupied=(Range(start, end),)))


def occupied_below(asked: Question, address: int) -> Question:
    return occupied(asked, asked.space.lowest, address)


def occupied_above(asked: Question, address: int) -> Question:
    page = asked.space.page_size
    return occupied(asked, address, asked.space.task_size // page * page)


def occupied_at(asked: Question, address: int) -> Question:
    return occupied(asked, address, address + MIB)


def ignored_from(asked: Question, address: int) -> Question:
    """Hints above the address are ignored."""
    ignored = Range(address, asked.space.task_size)
    return replace(asked, limits=replace(asked.limits, hints_ignored=ignored))


GROWING = {each.__name__: each for each in (rlimit_as, rlimit_data, promised, memory)}
UPWARD = unlimited_space(0x7FC0000000, 4096, upward=True)
# so many MiB and 64 KiB of the low arena lie below 4 GiB: behind a misplaced probe, and 128 MiB of bitmap
ACROSS = {
    f"{below} MiB below 4 GiB": Question(
        space=replace(UPWARD, first=0xFFFF0000 - (128 + below) * MIB - 65536),
        limits=Limits(hints_ignored=Range(0x1000000, 0x10000000)),
    )
    for below in (0, 1, 2, 5)
}
WIDE = unlimited_space(0x7FFFFFFFF000, 4096)
OCCUPIED = Limits(occupied=(Range(HIGH + (1 << 30), HIGH + (1 << 30) + 8 * MIB),))
QUESTIONS = {
    "39 bits upward": Question(space=UPWARD, limits=Limits()),
    "47 bits, pages of 64 KiB": Question(
        space=unlimited_space(0x7FFFFFFF0000, 65536), limits=Limits()
    ),
    "the high arena occupied": Question(space=WIDE, limits=OCCUPIED),
    "hints ignored": Question(space=WIDE, limits=Limits(hints_ignored=EVERYWHERE)),
    **ACROSS,
    "3 GiB": Question(space=unlimited_space(0xC0000000, 4096, 4), limits=Limits()),
    "4 GiB upward": Question(
        space=unlimited_space(0xFFFFE000, 4096, 4, upward=True), limits=Limits()
    ),
}


# the policies that such a space concerns; all without an entry
POLICIES = {
    "the high arena occupied": ("before", "grsec"),
    "hints ignored": ("after", "grsec", "modern", "modern-1.24"),
    **dict.fromkeys(ACROSS, ("after",)),
}


def policies_of(name: str) -> Iterable[str]:
    if name in POLICIES:
        return POLICIES[name]
    return oracle.POLICIES if QUESTIONS[name].space.pointer_size == 8 else oracle.NARROW


CASES = [
    pytest.param(asked, policy, id=f"{name}-{policy}")
    for name, asked in QUESTIONS.items()
    for policy in policies_of(name)
]


def answer(question: Question, policy: str) -> Expectation | None:
    """Return the oracle's answer; None if it is undecided."""
    process = empty_process(question.space.pointer_size)
    try:
        return oracle.predict(question.space, question.limits, policy, process)
    except UnsupportedError:
        return None


def agree(question: Question, policy: str, expected: Expectation) -> bool:
    process = empty_process(question.space.pointer_size)
    model = modelled.run(policy, question.space, question.limits, process)
    return expected.agrees(modelled.expectation(model))


def boundaries(
    says: Callable[[int], Expectation | None], values: Sequence[int], unit: int
) -> Iterator[int]:
    """Yield the values, in units, from which on the answer differs from the one before."""

    def differs(one: int, other: int) -> bool:
        here, there = says(one), says(other)
        return here is not there and not (here and there and here.agrees(there))

    for start, end in itertools.pairwise(values):
        while differs(start, end):
            same, other = start, end
            while other - same > unit:
                middle = max((same + other) // 2 // unit * unit, same + unit)
                if differs(start, middle):
                    other = middle
                else:
                    same = middle
            yield other
            start = other


def check(ask: Callable[[int], Question], policy: str, values: Sequence[int], unit: int) -> int:
    """Compare at all boundaries between the values. Return how many there are."""
    edges = list(boundaries(lambda value: answer(ask(value), policy), values, unit))
    ends = [values[0], *edges, values[-1]]
    between = [(one + other) // 2 // unit * unit for one, other in itertools.pairwise(ends)]
    tried = {*between, *edges, *(each - unit for each in edges)}
    for value in sorted(tried):
        question = ask(value)
        if expected := answer(question, policy):
            assert agree(question, policy, expected), f"{value:#x}: {expected}"
    return len(edges)


SIDES = {
    each.__name__: each
    for each in (ends_at, occupied_below, occupied_above, occupied_at, ignored_from)
}


@pytest.mark.parametrize("kind", GROWING)
@pytest.mark.parametrize(("asked", "policy"), CASES)
def test_a_limit_that_grows_changes_both_answers_at_the_same_size(
    asked: Question, policy: str, kind: str
) -> None:
    page = asked.space.page_size
    # no kernel has less memory than the largest mapping before the heap, a MiB
    small = range(MIB if kind == "memory" else 0, 16 * MIB, 4 * page)
    sizes = [*small, *range(16 * MIB, 4 << 30, 4 * MIB)]
    edges = check(lambda size: GROWING[kind](asked, size), policy, sizes, page)
    assert edges or kind == "memory"  # most runtimes map a MiB at once


@pytest.mark.parametrize("kind", SIDES)
@pytest.mark.parametrize(("asked", "policy"), CASES)
def test_an_address_that_grows_changes_both_answers_at_the_same_address(
    asked: Question, policy: str, kind: str
) -> None:
    space = asked.space
    unit, end = space.page_size, space.task_size
    near = [
        0,
        *(sign * size for size in (65536, MIB, 8 * MIB, 64 * MIB, 800 * MIB) for sign in (-1, 1)),
    ]
    places = {place + each for place in (*INTERESTING, end, space.first) for each in near}
    # an address space does not end within what limits occupy
    lowest = max((each.end for each in asked.limits.occupied), default=MIB)
    addresses = [each // unit * unit for each in sorted(places) if lowest <= each <= end - MIB]
    check(lambda address: SIDES[kind](asked, address), policy, addresses, unit)
