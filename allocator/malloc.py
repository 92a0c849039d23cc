"""The allocator as a program sees it (Go: malloc.goc): mallocinit, malloc, free, mlookup."""

from .arena import GO_END, GO_IMAGE, ContiguousArena
from .bitmap import ALLOCATED, BOUNDARY, KEEP, HeapBitmap
from .cache import MCache, MCacheList
from .central import MCentral
from .death import Console, Throw
from .fixalloc import FixAlloc
from .heap import MHeap
from .policy import ARENAS
from .sizes import (
    FIXED_STACK,
    MAX_MCACHE_LIST_LEN,
    MAX_MCACHE_SIZE,
    MAX_SMALL_SIZE,
    MCACHE_SIZE,
    PAGE_MASK,
    PAGE_SHIFT,
    SizeClasses,
)
from .stats import MStats
from .sysmem import SysMem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arena import Arena
    from .kernel import Kernel
    from .policy import Policy
    from .span import MSpan

FLAG_NO_POINTERS = 1
FLAG_NO_GC = 4
FREE_TO_ALLOCATED = [ALLOCATED[s] | BOUNDARY[s] for s in range(16)]
UINTPTR_MAX = (1 << 64) - 1


class ListOfSize(dict[int, MCacheList]):
    """Sizes in bytes to the cache's list for them, found once each; an empty one for all others."""

    __slots__ = ("_none", "_of", "of_class")

    def __init__(self, mcache: MCache) -> None:
        super().__init__()
        self.of_class = mcache.lists
        self._of = mcache.classes.of
        self._none = MCacheList(0, 0)

    def __missing__(self, size: int) -> MCacheList:
        if not 0 <= size <= MAX_SMALL_SIZE:
            return self._none
        blocks = self[size] = self.of_class[self._of[size]]
        return blocks


