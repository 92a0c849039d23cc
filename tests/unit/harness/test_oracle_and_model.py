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

from foothold_lab.harness import oracle
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.facts import Facts, Hint, Tools
from foothold_lab.harness.model.failures import Failure
from foothold_lab.harness.model.limits import EVERYWHERE, Limits, Range
from foothold_lab.harness.oracle import modelled
from tests.unit.harness.oracle_spaces import INTERESTING, empty_process, space_of
from tests.unit.harness.samples import facts

pytestmark = pytest.mark.thorough

MIB = 1 << 20
HIGH = 0xF8 << 32
EXAMPLES = int(os.environ.get("FOOTHOLD_EXAMPLES", "0"))
SIZES = {
    4: [0xC0000000, 0xFFFFE000, 0x80000000, 0xFFFFF000],
    8: [0x7FC0000000, 0x7F80000000, 0x4000000000, 0x7F8000000000, 0x7FFFFFFFF000],
}


def multiples(low: int, high: int, unit: int = 4096) -> st.SearchStrategy[int]:
    return st.integers(low // unit, high // unit).map(lambda n: n * unit)


rooms = st.none() | st.one_of(
    st.integers(0, 40).map(lambda n: n * MIB // 2),
    st.integers(1, 64).map(lambda n: n * 32 * MIB),
    st.integers(600, 800).map(lambda n: n * MIB),
    multiples(MIB, 3000 * MIB),
)
failures = st.lists(
    st.builds(
        Failure,
        st.just("hinted"),
        st.integers(1, 5),
        st.sampled_from(["ENOMEM", "EAGAIN"]),
        every=st.integers(0, 2),
    ),
    max_size=2,
).map(tuple)


def limits(page: int) -> st.SearchStrategy[Limits]:
    """Ranges are whole pages; the limits that count bytes need not be."""
    lengths = st.sampled_from([page, 65536, MIB, 8 * MIB, 64 * MIB, 640 * MIB, 18 << 30])
    near = st.tuples(st.sampled_from(INTERESTING), st.sampled_from([-65536, -MIB, 0, 0, page, MIB]))
    ranges = st.tuples(near, lengths).map(lambda it: Range(sum(it[0]), sum(it[0]) + it[1]))
    many = st.builds(
        Limits,
        rlimit_as=rooms,
        rlimit_data=rooms,
        overcommit=st.sampled_from([None, 0, 1, 2]),
        occupied=st.lists(ranges, max_size=2).map(tuple),
        hints_ignored=st.none() | st.just(EVERYWHERE) | ranges,
        fail=failures,
    )
    few = st.builds(Limits, rlimit_as=rooms) | st.builds(Limits, occupied=st.tuples(ranges))
    return few | many


@st.composite
def spaces(draw: st.DrawFn, pointer_size: int, page: int) -> Facts:
    low, high = (3 << 29, 1 << 32) if pointer_size == 4 else (1 << 32, 1 << 52)
    whole = [size // page * page for size in SIZES[pointer_size]]
    size = draw(st.sampled_from(whole) | multiples(low, high, page))
    upward = draw(st.booleans())
    space = space_of(size, page, pointer_size, upward=upward)
    return replace(space, commit_limit=draw(st.integers(0, 200)) * MIB + space.committed)


FORMS = [(8, policy) for policy in oracle.POLICIES] + [(4, policy) for policy in oracle.NARROW]


@pytest.mark.parametrize(("pointer_size", "policy"), FORMS)
@settings(max_examples=EXAMPLES or 150)
@given(st.data())
def test_the_oracle_and_the_allocator_on_a_model_agree(
    pointer_size: int, policy: str, data: st.DataObject
) -> None:
    compare(pointer_size, policy, 4 << 10, data)


@pytest.mark.parametrize("page", [16 << 10, 64 << 10])
@pytest.mark.parametrize(("pointer_size", "policy"), FORMS)
@settings(max_examples=EXAMPLES or 30)
@given(st.data())
def test_they_agree_about_kernels_with_larger_pages(
    pointer_size: int, policy: str, page: int, data: st.DataObject
) -> None:
    compare(pointer_size, policy, page, data)


def compare(pointer_size: int, policy: str, page: int, data: st.DataObject) -> None:
    space, narrowed = data.draw(spaces(pointer_size, page)), data.draw(limits(page))
    taken = sorted(narrowed.occupied)
    assume(all(each.end <= space.task_size for each in taken))
    assume(all(one.end <= other.start for one, other in itertools.pairwise(taken)))
    if narrowed.rlimit_as is not None:
        assume(sum(each.length for each in taken) < narrowed.rlimit_as)
    process = empty_process(pointer_size)
    try:
        foretold = oracle.predict(space, narrowed, policy, process)
    except UnsupportedError as error:
        event(f"cannot tell: {str(error)[-40:]}")
        return
    event(f"{foretold.path} {foretold.message}")
    model = modelled.run(policy, space, narrowed, process)
    assert foretold.agrees(modelled.expectation(model)), f"{foretold.reason}\n" + "\n".join(
        map(str, model.calls[:12])
    )


def test_two_arenas_at_once_need_that_much_memory() -> None:
    """Where the kernel's choice is aligned, the runtime maps all 128M that it has reserved. Overcommit
    mode 0 promises no more at once than there is (122M): __vm_enough_memory in mm/util.c.
    """
    end = 0x100010000
    space = replace(
        facts(end, high=end - (256 << 20)),
        page_size=64 << 10,
        placement="top-down",
        first=end - (256 << 20),
        hint_low=Hint(0x10000000, 0x10000000, 0),
    )
    process = empty_process(8)
    foretold = oracle.predict(space, Limits(), "modern-arm64", process)
    assert foretold.message == "throw: runtime: out of memory"
    assert "promises at most 122M" in foretold.reason
    model = modelled.run("modern-arm64", space, Limits(), process)
    assert foretold.agrees(modelled.expectation(model))


@pytest.mark.parametrize("mdwe", [0, 22])
@pytest.mark.parametrize("task_size", [0x7FC0000000, 0x7FFFFFFFF000])
@pytest.mark.parametrize("policy", oracle.POLICIES)
def test_the_runtimes_of_2012_map_all_memory_as_executable(
    policy: str, task_size: int, mdwe: int
) -> None:
    """With EACCES they name SELinux and exit, with EPERM the first table is missing. The runtimes of
    today map nothing executable.
    """
    space = replace(facts(task_size), tools=Tools(mdwe=mdwe))
    limits = Limits.parse("wx=refused")
    process = empty_process(8)
    foretold = oracle.predict(space, limits, policy, process)
    assert foretold.agrees(modelled.expectation(modelled.run(policy, space, limits, process)))
    old = policy in oracle.NARROW
    words = "out of memory (FixAlloc)" if mdwe else "enable execmem for this process."
    assert (words in foretold.message) is old
