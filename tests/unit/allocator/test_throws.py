"""Every text that the runtime can throw or print, and its exit status."""

import pytest
from allocator_support import MIB, Lab, uml

from foothold_lab.allocator.death import Console, Exit, Throw
from foothold_lab.allocator.fixalloc import FixAlloc
from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import predict
from foothold_lab.allocator.span import MSpan, SpanList


def thrown(message: str) -> "pytest.RaisesContext[Throw]":  # type: ignore[name-defined]
    import re

    return pytest.raises(Throw, match=f"^{re.escape(message)}$")


def test_throws_if_nothing_can_be_reserved() -> None:
    with thrown("runtime: cannot reserve arena virtual address space") as caught:
        uml(rlimit_as=300 * MIB).begin()
    assert caught.value.status == 2


def test_access_denied_exits_without_a_throw() -> None:
    lab = Lab(failures=[("mmap", 2, 13)])
    with pytest.raises(Exit) as caught:
        lab.begin()
    assert caught.value.status == 2
    assert lab.console.lines == [
        "runtime: mmap: access denied",
        "if you're running SELinux, enable execmem for this process.",
    ]


def test_throws_without_memory_for_the_cache_record() -> None:
    lab = Lab(failures=[("mmap", 2, 12)])
    with thrown("out of memory (FixAlloc)"):
        lab.begin()
    assert lab.runtime.mstats.sys == 131072  # counted before it was tried


def test_throws_if_a_fixed_mapping_fails() -> None:
    lab = uml(failures=[("mmap", 4, 12)])
    with thrown("runtime: out of memory"):
        lab.begin()
    lab = uml(failures=[("mmap", 4, 1)])
    with thrown("runtime: cannot map pages in arena address space"):
        lab.begin()


def test_reentry_throws_a_deadlock() -> None:
    class Meddling(ModelKernel):
        lab: Lab
        act = False

        def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
            if self.act:
                self.meddle()
            return super().mmap(addr, length, prot, flags)

        def meddle(self) -> None:
            self.lab.runtime.malloc(8)

    class Freeing(Meddling):
        def meddle(self) -> None:
            self.lab.runtime.free(self.v)

    for kind in (Meddling, Freeing):
        kernel = kind()
        lab = kernel.lab = Lab(kernel=kernel)
        kernel.v = lab.begin().malloc(8)
        kernel.act = True
        with thrown("malloc/free - deadlock"):
            lab.runtime.malloc(2 * MIB)


@pytest.mark.parametrize("v", [1, 0xF840000000 - 1, 0xF840500000, 1 << 63])
def test_free_of_an_unknown_address_throws(v: int) -> None:
    lab = Lab()
    lab.begin()
    with thrown("free runtime·mlookup"):
        lab.runtime.free(v)
    assert lab.console.lines == [f"free {v:#x}: not an allocated block"]


def test_free_after_the_last_block_of_a_span_throws() -> None:
    lab = Lab()
    runtime = lab.begin()
    v = runtime.malloc(48)
    with thrown("free runtime·mlookup"):
        runtime.free((v & ~4095) + 85 * 48)
    assert runtime.mlookup((v & ~4095) + 85 * 48) is None


def test_lookup_outside_the_arena_finds_no_block() -> None:
    runtime = Lab().begin()
    assert runtime.mlookup(0) is None
    assert runtime.mlookup(1 << 63) is None
    assert runtime.mlookup(runtime.malloc(8) + 4096) is None


def test_free_ignores_nil() -> None:
    Lab().begin().free(0)


def test_free_of_a_block_in_a_free_span_throws() -> None:
    lab = Lab()
    runtime = lab.begin()
    v = runtime.malloc(8)
    runtime.mcache.release_all()
    runtime.free(v)
    runtime.mcache.release_all()
    with thrown("invalid free"):
        runtime.mcache.central[1].free_list(v)
    with thrown("invalid free"):
        runtime.mcache.central[1].free_list(runtime.arena.arena_used - 8)


