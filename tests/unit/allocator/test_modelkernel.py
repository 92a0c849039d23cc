"""The model kernel compared with a set of pages."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from foothold_lab.allocator.modelkernel import BOTTOM_UP_BASE, AddressSpace, Fault, ModelKernel

PAGE = 4096
TASK = 64 * PAGE + (1 << 17)
FIRST = 1 << 16


class Plain:
    """A mapping of pages to protections."""

    def __init__(self, kernel: ModelKernel) -> None:
        self.kernel = kernel
        self.pages: dict[int, int] = {}

    def free(self, start: int, n: int) -> bool:
        return all(start + i not in self.pages for i in range(n))

    def mmap(self, addr: int, length: int, prot: int, fixed: bool) -> int:
        n = -(-length // PAGE)
        top = self.kernel.task_size // PAGE
        if n == 0:
            return -22
        if n > top:
            return -12
        if fixed:
            if addr % PAGE:
                return -22
            at = addr // PAGE
            if at + n > top:
                return -12
        else:
            hint = max(-(-addr // PAGE), FIRST // PAGE)
            base = self.kernel.mmap_base // PAGE
            if addr and self.kernel.hints_honoured and hint + n <= top and self.free(hint, n):
                at = hint
            else:
                down = [a for a in range(base - n, FIRST // PAGE - 1, -1) if self.free(a, n)]
                third = max(top // 3, FIRST // PAGE)
                floor = third if self.kernel.top_down else base
                up = [a for a in range(floor, top - n + 1) if self.free(a, n)]
                found = (down or up) if self.kernel.top_down else up
                if not found:
                    return -12
                at = found[0]
        new = [at + i for i in range(n)]
        total = len(self.pages) + sum(page not in self.pages for page in new)
        if total * PAGE > self.kernel.rlimit_as:
            return -12
        self.pages.update(dict.fromkeys(new, prot))
        return at * PAGE

    def munmap(self, addr: int, length: int) -> int:
        top = self.kernel.task_size
        if addr % PAGE or length == 0 or addr > top or length > top - addr:
            return -22
        for page in range(addr // PAGE, -(-(addr + length) // PAGE)):
            self.pages.pop(page, None)
        return 0

    def mincore(self, addr: int, length: int) -> int:
        if addr % PAGE:
            return -22
        pages = range(addr // PAGE, -(-(addr + length) // PAGE))
        if pages.stop > self.kernel.task_size // PAGE:
            return -12
        return 0 if all(page in self.pages for page in pages) else -12


ADDRESSES = st.one_of(
    st.integers(0, TASK // PAGE + 2).map(lambda page: page * PAGE), st.integers(0, TASK)
)
LENGTHS = st.one_of(st.integers(0, 12).map(lambda n: n * PAGE), st.integers(0, TASK + PAGE))
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("mmap"), ADDRESSES, LENGTHS, st.sampled_from([0, 3, 7]), st.booleans()),
        st.tuples(st.sampled_from(["munmap", "mincore"]), ADDRESSES, LENGTHS),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(
    calls=CALLS,
    top_down=st.booleans(),
    honoured=st.booleans(),
    base=st.integers(FIRST // PAGE, TASK // PAGE).map(lambda page: page * PAGE),
    limit=st.one_of(st.none(), st.integers(0, TASK)),
)
def test_every_call_matches_a_plain_set_of_pages(
    calls: list[tuple], top_down: bool, honoured: bool, base: int, limit: int | None
) -> None:
    kernel = ModelKernel(
        AddressSpace(
            task_size=TASK,
            top_down=top_down,
            mmap_base=base,
            hints_honoured=honoured,
            rlimit_as=limit,
        )
    )
    plain = Plain(kernel)
    for name, *args in calls:
        if name == "mmap":
            addr, length, prot, fixed = args
            flags = 0x32 if fixed else 0x22
            assert kernel.mmap(addr, length, prot, flags) == plain.mmap(addr, length, prot, fixed)
        else:
            assert getattr(kernel, name)(*args) == getattr(plain, name)(*args)
        pages = {
            page: prot
            for start, end, prot in kernel.maps()
            for page in range(start // PAGE, end // PAGE)
        }
        assert pages == plain.pages
        assert kernel.total == len(plain.pages) * PAGE
    for start, end, _ in kernel.maps():
        assert start < end


def test_memory_is_zeroed_kept_and_dropped() -> None:
    kernel = ModelKernel()
    base = kernel.mmap(0, 3 * PAGE, 7, 0x22)
    words, first = kernel.words, base >> 3
    assert words[first] == 0
    words[first], words[first + 511], words[first + 1023] = 1, 2, 3
    kernel.clear(base, 8)
    assert (words[first], words[first + 511]) == (0, 2)
    kernel.clear(base, 3 * PAGE)
    assert (words[first + 511], words[first + 1023]) == (0, 0)
    words[first + 512] = 9
    assert kernel.mmap(base + PAGE, PAGE, 7, 0x32) == base + PAGE
    assert words[first + 512] == 0
    kernel.munmap(base, PAGE)
    with pytest.raises(Fault, match="no memory for use at 0x"):
        words[first]
    with pytest.raises(Fault):
        kernel.clear(base, PAGE)
    kernel.mmap(base, PAGE, 0, 0x32)
    with pytest.raises(Fault):
        words[first] = 1


def test_unmapping_a_huge_range_is_fast() -> None:
    kernel = ModelKernel()
    base = kernel.mmap(0, 1 << 40, 7, 0x22)
    kernel.words[base >> 3] = 5
    kernel.munmap(base, 1 << 40)
    assert kernel.maps() == [] and kernel.total == 0


def test_placement_defaults() -> None:
    assert (
        ModelKernel(AddressSpace(task_size=1 << 39, top_down=False)).mmap(0, 1, 0, 0x22)
        == BOTTOM_UP_BASE
    )
    kernel = ModelKernel()
    assert kernel.mmap(0, 4096, 0, 0x22) == kernel.mmap_base - 4096
    assert kernel.mmap(1, 4096, 0, 0x22) == FIRST


def test_the_nth_call_of_a_name_fails() -> None:
    kernel = ModelKernel(
        AddressSpace(
            failures=[("mmap", 2, 12), ("munmap", 1, 22), ("mincore", 1, 11), ("getrlimit", 1, 1)]
        )
    )
    results = [kernel.mmap(0, 4096, 0, 0x22) for _ in range(3)]
    assert results[1] == -12 and results[0] > 0 < results[2]
    assert (kernel.munmap(0, 4096), kernel.mincore(0, 4096), kernel.getrlimit()) == (-22, -11, -1)
    assert kernel.munmap(0, 4096) == 0 and kernel.getrlimit() == (1 << 64) - 1


@pytest.mark.parametrize(
    "kwargs",
    [
        {"task_size": 4096},
        {"task_size": (1 << 30) + 1},
        {"occupied": [(4096, 4096)]},
        {"occupied": [(1, 4096)]},
        {"task_size": 1 << 30, "occupied": [(0, 1 << 31)]},
    ],
)
def test_rejects_an_impossible_address_space(kwargs: dict) -> None:
    with pytest.raises(ValueError, match="is not "):
        ModelKernel(AddressSpace(**kwargs))
