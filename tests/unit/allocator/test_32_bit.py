"""Differences of 4-byte pointers from amd64. The figures of memlimit were observed on the real runtime."""

import ctypes

import pytest
from allocator_support import GIB, MIB, Lab, narrow

from foothold_lab.allocator.death import Throw
from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import predict
from foothold_lab.allocator.realkernel import Halves, RealKernel
from foothold_lab.allocator.width import WIDTHS
from foothold_lab.allocator.workload import run


def kernel(**more: object) -> ModelKernel:
    return ModelKernel(AddressSpace(task_size=0xFFFFE000, pointer_size=4, **more))  # type: ignore[arg-type]


def test_the_first_three_policies_are_equal_without_a_high_address() -> None:
    told = [predict(POLICIES[policy], kernel()) for policy in ("before", "after", "grsec")]
    assert told[0].path == "low" and told[0].addresses["bitmap_size"] == 256 * MIB
    assert told[0].reason == ("4-byte pointers have no high address, the low arena is at 0x8500000")
    assert told[0] == told[1] == told[2]
    assert not [call for call in told[0].calls if call.name == "mincore"]


def test_an_ignored_hint_does_no_harm() -> None:
    """With 8-byte pointers this reservation lies above 4 GiB and conflicts with the heap."""
    lab = narrow(hints_honoured=False)
    arena = lab.begin().arena
    assert (arena.path, arena.base) == ("low", 0xFFFFE000 - (128 + 768) * MIB)
    run(lab.runtime, "default")


@pytest.mark.parametrize("top_down", [False, True])
def test_growth_ends_2_gib_above_the_arena(top_down: bool) -> None:
    lab = narrow(top_down=top_down)
    lab.begin()
    with pytest.raises(Throw, match=r"^out of memory$"):
        for _ in range(100):
            lab.runtime.malloc(64 * MIB)
    arena = lab.runtime.arena
    used = arena.arena_used - arena.arena_start
    if top_down:
        assert arena.path == "low" and 447 * MIB < used <= 512 * MIB
    else:
        assert arena.path == "low-grown" and 2 * GIB - 65 * MIB < used < 2 * GIB
        bits = [c for c in lab.calls if c.args[0] and c.args[0] < arena.arena_start][1:]
        assert sum(call.args[1] for call in bits) == used // 8 + 8191 & ~8191
    assert lab.console.lines[0] == "runtime: memory allocated by OS not in usable range"


def test_the_largest_sizes_wrap() -> None:
    lab = narrow()
    runtime = lab.begin()
    with pytest.raises(ValueError, match="between 0 and 4294967295"):
        runtime.malloc(1 << 32)
    heap_sys = runtime.stats().heap_sys
    with pytest.raises(Throw, match=r"^out of memory$"):
        runtime.malloc((1 << 32) - 1)
    assert lab.console.lines == []
    assert runtime.stats().heap_sys == heap_sys + MIB


@pytest.mark.parametrize(
    ("mib", "length"),
    [
        (84, 0),
        (85, 0),
        (120, 0),
        (136, 0),
        (150, 14229504),
        (160, 24698880),
        (170, 35205120),
        (190, 56180736),
        (300, 171528192),
        (700, 590929920),
        (780, 674832384),
        (800, 695808000),
        (1000, 805306368),
        (2047, 805306368),
        (2048, 805306368),
    ],
)
def test_memlimit_makes_the_arena_smaller(mib: int, length: int) -> None:
    """Below twice the image and 64 MiB the difference wraps, and the whole arena is requested."""
    outcome = predict(POLICIES["memlimit"], kernel(rlimit_as=mib * MIB), workload="none")
    assert outcome.path == ("low" if length else "refused")
    assert outcome.calls[1].args[1] == length or 768 * MIB


def test_a_bitmap_word_covers_8_heap_words() -> None:
    lab = narrow()
    runtime = lab.begin()
    bitmap, start, words = runtime.bitmap, runtime.arena.arena_start, lab.kernel.words
    v = runtime.mallocgc(64, flag=1)
    at = (start >> 2) - 1 - ((v - start >> 2) >> 3)
    assert words[at] == 0x0101 << ((v - start >> 2) & 7)
    bitmap.setblockspecial(v)
    assert bitmap.bits(v) == (True, True, False, True)
    assert words[at] == 0x01000101 << ((v - start >> 2) & 7)
    with pytest.raises(Throw, match=r"^markspan: unaligned pointer$"):
        bitmap.unmarkspan(start + 16, 64)
    with pytest.raises(Throw, match=r"^unmarkspan: unaligned length$"):
        bitmap.unmarkspan(start, 16)
    bitmap.unmarkspan(start, 32)


def test_the_smallest_block_has_a_needs_zeroing_word() -> None:
    lab = narrow()
    runtime, words = lab.begin(), lab.kernel.words
    v = runtime.malloc(8)
    words[v >> 2] = words[(v >> 2) + 1] = 7
    runtime.free(v)
    assert words[(v >> 2) + 1] == 1
    assert runtime.mallocgc(8) == v
    assert (words[v >> 2], words[(v >> 2) + 1]) == (0, 0)


def test_the_profiler_allocates_9_pages_for_each_mib_with_a_large_block() -> None:
    lab = narrow()
    runtime = lab.begin()
    run(runtime, "grow-20")
    stats = runtime.stats()
    assert stats.heap_inuse == (1 + 25 + 20 * (256 + 9)) * 4096
    assert (stats.heap_sys, stats.buckhash_sys) == (21 * MIB, 719996)


def test_a_32_bit_model_kernel() -> None:
    assert ModelKernel(AddressSpace(pointer_size=4)).task_size == 3 * GIB
    assert ModelKernel(AddressSpace(task_size=1 << 32, pointer_size=4)).getrlimit() == 0xFFFFFFFF
    with pytest.raises(ValueError, match="more than pointers of 4 bytes reach"):
        ModelKernel(AddressSpace(task_size=(1 << 32) + 4096, pointer_size=4))
    with pytest.raises(ValueError, match="4 or 8 bytes, not 2"):
        ModelKernel(AddressSpace(pointer_size=2))


def test_a_word_holds_32_bits() -> None:
    lab = Lab(pointer_size=4)
    v = lab.begin().malloc(8)
    with pytest.raises(AssertionError):
        lab.kernel.words[v >> 2] = 1 << 32


def test_the_32_bit_memory_has_two_halves() -> None:
    """Including a word that spans the two halves."""
    real = RealKernel()
    start = (1 << 31) - (1 << 20)
    got = real.mmap(start, 2 << 20, 3, 0x100022)  # MAP_FIXED_NOREPLACE
    if got != start:
        pytest.skip(f"something is at {start:#x}")
    try:
        object.__setattr__(real, "width", WIDTHS[4])
        words, near = real.words_from(0), real.words_from(start)
        assert isinstance(words, Halves)
        for address in (start, (1 << 31) - 8, (1 << 31) - 4, 1 << 31, start + (2 << 20) - 4):
            words[address >> 2] = address
            assert ctypes.c_uint32.from_address(address).value == address
            assert near[address - start >> 2] == words[address >> 2] == address
            near[address - start >> 2] = 1
            assert words[address >> 2] == 1
    finally:
        assert real.munmap(start, 2 << 20) == 0