class Runtime:
    """One runtime on one kernel: nothing happens before `mallocinit`, which may throw.

    end, image: of the program, in bytes, as `arena.ContiguousArena` tells.
    """

    def __init__(
        self,
        kernel: "Kernel",
        policy: "Policy",
        console: Console | None = None,
        end: int = GO_END,
        image: int = GO_IMAGE,
    ) -> None:
        self.kernel = kernel
        self.policy = policy
        self.console = console if console is not None else Console()
        self.mstats = MStats()
        self.mem = SysMem(kernel, policy, self.mstats, self.console)
        self.arena: Arena
        if policy.reserve == ARENAS:
            from .sparsearena import SparseArena

            self.arena = SparseArena(self.mem)
        else:
            self.arena = ContiguousArena(self.mem, end, image)
        self._words = kernel.words
        self._mallocing = False
        self._top = 0  # of the bitmap; 0 where there are several
        self._large_nmalloc = self._large_bytes = self._large_total = self._nlookup = 0
        self._small_bytes = self._small_objects = 0
        self.stackalloc: FixAlloc[int] = FixAlloc(FIXED_STACK, self.mem.sys_alloc, int)

    def mallocinit(self) -> None:
        """`runtime·mallocinit`: tables, arena, heap, cache, and one block to see that it works."""
        self.classes = classes = SizeClasses(self.console.printf)
        self.arena.reserve()
        self.bitmap = HeapBitmap(self._words, self.arena)
        self.heap = MHeap(self.kernel, self.arena, self.mem.sys_alloc, self.mstats, self.console)
        central = [
            MCentral(sizeclass, size, npages, self.heap, self.bitmap, self._words, self.console)
            for sizeclass, (size, npages) in enumerate(
                zip(classes.size, classes.allocnpages, strict=True)
            )
        ]
        cachealloc = FixAlloc(
            MCACHE_SIZE,
            self.mem.sys_alloc,
            lambda address: MCache(address, self.kernel, classes, central),
        )
        self.mcache = cachealloc.alloc()
        self._lists = ListOfSize(self.mcache)
        self._small = self.heap.small
        if isinstance(self.arena, ContiguousArena):
            self._top = self.arena.top(self.arena.arena_start)
        self.mstats.mcache_inuse = cachealloc.inuse
        self.mstats.mcache_sys = cachealloc.sys
        self.free(self.malloc(1))

    def malloc(self, size: int, flag: int = 0, zeroed: bool = True) -> int:
        """`runtime·mallocgc` without its collector: a block of at least `size` bytes, its address.

        Up to 32 KiB the block is of a size class, above it is of whole pages. Throws `out of
        memory`, and whatever the layers below throw.

        A block that is in the cache is handed out right here: this is MCache.alloc and
        HeapBitmap.markallocated written out once more, for three calls would take half the time.
        """
        blocks = self._lists[size]
        v = blocks.list
        top = self._top
        if v == 0 or flag or not zeroed or not top or self._mallocing:
            return self._mallocgc(size, flag, zeroed)
        words = self._words
        i = v >> 3
        blocks.list = words[i]
        words[i] = 0
        nbytes = blocks.size
        if nbytes == 16:
            words[i + 1] = 0  # sooner done than asked whether it must be
        elif nbytes > 8 and words[i + 1] != 0:
            self.kernel.clear(v, nbytes)
        blocks.nmalloc += 1
        blocks.nlist -= 1
        if blocks.nlist < blocks.nlistmin:
            blocks.nlistmin = blocks.nlist
        self.mcache.size -= nbytes
        b = top - (i >> 4)
        words[b] ^= FREE_TO_ALLOCATED[i & 15]
        return v

    def _mallocgc(self, size: int, flag: int, zeroed: bool) -> int:
        """All of `malloc`, in the runtime's own steps."""
        if not 0 <= size <= UINTPTR_MAX:
            raise ValueError(f"a size of {size} bytes is not between 0 and {UINTPTR_MAX}")
        if self._mallocing:
            raise Throw("malloc/free - deadlock")
        self._mallocing = True
        if size <= MAX_SMALL_SIZE:
            sizeclass = self.classes.of[size]
            v = self.mcache.alloc(sizeclass, zeroed)
            blocks = self.mcache.lists[sizeclass]
            blocks.nmalloc += 1
            size = blocks.size
        else:
            npages = (size >> PAGE_SHIFT) + (size & PAGE_MASK != 0)
            span = self.heap.alloc(npages, 0, acct=True)
            if span is None:
                raise Throw("out of memory")
            size = npages << PAGE_SHIFT
            self._large_nmalloc += 1
            self._large_bytes += size
            self._large_total += size
            v = span.start << PAGE_SHIFT
            self.bitmap.markspan(v, 0, 0, leftover=True)
        if not flag & FLAG_NO_GC:
            self.bitmap.markallocated(v, size, bool(flag & FLAG_NO_POINTERS))
        self._mallocing = False
        return v

    def free(self, v: int) -> None:
        """`runtime·free`: give the block at v back. 0 is nil and ignored.

        A small block that fits into the cache is taken back right here, as in `malloc`.
        """
        span = self._small.get(v >> PAGE_SHIFT)
        top = self._top
        if span is None or v >= span.limit or not top or self._mallocing:
            self._free(v)
            return
        blocks = self._lists.of_class[span.sizeclass]
        self._nlookup += 1
        nbytes = blocks.size
        words = self._words
        i = v >> 3
        if nbytes > 8:
            words[i + 1] = 1  # needs zeroing
        b = top - (i >> 4)
        s = i & 15
        words[b] = words[b] & KEEP[s] | BOUNDARY[s]
        words[i] = blocks.list
        blocks.list = v
        blocks.nfree += 1
        blocks.nlist += 1
        mcache = self.mcache
        mcache.size += nbytes
        if blocks.nlist >= MAX_MCACHE_LIST_LEN or mcache.size >= MAX_MCACHE_SIZE:
            mcache.give_back(blocks)

    def _free(self, v: int) -> None:
        """All of `free`, in the runtime's own steps."""
        if v == 0:
            return
        if self._mallocing:
            raise Throw("malloc/free - deadlock")
        self._mallocing = True
        span = self._span_of(v)
        if span is None:
            self.console.printf(f"free {v:#x}: not an allocated block\n")
            raise Throw("free runtime·mlookup")
        if span.sizeclass == 0:
            length = span.npages << PAGE_SHIFT
            self._words[span.start << PAGE_SHIFT - 3] = 1  # needs zeroing
            self.bitmap.markfreed(v, length)
            self.bitmap.unmarkspan(v, 1 << PAGE_SHIFT)
            self._large_bytes -= length
            self.heap.free(span, acct=True)
        else:
            blocks = self.mcache.lists[span.sizeclass]
            if blocks.size > 8:
                self._words[(v >> 3) + 1] = 1  # needs zeroing
            self.bitmap.markfreed(v, blocks.size)
            blocks.nfree += 1
            self.mcache.free(v, span.sizeclass)
        self._mallocing = False

    def _span_of(self, v: int) -> "MSpan | None":
        self._nlookup += 1
        span = self.heap.lookup_maybe(v)
        if span is None or (span.sizeclass != 0 and v >= span.limit):
            return None
        return span

    def mlookup(self, v: int) -> tuple[int, int] | None:
        """`runtime·mlookup`: (base, bytes) of the block that v points into, None if into none.

        Any address may be asked for. A block of a small class need not be allocated to be found.
        """
        span = self._span_of(v)
        if span is None:
            return None
        start = span.start << PAGE_SHIFT
        if span.sizeclass == 0:
            return start, span.npages << PAGE_SHIFT
        size = self.classes.size[span.sizeclass]
        return start + (v - start) // size * size, size

    def stats(self) -> MStats:
        """The statistics now, the counts of the cache included (Go: `cachestats`).

        `nfree` stays 0, as in Go: there only the collector's sweep counts it, an explicit free does
        not.
        """
        stats = self.mstats
        lists = self.mcache.lists
        small = sum((blocks.nmalloc - blocks.nfree) * blocks.size for blocks in lists)
        objects = sum(blocks.nmalloc - blocks.nfree for blocks in lists)
        stats.heap_alloc += small - self._small_bytes
        stats.heap_objects += objects - self._small_objects
        self._small_bytes, self._small_objects = small, objects
        stats.alloc = small + self._large_bytes
        stats.total_alloc = self._large_total + sum(b.nmalloc * b.size for b in lists)
        stats.nmalloc = self._large_nmalloc + sum(blocks.nmalloc for blocks in lists)
        stats.nlookup = self._nlookup
        stats.stacks_inuse = self.stackalloc.inuse
        stats.stacks_sys = self.stackalloc.sys
        return stats

    def by_size(self) -> list[tuple[int, int, int]]:
        """`by_size`: (bytes, nmalloc, nfree) of each class, class 0 first."""
        return [(blocks.size, blocks.nmalloc, blocks.nfree) for blocks in self.mcache.lists]