def test_free_of_a_free_span_throws() -> None:
    lab = Lab()
    runtime = lab.begin()
    span = runtime.heap.lookup(runtime.malloc(MIB))
    assert span is not None
    runtime.heap.free(span, acct=True)
    with thrown("MHeap_FreeLocked - invalid free"):
        runtime.heap.free(span, acct=True)
    assert lab.console.lines == [
        f"MHeap_FreeLocked - span {span.address:#x} ptr {span.start << 12:#x} state 1 ref 0"
    ]


def test_throws_on_corrupt_free_lists() -> None:
    lab = Lab()
    runtime = lab.begin()
    span = runtime.heap.lookup(runtime.malloc(MIB))
    assert span is not None
    runtime.heap.free(span, acct=True)
    spans = runtime.heap.large.first
    spans.state = 0
    with thrown("MHeap_AllocLocked - MSpan not free"):
        runtime.malloc(MIB)
    spans.state = 1
    SpanList.remove(spans)
    runtime.heap.free_lists[200].insert(spans, lab.console)
    spans.npages = 3
    runtime.heap.free_lists[255].clear()
    with thrown("MHeap_AllocLocked - bad npages"):
        lab.runtime._mallocing = False
        runtime.malloc(200 * 4096)


def test_inserting_a_span_twice_throws() -> None:
    console = Console()
    spans = SpanList()
    first, second, third = MSpan(0x1000), MSpan(0x2000), MSpan(0x3000)
    for span in (first, second, third):
        spans.insert(span, console)
    with thrown("MSpanList_Insert"):
        SpanList().insert(second, console)
    assert console.lines == ["failed MSpanList_Insert 0x2000 0x1000 0x3000"]
    SpanList.remove(second)
    SpanList.remove(second)
    assert list(spans) == [0x1000, 0x3000] and spans.first is third


def test_bitmap_rejects_bad_pointers() -> None:
    runtime = Lab().begin()
    bitmap, start = runtime.bitmap, runtime.arena.arena_start
    used = runtime.arena.arena_used
    for v, n in ((start - 8, 8), (used - 8, 16)):
        with thrown("markallocated: bad pointer"):
            bitmap.markallocated(v, n)
        with thrown("markallocated: bad pointer"):
            bitmap.markfreed(v, n)
        with thrown("markspan: bad pointer"):
            bitmap.markspan(v, n, 1, False)
        with thrown("markspan: bad pointer"):
            bitmap.unmarkspan(v, n)
    with thrown("markspan: unaligned pointer"):
        bitmap.unmarkspan(start + 64, 128)
    with thrown("unmarkspan: unaligned length"):
        bitmap.unmarkspan(start, 64)


def test_each_group_of_bits_is_set_and_cleared() -> None:
    runtime = Lab().begin()
    v = runtime.malloc(64)
    assert runtime.bitmap.bits(v) == (True, False, False, False)
    w = runtime.mallocgc(64, flag=1)
    assert runtime.bitmap.bits(w) == (True, True, False, False)
    x = runtime.mallocgc(64, flag=4)  # not for the collector: never marked as allocated
    assert runtime.bitmap.bits(x) == (False, True, False, False)
    runtime.free(w)
    assert runtime.bitmap.bits(w) == (False, True, False, False)
    assert runtime.bitmap.bits(v + 8) == (False, False, False, False)


def test_zeroes_a_block_only_on_request() -> None:
    runtime = Lab().begin()
    words = runtime.kernel.words
    for size in (8, 16, 48, 100_000):
        v = runtime.malloc(size)
        for i in range(v >> 3, v + size >> 3):
            assert words[i] == 0
            words[i] = 7
        runtime.free(v)
        assert runtime.mallocgc(size, zeroed=False) == v
        assert words[(v >> 3) + 1] != 0 or size in (8, 100_000)
        runtime.free(v)
        assert runtime.malloc(size) == v
        assert not any(words[i] for i in range(v >> 3, v + size >> 3))


