"""The arena: the addresses of the heap (Go: mallocinit, MHeap_SysAlloc, MHeap_MapBits)."""

from .death import Throw
from .policy import ARENA_HIGH, BITMAP_HIGH
from .sizes import BITMAP_CHUNK, MAX_ARENA_32, PAGE_MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .sysmem import SysMem

    class Arena(Protocol):
        """The interface between the heap and its arena."""

        path: str
        base: int
        length: int
        bitmap: int
        bitmap_size: int
        arena_start: int
        arena_used: int
        arena_end: int

        def reserve(self) -> None:
            """Find an address range, or throw."""

        def sys_alloc(self, n: int) -> int:
            """Map n bytes and their part of the bitmap. Returns their address, 0 on failure."""

        def top(self, v: int) -> int:
            """Return the base for the bitmap words of the memory around v, see `bitmap`."""


ARENA_LOW = 512 << 20


class ContiguousArena:
    """One arena with its bitmap below it (Go of 2012). The heap grows upwards in it.

    end: address of the end of the program's image. The low arena is placed after it.
    image: bytes of text, data and bss, which memlimit subtracts from the limit.
    path: `high`, `low`, `low-grown` after the first block beyond the low reservation, `refused`
        while nothing is reserved.
    All other fields are addresses and bytes, 0 before `reserve`.
    """

    __slots__ = (
        "_bitmap_mapped", "_end", "_image", "_mem", "_top", "_width", "arena_end", "arena_start",
        "arena_used", "base", "bitmap", "bitmap_size", "length", "path",
    )  # fmt: skip

    def __init__(self, mem: "SysMem", end: int, image: int) -> None:
        self._mem = mem
        self._width = mem.kernel.width
        self._end = end
        self._image = image
        self._bitmap_mapped = self._top = 0
        self.base = self.length = self.bitmap = self.bitmap_size = 0
        self.arena_start = self.arena_used = self.arena_end = 0
        self.path = "refused"

    def reserve(self) -> None:
        """The first half of `runtime·mallocinit`: reserve the high arena, else the low one."""
        mem, width = self._mem, self._width
        p = 0
        path, arena_size, bitmap_size = "high", ARENA_HIGH, BITMAP_HIGH
        limit = mem.memlimit(self._image) if mem.policy.reads_limit else 0
        if mem.policy.hints and (limit == 0 or limit > 1 << 30):
            p = mem.sys_reserve(mem.policy.hints[0], bitmap_size + arena_size)
        if p == 0 and mem.policy.falls_back:
            path, arena_size, bitmap_size = "low", ARENA_LOW, MAX_ARENA_32 // width.bits
            if 0 < limit < arena_size + bitmap_size:
                bitmap_size = limit // 9 & ~PAGE_MASK
                arena_size = bitmap_size * 8
            want = self._end + (1 << 18) + (1 << 20) - 1 & ~((1 << 20) - 1)
            p = mem.sys_reserve(want, bitmap_size + arena_size)
            # this message came with memlimit, and has no newline
            if p & PAGE_MASK and mem.policy.reads_limit:
                mem.console.printf(
                    f"runtime: SysReserve returned unaligned address {p:#x}; "
                    f"asked for {bitmap_size + arena_size:#x}"
                )
        if p == 0:
            raise Throw("runtime: cannot reserve arena virtual address space")
        if p & PAGE_MASK:
            raise Throw("runtime: SysReserve returned unaligned address")
        self.path = path
        self.base = self.bitmap = p
        self.length = bitmap_size + arena_size
        self.bitmap_size = bitmap_size
        self.arena_start = self.arena_used = p + bitmap_size
        self.arena_end = self.arena_start + arena_size
        first = self.arena_start >> width.shift
        self._top = first - 1 + (first >> width.group)

    def sys_alloc(self, n: int) -> int:
        """`runtime·MHeap_SysAlloc`: n bytes of heap, 0 on failure."""
        mem = self._mem
        if n <= self.arena_end - self.arena_used:
            p = self.arena_used
            mem.sys_map(p, n)
            self.arena_used += n
            self._map_bits()
            return p
        if self.bitmap >= mem.policy.careful_from:
            return 0  # a high arena does not grow beyond its reservation
        p = mem.sys_alloc(n)
        if p == 0:
            return 0
        if p < self.arena_start or p + n - self.arena_start >= MAX_ARENA_32:
            mem.console.printf("runtime: memory allocated by OS not in usable range\n")
            mem.sys_free(p, n)
            return 0
        self.path = "low-grown"
        if p + n > self.arena_used:
            # As in Go, the addresses between are never used again.
            self.arena_used = p + n
            self.arena_end = max(self.arena_end, self.arena_used)
            self._map_bits()
        return p

    def _map_bits(self) -> None:
        """`runtime·MHeap_MapBits`: extend the bitmap downwards to cover the used arena."""
        n = (self.arena_used - self.arena_start) // self._width.bits
        n = n + BITMAP_CHUNK - 1 & ~(BITMAP_CHUNK - 1)
        if self._bitmap_mapped < n:
            # a bitmap larger than the addresses below the arena wraps, as in C
            v = self.arena_start - n & self._width.mask
            self._mem.sys_map(v, n - self._bitmap_mapped)
            self._bitmap_mapped = n

    def top(self, v: int) -> int:
        """Return the same base for every address: there is one bitmap."""
        return self._top
