"""The heap bitmap (Go: the bit functions of mgc0.c): four bits for each 8-byte word of heap.

One 64-bit bitmap word describes 16 heap words, and lies below the arena, mirrored: the bitmap word
of heap word i is `top - (i >> 4)` with i and top counted in words from address 0. Within it the
bits stand in groups of 16, a bit of each group for each heap word:

    bits 0-15 allocated, 16-31 no pointers (allocated) or block boundary (not allocated),
    32-47 marked, 48-63 special.
"""

from .death import Throw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arena import Arena
    from .cache import MCacheList
    from .kernel import Words

    Place = tuple[int, int, bool, int, int, int, int, MCacheList]
    """Of a small block: its first and second word, as indices of words, and whether that is all of
    it; its bitmap word, what to exclusive-or that with to make a free block an allocated one, what
    to keep of it and what to set to make the block free; the list in the cache that it goes to."""

ALLOCATED = [1 << s for s in range(16)]
BOUNDARY = [1 << 16 + s for s in range(16)]
NO_POINTERS = BOUNDARY
SPECIAL = [1 << 48 + s for s in range(16)]
KEEP = [(1 << 64) - 1 ^ 0x0001_0001_0001_0001 << s for s in range(16)]


class HeapBitmap:
    """Writes the bitmap of one arena in the kernel's memory. Addresses and sizes in bytes.

    places: the blocks whose `Place` is known, by address. It only saves working them out again.
    """

    __slots__ = ("arena", "places", "words")

    def __init__(self, words: "Words", arena: "Arena") -> None:
        self.words = words
        self.arena = arena
        self.places: dict[int, Place] = {}

    def place(self, v: int, blocks: "MCacheList") -> "Place":
        """The place of the small block at v, which belongs to that list."""
        i = v >> 3
        s = i & 15
        b = self.arena.top(v) - (i >> 4)
        second = i + 1 if blocks.size > 8 else i
        toggle = ALLOCATED[s] | BOUNDARY[s]
        return i, second, blocks.size <= 16, b, toggle, KEEP[s], BOUNDARY[s], blocks

    def forget(self, v: int, limit: int, size: int) -> None:
        """Drop the places of the blocks of `size` bytes from v to limit, which are no more."""
        for block in range(v, limit, size):
            self.places.pop(block, None)

    def markallocated(self, v: int, n: int, noptr: bool = False) -> None:
        """`runtime·markallocated`: the block of n bytes at v is used."""
        self._check(v, n, "markallocated: bad pointer")
        i = v >> 3
        b = self.arena.top(v) - (i >> 4)
        s = i & 15
        bits = self.words[b] & KEEP[s] | ALLOCATED[s]
        self.words[b] = bits | NO_POINTERS[s] if noptr else bits

    def markfreed(self, v: int, n: int) -> None:
        """`runtime·markfreed`: the block is free. Its throw has the other's text."""
        self._check(v, n, "markallocated: bad pointer")
        self._mark_boundary(v)

    def markspan(self, v: int, size: int, n: int, leftover: bool) -> None:
        """`runtime·markspan`: n blocks of `size` bytes at v; `leftover` marks their end too."""
        self._check(v, size * n, "markspan: bad pointer")
        for p in range(v, v + size * (n + leftover), size) if size else [v]:
            self._mark_boundary(p)

    def unmarkspan(self, v: int, n: int) -> None:
        """`runtime·unmarkspan`: forget all about the n bytes at v."""
        self._check(v, n, "markspan: bad pointer")
        if v - self.arena.arena_start & 127:
            raise Throw("markspan: unaligned pointer")
        if n >> 3 & 15:
            raise Throw("unmarkspan: unaligned length")
        words = self.words
        for p in range(v, v + n, 128):
            words[self.arena.top(p) - (p >> 7)] = 0

    def setblockspecial(self, v: int) -> None:
        """`runtime·setblockspecial`: the block at v is known to the profiler."""
        i = v >> 3
        self.words[self.arena.top(v) - (i >> 4)] |= SPECIAL[i & 15]

    def bits(self, v: int) -> tuple[bool, bool, bool, bool]:
        """The four bits of the word at v: allocated, boundary or no pointers, marked, special."""
        i = v >> 3
        word = self.words[self.arena.top(v) - (i >> 4)] >> (i & 15)
        return bool(word & 1), bool(word >> 16 & 1), bool(word >> 32 & 1), bool(word >> 48 & 1)

    def _mark_boundary(self, v: int) -> None:
        i = v >> 3
        b = self.arena.top(v) - (i >> 4)
        s = i & 15
        self.words[b] = self.words[b] & KEEP[s] | BOUNDARY[s]

    def _check(self, v: int, n: int, message: str) -> None:
        if v + n > self.arena.arena_used or v < self.arena.arena_start:
            raise Throw(message)
