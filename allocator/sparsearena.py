"""Arenas of 64 MiB, wherever a hint is granted (Go since 1.11: mheap.sysAlloc)."""

from .death import Throw
from .kernel import MAP_ANON, PROT_NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .sysmem import SysMem

HEAP_ARENA_BYTES = 64 << 20
BITMAP_BYTES = HEAP_ARENA_BYTES // 16  # of 64-bit machines, which alone have such arenas here


class SparseArena:
    """The heap's addresses under the policies with `ARENAS`.

    The calls for the arenas are those of Go 1.11. The bitmap of an arena is ours: 4 MiB by
    SysAlloc, where Go has a record of another layout. `base` is the first arena, `arena_start` and
    `arena_used` span all of them. path: `high` at a hint, `low` where the kernel chose.
    """

    __slots__ = (
        "_hints", "_mem", "_next", "_next_end", "_tops", "arena_end", "arena_start", "arena_used",
        "base", "bitmap", "bitmap_size", "length", "path",
    )  # fmt: skip

    def __init__(self, mem: "SysMem") -> None:
        self._mem = mem
        self._hints = [(hint, False) for hint in mem.policy.hints]  # (address, grows down)
        self._tops: dict[int, int] = {}
        self._next = self._next_end = 0
        self.base = self.length = self.bitmap = self.bitmap_size = 0
        self.arena_start = self.arena_used = self.arena_end = 0
        self.path = "refused"

    def reserve(self) -> None:
        """Nothing: the first arena is reserved when the heap first grows."""

    def sys_alloc(self, n: int) -> int:
        """N bytes of heap, or 0: the rest of the last arena, or of new ones."""
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
        """`mheap.sysAlloc`: (address, bytes) of arenas for n bytes, mapped, or (0, 0)."""
        mem = self._mem
        v = size = 0
        path = "high"
        while self._hints:
            hint, down = self._hints[0]
            p = hint - n if down else hint
            v = self._reserve(p, n) if p >= 0 else 0
            if v == p and v:
                self._hints[0] = (p if down else p + n, down)
                size = n
                break
            if v:
                mem.munmap(v, n)
            del self._hints[0]
        if size == 0:
            path = "low"
            v, size = self._reserve_aligned(n)
            if v == 0:
                return 0, 0
            self._hints[:0] = [(v + size, False), (v, True)]
        mem.sys_map(v, size)
        for start in range(v, v + size, HEAP_ARENA_BYTES):
            bits = mem.sys_alloc(BITMAP_BYTES)
            if bits == 0:
                raise Throw("out of memory allocating heap arena metadata")
            self._tops[start >> 26] = (bits + BITMAP_BYTES >> 3) - 1 + (start >> 7)
            if not self.base:
                self.bitmap, self.bitmap_size = bits, BITMAP_BYTES
        if not self.base:
            self.base, self.length, self.path = v, size, path
            self.arena_start = v
        self.arena_start = min(self.arena_start, v)
        self.arena_end = max(self.arena_end, v + size)
        return v, size

    def _reserve(self, v: int, n: int) -> int:
        """`sysReserve`: any address that the kernel gives, 0 for an error."""
        p = self._mem.mmap(v, n, PROT_NONE, MAP_ANON)
        return 0 if p < 4096 else p

    def _reserve_aligned(self, n: int) -> tuple[int, int]:
        """`sysReserveAligned`: an arena more than needed is asked for, and the ends are cut off."""
        p = self._reserve(0, n + HEAP_ARENA_BYTES)
        if p == 0:
            return 0, 0
        if p % HEAP_ARENA_BYTES == 0:
            return p, n + HEAP_ARENA_BYTES
        v = -(-p // HEAP_ARENA_BYTES) * HEAP_ARENA_BYTES
        self._mem.munmap(p, v - p)
        self._mem.munmap(v + n, p + HEAP_ARENA_BYTES - v)
        return v, n

    def top(self, v: int) -> int:
        """Of the bitmap of the arena that v lies in."""
        return self._tops[v >> 26]
