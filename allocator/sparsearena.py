"""Arenas of 64 MiB, each at the first hint that the kernel grants (Go since 1.11: mheap.sysAlloc).

`SparseArena` commits an arena as a whole, as Go 1.11 does. `PagedArena` commits 4 MiB at a time and
reserves its page summaries first, as Go does since 1.14; its calls are those of Go 1.24.
"""

from .death import Throw
from .kernel import MAP_ANON, PROT_NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .sysmem import SysMem

HEAP_ARENA_BYTES = 64 << 20
BITMAP_BYTES = HEAP_ARENA_BYTES // 16  # of 64-bit machines, which alone have such arenas here

# Go 1.24: mpagealloc.go, mpagealloc_64bit.go, mheap.go, malloc.go
CHUNK_BYTES = 4 << 20  # pallocChunkBytes: the heap grows by multiples of it
ADDRESS_BITS = 48
ADDRESS_OFFSET = 1 << 47  # -arenaBaseOffset of amd64
LEVEL_SHIFTS = (34, 31, 28, 25, 22)  # log2 of the bytes that a summary of each level covers
ENTRY_BYTES = 8  # of a summary, and of the scavenger's index
PERSISTENT_CHUNK_BYTES = 256 << 10
L2_MAP_BYTES = 32 << 20  # heapArena pointers for the whole address space
HEAP_ARENA_RECORD_BYTES = 68624
CHUNK_BITMAPS_SHIFT = 35  # log2 of the bytes that one allocation of chunk bitmaps covers
CHUNK_BITMAPS_BYTES = 1 << 20
GC_BITS_BYTES = 64 << 10


class Hints:
    """Addresses where arenas are requested, in order. A refused hint is dropped."""

    __slots__ = ("_hints", "_mem")

    def __init__(self, mem: "SysMem") -> None:
        self._mem = mem
        self._hints = [(hint, False) for hint in mem.policy.hints]  # (address, grows down)

    def reserve(self, n: int) -> tuple[int, int, str]:
        """Reserve n bytes. Returns (address, bytes, path), (0, 0, "") on failure.

        The path is `high` at a hint, `low` where the kernel chose.
        """
        mem = self._mem
        while self._hints:
            hint, down = self._hints[0]
            p = hint - n if down else hint
            v = reserve(mem, p, n) if p >= 0 else 0
            if v == p and v:
                self._hints[0] = (p if down else p + n, down)
                return v, n, "high"
            if v:
                mem.munmap(v, n)
            del self._hints[0]
        v, size = _reserve_aligned(mem, n)
        if v == 0:
            return 0, 0, ""
        self._hints[:0] = [(v + size, False), (v, True)]
        return v, size, "low"


def reserve(mem: "SysMem", v: int, n: int) -> int:
    """`sysReserve`: the address that the kernel gives, 0 on failure."""
    p = mem.mmap(v, n, PROT_NONE, MAP_ANON)
    return 0 if p < 4096 else p


