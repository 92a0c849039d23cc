"""The heap bitmap (Go: the bit functions of mgc0.c): four bits for each 8-byte word of heap.

One 64-bit bitmap word describes 16 heap words, and lies below the arena, mirrored: the bitmap word
of heap word i is `top - (i >> 4)` with i and top counted in words from address 0. Within it the
bits stand in groups of 16, a bit of each group for each heap word:

    bits 0-15 allocated, 16-31 no pointers (allocated) or block boundary (not allocated),
    32-47 marked, 48-63 special.
"""

from .cache import BitmapWord, Place
from .death import Throw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arena import Arena
    from .cache import MCacheList
    from .kernel import Kernel

ALLOCATED = [1 << s for s in range(16)]
BOUNDARY = [1 << 16 + s for s in range(16)]
NO_POINTERS = BOUNDARY
SPECIAL = [1 << 48 + s for s in range(16)]
KEEP = [(1 << 64) - 1 ^ 0x0001_0001_0001_0001 << s for s in range(16)]


class HeapBitmap:
    """Writes the bitmap of one arena in the kernel's memory. Addresses and sizes in bytes.

    places: by address, the `Place` of blocks that the short ways of malloc and free can deal with:
    free ones in the cache's lists, and allocated ones with nothing but the allocated bit.
    near: the words from the reserved bitmap on, all of them if none is reserved.
    mirror: by index, the bitmap words of those; whoever writes such a word writes it there too.
    """

    __slots__ = ("_begin", "arena", "mirror", "near", "places", "words")

    def __init__(self, kernel: "Kernel", arena: "Arena") -> None:
        self.words = kernel.words
        self.near = kernel.words_from(arena.bitmap)
        self._begin = arena.bitmap >> 3
        self.arena = arena
        self.places: dict[int, Place] = {}
        self.mirror: dict[int, BitmapWord] = {}

    def place(self, v: int, blocks: "MCacheList") -> "Place":
        """The place of the small block at v, which belongs to that list and is free."""
        place = self.places.get(v)
        if place is None:
            i = v >> 3
            s = i & 15
            b = self.arena.top(v) - (i >> 4)
            cell = self.mirror.get(b)
            if cell is None:
                cell = self.mirror[b] = BitmapWord(self.words[b])
            toggle = ALLOCATED[s] | BOUNDARY[s]
            place = Place(v, blocks, i - self._begin, b - self._begin, cell, toggle)
            self.places[v] = place
        return place

    def forget(self, v: int) -> None:
        """Leave the block at v, if it is a small one, to the long ways."""
        self.places.pop(v, None)

    def markallocated(self, v: int, n: int, noptr: bool = False) -> None:
        """`runtime·markallocated`: the block of n bytes at v is used."""
        self._check(v, n, "markallocated: bad pointer")
        i = v >> 3
        b = self.arena.top(v) - (i >> 4)
        s = i & 15
        bits = self.words[b] & KEEP[s] | ALLOCATED[s]
        self._write(b, bits | NO_POINTERS[s] if noptr else bits)

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
            b = self.arena.top(p) - (p >> 7)
            words[b] = 0
            self.mirror.pop(b, None)

    def setblockspecial(self, v: int) -> None:
        """`runtime·setblockspecial`: the block at v is known to the profiler."""
        i = v >> 3
        b = self.arena.top(v) - (i >> 4)
        self._write(b, self.words[b] | SPECIAL[i & 15])
        self.forget(v)

    def bits(self, v: int) -> tuple[bool, bool, bool, bool]:
        """The four bits of the word at v: allocated, boundary or no pointers, marked, special."""
        i = v >> 3
        word = self.words[self.arena.top(v) - (i >> 4)] >> (i & 15)
        return bool(word & 1), bool(word >> 16 & 1), bool(word >> 32 & 1), bool(word >> 48 & 1)

    def _mark_boundary(self, v: int) -> None:
        i = v >> 3
        b = self.arena.top(v) - (i >> 4)
        s = i & 15
        self._write(b, self.words[b] & KEEP[s] | BOUNDARY[s])

    def _write(self, b: int, bits: int) -> None:
        self.words[b] = bits
        if b in self.mirror:
            self.mirror[b].bits = bits

    def _check(self, v: int, n: int, message: str) -> None:
        if v + n > self.arena.arena_used or v < self.arena.arena_start:
            raise Throw(message)
