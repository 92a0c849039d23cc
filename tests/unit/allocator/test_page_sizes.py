"""The runtime of 2012 on kernels with pages larger than its own, which have 4 KiB."""

import pytest

from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import Prediction, predict
from tests.unit.allocator.allocator_support import MIB, Lab

PAGES = [16 << 10, 64 << 10]


def model(page: int, **space: int) -> ModelKernel:
    return ModelKernel(AddressSpace(page_size=page, **space))


def lengths(prediction: Prediction) -> list[int]:
    return [call.args[1] for call in prediction.calls if call.args]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_default_workload_needs_no_smaller_pages(policy: str, page: int) -> None:
    large, small = (predict(POLICIES[policy], model(each)) for each in (page, 4 << 10))
    assert (large.path, large.outcome) == (small.path, small.outcome) == ("high", "allocates")
    if policy != "modern-1.24":  # which commits its tables by pages of the kernel
        assert large.stats == small.stats
        assert lengths(large) == lengths(small)


@pytest.mark.parametrize("page", PAGES)
def test_a_bitmap_that_does_not_begin_at_a_page_kills_the_runtime(page: int) -> None:
    """The bitmap grows downwards by multiples of 8 KiB: 1 MiB and 1152 KiB of heap have 136 KiB.
    In the high arena the hint is rounded down, and mincore refuses an address within a page.
    """
    high = predict(POLICIES["after"], model(page), workload="block:1150000")
    asked = 0xF840000000 - (136 << 10)
    given = asked // page * page
    assert high.printed == (f"runtime: address space conflict: map({asked:#x}) = {given:#x}",)
    assert (high.message, high.status) == ("runtime: address space conflict", 2)
    assert [(call.name, call.result) for call in high.calls[-2:]] == [
        ("mmap", given), ("mincore", -22),
    ]  # fmt: skip
    low = predict(POLICIES["after"], model(page, task_size=1 << 39), workload="block:1150000")
    assert low.message == "runtime: cannot map pages in arena address space"
    assert low.calls[-1].result == -22
    assert predict(POLICIES["after"], model(4096), workload="block:1150000").status == 0


@pytest.mark.parametrize(("page", "message"), [
    (4 << 10, ""), (16 << 10, "runtime: cannot map pages in arena address space"),
])  # fmt: skip
def test_memlimit_divides_by_its_own_page(page: int, message: str) -> None:
    lab = Lab("memlimit", page_size=page, rlimit_as=300 * MIB)
    assert predict(POLICIES["memlimit"], lab.kernel).message == message


def test_summaries_of_go_1_24_are_committed_by_pages_of_the_kernel() -> None:
    page = 64 << 10
    calls = predict(POLICIES["modern-1.24"], model(page)).calls
    fixed = [call.args for call in calls if call.name == "mmap" and call.args[3] & 0x10]
    assert [args[1] for args in fixed[1:7]] == [128 << 10, *[page] * 5]
    assert all(args[0] % page == 0 for args in fixed)
