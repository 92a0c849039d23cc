"""The fast path of malloc and free compared with the slow path in random programs."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from allocator_support import Lab, narrow, uml

from foothold_lab.allocator.malloc import FLAG_NO_GC, FLAG_NO_POINTERS, Runtime
from foothold_lab.allocator.modelkernel import ModelKernel
from foothold_lab.allocator.mprof import FLAG_NO_PROFILING
from foothold_lab.allocator.sizes import MAX_MCACHE_SIZE, SizeClasses
from foothold_lab.allocator.stats import NAMES

pytestmark = pytest.mark.thorough

CLASS_SIZES = SizeClasses().size[1:]
FLAGS = (0, 0, 0, FLAG_NO_POINTERS, FLAG_NO_GC, FLAG_NO_PROFILING)


class ShortWay:
    """The runtime with its fast paths."""

    def __init__(self, lab: Lab) -> None:
        self.kernel: ModelKernel = lab.kernel
        self.runtime = lab.begin()
        self.width = self.runtime.width

    def malloc(self, size: int, flag: int, zeroed: bool) -> int:
        if flag or not zeroed:
            return self.runtime.mallocgc(size, flag, zeroed)
        return self.runtime.malloc(size)

    def free(self, v: int) -> None:
        self.runtime.free(v)

    def cache(self) -> Any:
        """The contents of the cache, after the limits have been computed again."""
        return [
            (blocks.list, blocks.nlist, blocks.nlistmin, blocks.nmalloc, blocks.nfree)
            for blocks in self.runtime.mcache.lists
        ]

    def check_places(self) -> None:
        """Compare every `Place` with memory."""
        words, bitmap, shift = self.kernel.words, self.runtime.bitmap, self.width.shift
        assert all(cell.bits == words[b] for b, cell in bitmap.mirror.items())
        for v, place in bitmap.places.items():
            b = bitmap.arena.top(v) - (v >> shift + self.width.group)
            assert place.v == v and place.cell is bitmap.mirror[b]
            assert place.first - place.word == (v >> shift) - b
        for blocks in self.runtime.mcache.lists:
            v, place, known = blocks.list, blocks.head, set()
            for depth in range(blocks.nlist, 0, -1):
                known.add(v)
                assert place is None or (place.v, place.depth) == (v, depth)
                assert place is None or place is bitmap.places[v]
                assert depth != blocks.nlistmin or place is None or place.next is None
                v = words[v >> shift]
                place = (place and place.next) or (bitmap.places.get(v) if v else blocks.end)
            assert v == 0 and (place, place.next) == (blocks.end, None)
            known |= {v for v in bitmap.places if bitmap.bits(v) == (True, False, False, False)}
            for place in bitmap.places.values():
                assert place.blocks is not blocks or place.v in known

    def memory(self) -> dict[int, list[int]]:
        """Return all nonzero pages: blocks, links, needs-zero marks and heap bitmap."""
        return {at: page for at, page in self.kernel._memory._blocks.items() if any(page)}


class LongWay(ShortWay):
    """The runtime with slow paths only: each free checks the sizes of the cache."""

    runtime: Runtime

    def malloc(self, size: int, flag: int, zeroed: bool) -> int:
        return self.runtime.mallocgc(size, flag, zeroed)

    def free(self, v: int) -> None:
        for blocks in self.runtime.mcache.lists:
            blocks.limit = 0
        self.runtime._free(v)


class Both:
    """Both runtimes, and the blocks that the program holds."""

    def __init__(self, make: Callable[[], Lab]) -> None:
        self.short = ShortWay(make())
        self.long = LongWay(make())
        self.held: list[int] = []

    def malloc(self, size: int, flag: int = 0, zeroed: bool = True) -> None:
        v = self.short.malloc(size, flag, zeroed)
        assert v == self.long.malloc(size, flag, zeroed)
        self.held.append(v)

    def free(self, at: int) -> None:
        """Free the block at that index, replace it by the last one, and compare the caches."""
        self.held[at], self.held[-1] = self.held[-1], self.held[at]
        v = self.held.pop()
        self.short.free(v)
        self.long.free(v)
        assert self.short.cache() == self.long.cache()

    def write(self, v: int) -> None:
        """Write into the first and the last word, as a program does."""
        base, length = self.short.runtime.mlookup(v) or (0, 0)
        assert (base, length) == self.long.runtime.mlookup(v)
        for way in (self.short, self.long):
            words, shift = way.kernel.words, way.width.shift
            words[v >> shift] = words[(v + length >> shift) - 1] = ~v & way.width.mask

    def collect(self) -> None:
        """Release the whole cache, as the end of a collection does."""
        self.short.runtime.mcache.release_all()
        self.long.runtime.mcache.release_all()

    def compare(self) -> None:
        for way in (self.short, self.long):
            way.check_places()
        assert self.short.cache() == self.long.cache()
        assert self.short.memory() == self.long.memory()
        stats, same_stats = self.short.runtime.stats(), self.long.runtime.stats()
        assert all(getattr(stats, name) == getattr(same_stats, name) for name in NAMES)
        assert self.short.runtime.by_size() == self.long.runtime.by_size()


LABS = {"high": Lab, "low": uml, "narrow": narrow, "modern": lambda: Lab("modern")}


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("seed", range(3))
def test_fast_and_slow_path_do_the_same(lab: str, seed: int) -> None:
    """Few sizes and many blocks, so that lists grow too long and spans are freed."""
    both, random = Both(LABS[lab]), Random(seed)
    for _ in range(12):
        sizes = [*random.sample(CLASS_SIZES, 3), random.randrange(33000), 40_000]
        for _ in range(random.randrange(700)):
            size = random.choice(sizes[:3]) if random.random() < 0.98 else random.choice(sizes)
            both.malloc(size, random.choice(FLAGS), random.random() < 0.8)
            if random.random() < 0.5:
                both.write(both.held[-1])
            if random.random() < 0.1:
                both.free(random.randrange(len(both.held)))
        for _ in range(random.randrange(len(both.held) + 1)):
            both.free(random.randrange(len(both.held)))
        if random.random() < 0.2:
            both.collect()
        both.compare()


@pytest.mark.parametrize("seed", range(3))
def test_fast_and_slow_path_scavenge_at_the_same_free(seed: int) -> None:
    """A cache that grows to about 2 MiB in all its lists."""
    both, random = Both(Lab), Random(seed)
    for size in CLASS_SIZES:
        for _ in range(min(250, 60_000 // size + 1)):
            both.malloc(size)
    both.collect()
    scavenges = 0
    for _ in range(11_000):
        before = both.short.runtime.mcache.size
        if both.held and random.random() < 0.8:
            both.free(random.randrange(len(both.held)))
            scavenges += both.short.runtime.mcache.size < before
        else:
            both.malloc(random.choice(CLASS_SIZES))
    both.compare()
    assert scavenges >= 3


def test_the_next_free_shrinks_a_cache_that_a_refill_made_too_big() -> None:
    """Also by a free of the block that was just allocated."""
    both = Both(Lab)
    for _ in range(64):
        both.malloc(2048)
    for at in range(31, 0, -1):
        both.free(2 * at)  # each second one, so that its span has a block to refill from
    for _ in range(63):
        both.malloc(32768)
    both.collect()
    for _ in range(63):
        both.free(len(both.held) - 1)  # 32 KiB less than too big
    for size in (2048, 16):
        both.malloc(size)
    assert both.short.runtime.mcache.size >= MAX_MCACHE_SIZE
    both.malloc(16)
    before = both.short.cache()
    both.free(len(both.held) - 1)
    assert [blocks[2] for blocks in before] != [blocks[2] for blocks in both.short.cache()]
    both.compare()
