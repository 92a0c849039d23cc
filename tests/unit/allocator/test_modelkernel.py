"""The model kernel compared with a set of pages."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from foothold_lab.allocator.modelkernel import BOTTOM_UP_BASE, AddressSpace, Fault, ModelKernel

pytestmark = pytest.mark.thorough

PAGE = 4096
PAGES = [4 << 10, 16 << 10, 64 << 10]
FIRST = 1 << 16


class Plain:
    """A mapping of pages to protections."""

    def __init__(self, kernel: ModelKernel, page: int) -> None:
        self.kernel = kernel
        self.page = page
        self.pages: dict[int, int] = {}

    def free(self, start: int, n: int) -> bool:
        return all(start + i not in self.pages for i in range(n))

    def mmap(self, addr: int, length: int, prot: int, fixed: bool) -> int:
        n = -(-length // self.page)
        top = self.kernel.task_size // self.page
        if n == 0:
            return -22
        if n > top:
            return -12
        if fixed:
            if addr > (top - n) * self.page:
                return -12
            if addr % self.page:
                return -22
            at = addr // self.page
        else:
            # a kernel rounds a hint down; within the first page it is none
            hint = max(addr // self.page, FIRST // self.page) if addr >= self.page else 0
            base = self.kernel.mmap_base // self.page
            if hint and self.kernel.hints_honoured and hint + n <= top and self.free(hint, n):
                at = hint
            else:
                down = [a for a in range(base - n, FIRST // self.page - 1, -1) if self.free(a, n)]
                third = max(top // 3, FIRST // self.page)
                floor = third if self.kernel.top_down else base
                up = [a for a in range(floor, top - n + 1) if self.free(a, n)]
                found = (down or up) if self.kernel.top_down else up
                if not found:
                    return -12
                at = found[0]
        new = [at + i for i in range(n)]
        total = len(self.pages) + sum(page not in self.pages for page in new)
        if total > self.kernel.rlimit_as // self.page:
            return -12
        self.pages.update(dict.fromkeys(new, prot))
        return at * self.page

    def munmap(self, addr: int, length: int) -> int:
        top = self.kernel.task_size
        if addr % self.page or length == 0 or addr > top or length > top - addr:
            return -22
        for page in range(addr // self.page, -(-(addr + length) // self.page)):
            self.pages.pop(page, None)
        return 0

    def mincore(self, addr: int, length: int) -> int:
        if addr % self.page:
            return -22
        pages = range(addr // self.page, -(-(addr + length) // self.page))
        if pages.stop > self.kernel.task_size // self.page:
            return -12
        return 0 if all(page in self.pages for page in pages) else -12


def calls(page: int, task: int) -> st.SearchStrategy[list[tuple]]:
    addresses = st.one_of(
        st.integers(0, task // page + 2).map(lambda n: n * page), st.integers(0, task)
    )
    lengths = st.one_of(st.integers(0, 12).map(lambda n: n * page), st.integers(0, task + page))
    mmap = st.tuples(st.just("mmap"), addresses, lengths, st.sampled_from([0, 3, 7]), st.booleans())
    other = st.tuples(st.sampled_from(["munmap", "mincore"]), addresses, lengths)
    return st.lists(mmap | other, max_size=40)


@pytest.mark.parametrize("page", PAGES)
@settings(max_examples=300)
@given(
    data=st.data(),
    top_down=st.booleans(),
    honoured=st.booleans(),
)
def test_every_call_matches_a_plain_set_of_pages(
    page: int, data: st.DataObject, top_down: bool, honoured: bool
) -> None:
    task = 64 * page + (1 << 17)
    kernel = ModelKernel(
        AddressSpace(
            task_size=task,
            page_size=page,
            top_down=top_down,
            mmap_base=data.draw(st.integers(FIRST // page, task // page)) * page,
            hints_honoured=honoured,
            rlimit_as=data.draw(st.none() | st.integers(0, task)),
        )
    )
    plain = Plain(kernel, page)
    for name, *args in data.draw(calls(page, task)):
        if name == "mmap":
            addr, length, prot, fixed = args
            flags = 0x32 if fixed else 0x22
            assert kernel.mmap(addr, length, prot, flags) == plain.mmap(addr, length, prot, fixed)
        else:
            assert getattr(kernel, name)(*args) == getattr(plain, name)(*args)
        pages = {
            number: prot
            for start, end, prot in kernel.maps()
            for number in range(start // page, end // page)
        }
        assert pages == plain.pages
        assert kernel.total == len(plain.pages) * page
    for start, end, _ in kernel.maps():
        assert start < end


@pytest.mark.parametrize("page", PAGES[1:])
def test_larger_pages_answer_as_a_kernel_does(page: int) -> None:
    """Observed on arm64 with pages of 16 KiB (tests/guests/test_page_sizes.py) and ppc64le."""
    kernel = ModelKernel(AddressSpace(page_size=page))
    hint = 0xF800000000
    assert kernel.mmap(hint + 4096, 4096, 3, 0x22) == hint
    assert kernel.mmap(hint + 4096, 4096, 3, 0x32) == -22
    assert kernel.mincore(hint, 4096) == kernel.mincore(hint, page) == 0
    assert (kernel.mincore(hint, page + 1), kernel.mincore(hint + 4096, 4096)) == (-12, -22)
    assert kernel.munmap(hint + 4096, 4096) == -22
    assert kernel.munmap(hint, 4096) == 0
    assert kernel.maps() == [] and kernel.total == 0
    assert kernel.task_size == (1 << 47) - page


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
    assert kernel.mmap(4096, 4096, 0, 0x22) == FIRST
    assert kernel.mmap(1, 4096, 0, 0x22) == kernel.mmap_base - 8192  # in the first page: no hint


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
        {"page_size": 2048},
        {"page_size": 12288},
        {"page_size": 128 << 10},
        {"page_size": 16384, "task_size": (1 << 30) + 4096},
        {"page_size": 16384, "occupied": [(4096, 16384)]},
        {"task_size": 1 << 30, "occupied": [(0, 1 << 31)]},
    ],
)
def test_rejects_an_impossible_address_space(kwargs: dict) -> None:
    with pytest.raises(ValueError, match="is not "):
        ModelKernel(AddressSpace(**kwargs))
