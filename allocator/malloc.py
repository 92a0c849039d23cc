"""The interface of the allocator (Go: malloc.goc): mallocinit, malloc, free, mlookup."""

from .arena import ContiguousArena
from .bitmap import HeapBitmap
from .cache import MCache
from .central import MCentral
from .death import Console, Throw
from .fixalloc import FixAlloc
from .heap import MHeap
from .mprof import FLAG_NO_PROFILING, RATE
from .policy import ARENAS, PAGED_ARENAS
from .sizes import (
    FIXED_STACK,
    GC_WORK_CHUNK,
    MAX_SMALL_SIZE,
    PAGE_MASK,
    PAGE_SHIFT,
    SizeClasses,
)
from .stats import MStats
from .sysmem import SysMem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arena import Arena
    from .freelist import MCacheList, Place
    from .kernel import Kernel
    from .mprof import MProf
    from .policy import Policy
    from .span import MSpan

FLAG_NO_POINTERS = 1
FLAG_NO_GC = 4
FLAG_NO_COLLECTION = 8  # in Go the argument dogc = 0


class Runtime:
    """One runtime on one kernel. `mallocinit` makes the first system call; it may throw.

    end, image: of the program, in bytes, see `arena.ContiguousArena`. None selects the values of
    the reference program (`width`).
    """

    def __init__(
        self,
        kernel: "Kernel",
        policy: "Policy",
        console: Console | None = None,
        end: int | None = None,
        image: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.width = width = kernel.width
        self.policy = policy = policy.on(width.pointer)
        self.console = console if console is not None else Console()
        self.mstats = MStats()
        self.mem = SysMem(kernel, policy, self.mstats, self.console)
        self.arena: Arena
        if policy.reserve in (ARENAS, PAGED_ARENAS):
            from .sparsearena import PagedArena, SparseArena

            paged = policy.reserve == PAGED_ARENAS
            self.arena = PagedArena(self.mem) if paged else SparseArena(self.mem)
        else:
            self.arena = ContiguousArena(
                self.mem,
                width.end if end is None else end,
                width.image if image is None else image,
            )
        self._shift = width.shift
        self._words = kernel.words
        self._mallocing = False
        self.mprof: MProf | None = None  # as with MemProfileRate 0; a workload may set it
        self._large_nmalloc = self._large_bytes = self._large_total = self._nlookup = 0
        self._small_bytes = self._small_objects = 0
        self.stackalloc: FixAlloc[int] = FixAlloc(FIXED_STACK, self.mem.sys_alloc, int)
        self._collects = False

    def mallocinit(self) -> None:
        """`runtime·mallocinit`: make tables, arena, heap and cache; allocate one block as a test."""
        self.classes = classes = SizeClasses(self.console.printf)
        self.arena.reserve()
        self.bitmap = HeapBitmap(self.kernel, self.arena)
        self._near = self.bitmap.near
        self.heap = MHeap(self.kernel, self.arena, self.mem.sys_alloc, self.mstats, self.console)
        central = [
            MCentral(sizeclass, classes, self.heap, self.bitmap, self.kernel, self.console)
            for sizeclass in range(len(classes.size))
        ]
        cachealloc = FixAlloc(
            self.width.mcache,
            self.mem.sys_alloc,
            lambda address: MCache(address, self.kernel, self.bitmap, classes, central),
        )
        self.mcache = cachealloc.alloc()
        self._lists: dict[int, MCacheList] = {}  # by size in bytes, filled on first use
        self._list_of: dict[int, MCacheList] = {}  # the tables of the fast paths: see `_enter`
        self._places: dict[int, Place] = {}
        self.mstats.mcache_inuse = cachealloc.inuse
        self.mstats.mcache_sys = cachealloc.sys
        self.free(self.malloc(1))
        self.mem.has_goroutines = True

    def enable_gc(self) -> None:
        """The end of `runtime·schedinit`: the next allocation ends with the first collection."""
        self._collects = True
        self._list_of = {}  # the fast path does not collect

    def malloc(self, size: int) -> int:
        """`runtime·mal`: the address of a block of at least `size` bytes, all zero.

        It does what `mallocgc` without flags does. This is the fast path for a block that has been
        allocated before and lies in the cache: it makes the same writes as MCache_Alloc and
        markallocated, but reads from the block's `Place` instead of from memory, in a fifth of the
        time. Other blocks take the slow path. Two differences from Go follow: a link that the
        program has overwritten in a free block is detected later or never, and the behaviour after
        a double free is different.
        """
        try:
            blocks = self._list_of[size]
        except KeyError:
            return self.mallocgc(size)
        place = blocks.head
        following = place.next
        if following is None:
            return self.mallocgc(size)
        near = self._near
        near[place.first] = 0
        if not blocks.two_words:
            if near[place.second] != 0:
                self.kernel.clear(place.v, blocks.size)
        else:
            near[place.second] = 0  # writing is faster than checking
        cell = place.cell
        near[place.word] = cell.bits = cell.bits ^ place.toggle
        blocks.head = following
        return place.v

    def mallocgc(self, size: int, flag: int = 0, zeroed: bool = True) -> int:
        """`runtime·mallocgc` without the collector: the address of a block of at least `size` bytes.

        A block of up to 32 KiB belongs to a size class, a larger block consists of whole pages.
        Throws `out of memory` and what the layers below throw. Raises ValueError for a size that
        does not fit into a word.
        """
        if not 0 <= size <= self.width.mask:
            raise ValueError(f"a size of {size} bytes is not between 0 and {self.width.mask}")
        self._enter()
        if size <= MAX_SMALL_SIZE:
            sizeclass = self.classes.of[size]
            v = self.mcache.alloc(sizeclass, zeroed)
            blocks = self._lists[size] = self.mcache.lists[sizeclass]
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
        if flag & (FLAG_NO_GC | FLAG_NO_POINTERS):
            self.bitmap.forget(v)
        self._leave()
        if self.mprof is not None and size >= RATE and not flag & FLAG_NO_PROFILING:
            self.bitmap.setblockspecial(v)
            for needed, clear in self.mprof.malloc(v):
                self.mallocgc(needed, FLAG_NO_PROFILING | FLAG_NO_COLLECTION, clear)
        if self._collects and not flag & FLAG_NO_COLLECTION:
            self._collects = False
            self._gc()
        return v

    def _gc(self) -> None:
        """`runtime·gc`, as far as the kernel sees it: the first collection maps a work chunk.

        It runs after the first allocation with `dogc`, because `next_gc` is 0 at the start. Go does
        not check whether the work chunk was mapped.
        """
        if self.mem.sys_alloc(GC_WORK_CHUNK) == 0:
            self.console.printf("panic: invalid memory address or nil pointer dereference\n")
            raise Throw("panic during gc")

    def free(self, v: int) -> None:
        """`runtime·free`: free the block at v. An address of 0 (nil) is ignored.

        The fast path for small blocks makes the writes of `_free` (markfreed and MCache_Free), as
        `malloc` does.
        """
        try:
            place = self._places[v]
        except KeyError:
            self._free(v)
            return
        near = self._near
        near[place.second] = 1  # needs zeroing; if it is the first word, the link replaces it
        cell = place.cell
        near[place.word] = cell.bits = cell.bits ^ place.toggle
        blocks = place.blocks
        place.next = head = blocks.head
        near[place.first] = head.v
        place.depth = depth = head.depth + 1
        blocks.head = place
        blocks.nfree += 1
        if depth >= blocks.limit:
            self._enter()
            self.mcache.release_excess(blocks)
            self._leave()

    def _free(self, v: int) -> None:
        """The slow path of `free`: the steps of the runtime."""
        if v == 0:
            return
        self._enter()
        span = self._span_of(v)
        if span is None or span.sizeclass == 0:
            self._nlookup += 1  # lookups of small blocks are counted by class
        if span is None:
            self.console.printf(f"free {v:#x}: not an allocated block\n")
            raise Throw("free runtime·mlookup")
        if span.sizeclass == 0:
            length = span.npages << PAGE_SHIFT
            special = self.bitmap.bits(v)[3]
            self._words[span.start << PAGE_SHIFT - self._shift] = 1  # needs zeroing
            self.bitmap.markfreed(v, length)
            self.bitmap.unmarkspan(v, 1 << PAGE_SHIFT)
            self._large_bytes -= length
            self.heap.free(span, acct=True)
            if special and self.mprof is not None:
                self.mprof.free()
        else:
            blocks = self.mcache.lists[span.sizeclass]
            if blocks.second:
                self._words[(v >> self._shift) + 1] = 1  # needs zeroing
            self.bitmap.markfreed(v, blocks.size)
            self.mcache.free(v, span.sizeclass)
        self._leave()

    def _enter(self) -> None:
        """Begin a slow path. Until `_leave`, which a throw skips, every malloc and free throws."""
        if self._mallocing:
            raise Throw("malloc/free - deadlock")
        self._mallocing = True
        self._list_of, self._places = {}, {}

    def _leave(self) -> None:
        """End a slow path and enable the fast paths again."""
        self._mallocing = False
        self._list_of, self._places = self._lists, self.bitmap.places

    def _span_of(self, v: int) -> "MSpan | None":
        span = self.heap.lookup_maybe(v)
        if span is None or (span.sizeclass != 0 and v >= span.limit):
            return None
        return span

    def mlookup(self, v: int) -> tuple[int, int] | None:
        """`runtime·mlookup`: (base, bytes) of the block that contains v, None if no block does.

        v may be any address. A block of a small class is found even if it is free.
        """
        self._nlookup += 1
        span = self._span_of(v)
        if span is None:
            return None
        start = span.start << PAGE_SHIFT
        if span.sizeclass == 0:
            return start, span.npages << PAGE_SHIFT
        size = self.classes.size[span.sizeclass]
        return start + (v - start) // size * size, size

    def stats(self) -> MStats:
        """Return the current statistics, including the counts of the cache (Go: `cachestats`).

        `nfree` stays 0, as in Go, where only the collector's sweep counts it.
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
        stats.nlookup = self._nlookup + sum(blocks.nfree for blocks in lists)
        stats.stacks_inuse = self.stackalloc.inuse
        stats.stacks_sys = self.stackalloc.sys
        return stats

    def by_size(self) -> list[tuple[int, int, int]]:
        """`by_size`: (bytes, nmalloc, nfree) of each class, class 0 first."""
        return [(blocks.size, blocks.nmalloc, blocks.nfree) for blocks in self.mcache.lists]