@pytest.mark.parametrize("size", [-1, 1 << 64])
def test_rejects_an_impossible_size(size: int) -> None:
    with pytest.raises(ValueError, match="is not between 0 and"):
        Lab().begin().malloc(size)


def test_unchecked_start_up_allocations_crash_as_in_go() -> None:
    work = predict(
        POLICIES["after"], ModelKernel(AddressSpace(failures=[("mmap", 7, 12)])), workload="hello"
    )
    assert (work.message, work.status) == ("panic during gc", 2)
    assert work.printed == ("panic: invalid memory address or nil pointer dereference",)
    table = predict(
        POLICIES["after"], ModelKernel(AddressSpace(failures=[("mmap", 10, 12)])), workload="hello"
    )
    assert (table.message, table.status) == ("fault", 2)
    assert table.printed[0].startswith("unexpected fault address 0x")


def test_fixalloc_reuses_last_in_first_out_and_drops_the_rest_of_a_chunk() -> None:
    asked: list[int] = []

    def alloc(n: int) -> int:
        asked.append(n)
        return 0x100000 * len(asked)

    records: FixAlloc[int] = FixAlloc(50000, alloc, int)
    a, b = records.alloc(), records.alloc()
    assert (a, b, records.alloc()) == (0x100000, 0x100000 + 50000, 0x200000)
    records.free(a)
    records.free(b)
    assert (records.alloc(), records.alloc()) == (b, a)
    assert (records.inuse, records.sys, asked) == (150000, 262144, [131072, 131072])


def test_console_joins_text_without_a_newline() -> None:
    written: list[str] = []
    console = Console(written.append)
    console.printf("a\nb")
    console.printf("c\n")
    console.printf("")
    console.printf("d\n")
    assert console.lines == ["a", "bc", "d"]
    assert "".join(written) == "a\nbc\nd\n"


def test_a_list_that_is_too_long_releases_one_transfer() -> None:
    runtime = Lab().begin()
    blocks = [runtime.malloc(64) for _ in range(300)]
    runtime.mcache.release_all()
    central = runtime.mcache.central[5]
    before = central.nfree
    for v in blocks[:255]:
        runtime.free(v)
    assert (runtime.mcache.lists[5].nlist, central.nfree) == (255, before)
    runtime.free(blocks[255])
    assert (runtime.mcache.lists[5].nlist, central.nfree) == (256 - 32, before + 32)
    runtime.free(blocks[256])
    assert runtime.mcache.lists[5].list == blocks[256]


def test_a_cache_that_is_too_big_releases_half_of_its_unused_blocks() -> None:
    runtime = Lab().begin()
    small = [runtime.malloc(1024) for _ in range(32)]
    for v in small:
        runtime.free(v)
    lists = runtime.mcache.lists
    assert [lists[29].nlist, lists[29].nlistmin] == [32, 0]
    big = [runtime.malloc(32768) for _ in range(130)]
    for v in big[:62]:
        runtime.free(v)
    assert runtime.mcache.size < 2 << 20
    runtime.free(
        big[62]
    )  # 2 MiB are reached: nothing was without use since the start, so all stays
    assert [lists[29].nlist, lists[29].nlistmin] == [32, 32]
    assert [lists[60].nlist, lists[60].nlistmin] == [63, 63]
    runtime.free(big[63])
    assert lists[29].nlist == lists[29].nlistmin == 16
    assert lists[60].nlist == lists[60].nlistmin == 64 - 31


def test_a_single_unused_block_is_released() -> None:
    runtime = Lab().begin()
    lists = runtime.mcache.lists
    runtime.mcache._scavenge()
    assert lists[1].nlistmin == 32
    runtime.mcache._release(lists[1], 31)
    assert (lists[1].nlist, lists[1].nlistmin) == (1, 1)
    runtime.mcache._scavenge()
    assert lists[1].nlist == 0
    assert runtime.mcache.central[1].nfree == 0  # its span is empty and went back to the heap
    assert runtime.stats().heap_inuse == 0