def _reserve_aligned(mem: "SysMem", n: int) -> tuple[int, int]:
    """`sysReserveAligned`: reserve an arena more than needed, and trim it to a multiple of one."""
    p = reserve(mem, 0, n + HEAP_ARENA_BYTES)
    if p == 0:
        return 0, 0
    if p % HEAP_ARENA_BYTES == 0:
        return p, n + HEAP_ARENA_BYTES
    v = -(-p // HEAP_ARENA_BYTES) * HEAP_ARENA_BYTES
    mem.munmap(p, v - p)
    mem.munmap(v + n, p + HEAP_ARENA_BYTES - v)
    return v, n


class Bitmaps:
    """The heap bitmap of each arena: 4 MiB by SysAlloc. Go has a record of another layout."""

    __slots__ = ("_mem", "_tops", "first")

    def __init__(self, mem: "SysMem") -> None:
        self._mem = mem
        self._tops: dict[int, int] = {}
        self.first = 0

    def map(self, arena: int) -> None:
        """Map the bitmap of the arena at this address, or throw."""
        bits = self._mem.sys_alloc(BITMAP_BYTES)
        if bits == 0:
            raise Throw("out of memory allocating heap arena metadata")
        self._tops[arena >> 26] = (bits + BITMAP_BYTES >> 3) - 1 + (arena >> 7)
        self.first = self.first or bits

    def top(self, v: int) -> int:
        """Return the base for the bitmap words of the arena that contains v."""
        return self._tops[v >> 26]


class SparseArena:
    """The heap's addresses under policies with `ARENAS`.

    The calls for arenas are those of Go 1.11, except the bitmap of each arena, see `Bitmaps`.
    base: the first arena. arena_start, arena_used: the range that spans all arenas.
    path: `high` at a hint, `low` where the kernel chose.
    """

    __slots__ = (
        "_bitmaps", "_hints", "_mem", "_next", "_next_end", "arena_end", "arena_start",
        "arena_used", "base", "bitmap", "bitmap_size", "length", "path",
    )  # fmt: skip

    def __init__(self, mem: "SysMem") -> None:
        self._mem = mem
        self._hints = Hints(mem)
        self._bitmaps = Bitmaps(mem)
        self._next = self._next_end = 0
        self.base = self.length = self.bitmap = self.bitmap_size = 0
        self.arena_start = self.arena_used = self.arena_end = 0
        self.path = "refused"

    def reserve(self) -> None:
        """Do nothing: the first arena is reserved when the heap first grows."""

    def sys_alloc(self, n: int) -> int:
        """N bytes of heap, 0 on failure: the rest of the last arena, or of new ones."""
        if n > self._next_end - self._next:
            v, size = self._new_arenas(-(-n // HEAP_ARENA_BYTES) * HEAP_ARENA_BYTES)
            if v == 0:
                return 0
            if v != self._next_end:
                self._next = v
            self._next_end = v + size
        p = self._next
        self._next += n
        self.arena_used = max(self.arena_used, self._next)
        return p

    def _new_arenas(self, n: int) -> tuple[int, int]:
        """`mheap.sysAlloc`: (address, bytes) of mapped arenas for n bytes, (0, 0) on failure."""
        v, size, path = self._hints.reserve(n)
        if v == 0:
            return 0, 0
        self._mem.sys_map(v, size)
        for arena in range(v, v + size, HEAP_ARENA_BYTES):
            self._bitmaps.map(arena)
        if not self.base:
            self.base, self.length, self.path = v, size, path
            self.bitmap, self.bitmap_size = self._bitmaps.first, BITMAP_BYTES
            self.arena_start = v
        self.arena_start = min(self.arena_start, v)
        self.arena_end = max(self.arena_end, v + size)
        return v, size

    def top(self, v: int) -> int:
        """Return the base for the bitmap words of the memory around v."""
        return self._bitmaps.top(v)


class PagedArena:
    """The heap's addresses under policies with `PAGED_ARENAS`; the fields are those of SparseArena.

    The calls are those of Go 1.24 up to the end of its first heap growth, except madvise, and
    except the bitmap of each arena, see `Bitmaps`. In Go the page allocator also searches the rest
    of former growths; here a rest is used only if the next growth follows it.
    """

    __slots__ = (
        "_bitmaps", "_chunk_bitmaps", "_committed", "_hints", "_index", "_l2_map", "_mem", "_next",
        "_next_end", "_summaries", "arena_end", "arena_start", "arena_used", "base", "bitmap",
        "bitmap_size", "length", "path",
    )  # fmt: skip

    def __init__(self, mem: "SysMem") -> None:
        self._mem = mem
        self._hints = Hints(mem)
        self._bitmaps = Bitmaps(mem)
        self._summaries: list[Table] = []
        self._index: Table | None = None
        self._chunk_bitmaps: set[int] = set()
        self._l2_map = False
        self._next = self._committed = self._next_end = 0
        self.base = self.length = self.bitmap = self.bitmap_size = 0
        self.arena_start = self.arena_used = self.arena_end = 0
        self.path = "refused"

    def reserve(self) -> None:
        """`pageAlloc.init`: reserve the summaries of all pages, and the index of the scavenger."""
        mem = self._mem
        self._persistent_alloc(PERSISTENT_CHUNK_BYTES)
        for level, shift in enumerate(LEVEL_SHIFTS):
            n = ENTRY_BYTES << ADDRESS_BITS - shift
            v = reserve(mem, 0, n)
            if v == 0:
                raise Throw("failed to reserve page summary memory")
            # all summaries of the first level are one block, those of other levels eight
            self._summaries.append(Table(mem, v, shift, n if level == 0 else 8 * ENTRY_BYTES))
        # Go does not check: a table that could not be reserved begins at address 0
        index = reserve(mem, 0, ENTRY_BYTES << ADDRESS_BITS - LEVEL_SHIFTS[-1])
        self._index = Table(mem, index, LEVEL_SHIFTS[-1], ENTRY_BYTES)

    def sys_alloc(self, n: int) -> int:
        """`mheap.grow`: n bytes of heap, 0 on failure. Commits multiples of 4 MiB."""
        if n > self._committed - self._next and not self._grow(n):
            return 0
        p = self._next
        self._next += n
        self.arena_used = max(self.arena_used, self._next)
        return p

    def _grow(self, n: int) -> bool:
        rest = self._committed - self._next
        ask = -(-(n - rest) // CHUNK_BYTES) * CHUNK_BYTES
        if self._committed + ask > self._next_end:
            ask = -(-n // CHUNK_BYTES) * CHUNK_BYTES  # an arena elsewhere has no rest before it
            v, size = self._new_arenas(-(-ask // HEAP_ARENA_BYTES) * HEAP_ARENA_BYTES)
            if v == 0:
                return False
            if v != self._next_end:
                self._next = self._committed = v
            self._next_end = v + size
        first = not self._chunk_bitmaps
        self._commit(self._committed, ask)
        self._committed += ask
        if first:  # the first span gets its mark bits and its allocation bits
            self._persistent_alloc(GC_BITS_BYTES)
            self._persistent_alloc(GC_BITS_BYTES)
        return True

    def _new_arenas(self, n: int) -> tuple[int, int]:
        """`mheap.sysAlloc`: (address, bytes) of reserved arenas for n bytes, (0, 0) on failure."""
        mem = self._mem
        v, size, path = self._hints.reserve(n)
        if v == 0:
            return 0, 0
        if v + size > ADDRESS_OFFSET:
            bad = "base" if v >= ADDRESS_OFFSET else "end"
            mem.console.printf(
                f"runtime: memory allocated by OS [{v:#x}, {v + size:#x}) not in usable address "
                f"space: {bad} outside usable address space\n"
            )
            raise Throw("memory reservation exceeds address space limit")
        for arena in range(v, v + size, HEAP_ARENA_BYTES):
            if not self._l2_map and mem.sys_alloc(L2_MAP_BYTES) == 0:
                raise Throw("out of memory allocating heap arena map")
            self._l2_map = True
            if mem.sys_alloc(HEAP_ARENA_RECORD_BYTES) == 0:
                raise Throw("out of memory allocating heap arena metadata")
            self._bitmaps.map(arena)
        if not self.base:
            self.base, self.length, self.path = v, size, path
            self.bitmap, self.bitmap_size = self._bitmaps.first, BITMAP_BYTES
            self.arena_start = v
        self.arena_start = min(self.arena_start, v)
        self.arena_end = max(self.arena_end, v + size)
        return v, size

    def _commit(self, v: int, n: int) -> None:
        """`sysMap` and `pageAlloc.grow`: make n bytes at v usable, and their summaries."""
        self._mem.sys_map(v, n)
        for summaries in self._summaries:
            summaries.commit(v, n)
        if self._index is not None:
            self._index.commit(v, n)
        first = v + ADDRESS_OFFSET >> CHUNK_BITMAPS_SHIFT
        last = v + n - 1 + ADDRESS_OFFSET >> CHUNK_BITMAPS_SHIFT
        for part in range(first, last + 1):
            if part not in self._chunk_bitmaps:
                if self._mem.sys_alloc(CHUNK_BITMAPS_BYTES) == 0:
                    raise Throw("pageAlloc: out of memory")
                self._chunk_bitmaps.add(part)

    def _persistent_alloc(self, n: int) -> None:
        if self._mem.sys_alloc(n) == 0:
            raise Throw("runtime: cannot allocate memory")

    def top(self, v: int) -> int:
        """Return the base for the bitmap words of the memory around v."""
        return self._bitmaps.top(v)


class Table:
    """Entries for all addresses, reserved as a whole and committed page by page.

    base: its address. An entry covers `1 << shift` bytes. Entries are committed in blocks of
    `block` bytes, rounded up to whole pages of the kernel (Go: physPageSize).
    """

    __slots__ = ("_base", "_block", "_committed", "_mem", "_page", "_shift")

    def __init__(self, mem: "SysMem", base: int, shift: int, block: int) -> None:
        self._mem = mem
        self._base = base
        self._shift = shift
        self._block = block
        self._page = mem.kernel.page_size
        self._committed: set[int] = set()  # pages, by number

    def commit(self, v: int, n: int) -> None:
        """Commit the entries of n bytes at v, as far as they are not committed, or throw."""
        block, page_size = self._block, self._page
        first = (v + ADDRESS_OFFSET >> self._shift) * ENTRY_BYTES // block * block
        end = (v + n - 1 + ADDRESS_OFFSET >> self._shift) * ENTRY_BYTES // block * block + block
        pages = range(first // page_size, -(-end // page_size))
        missing = [page for page in pages if page not in self._committed]
        if not missing:
            return
        self._committed.update(missing)
        start, end = missing[0] * page_size, (missing[-1] + 1) * page_size
        self._mem.sys_map(self._base + start, end - start)
