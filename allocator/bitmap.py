"""The heap bitmap (Go: the bit functions of mgc0.c): four bits for each word of heap.

A bitmap word describes 16 heap words (8 if a word has 32 bits). The bitmap lies below the arena and
grows downwards: heap word i is described by the bitmap word `top - (i >> 4)` (or `>> 3`), where i
and top are counted in words from address 0. The bits of a bitmap word form four groups of 16 (or
8), and each group has one bit for each heap word. From the lowest group:

    allocated, no pointers (allocated) or block boundary (not allocated), marked, special.
"""

from .death import Throw
from .freelist import BitmapWord, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arena import Arena
    from .freelist import MCacheList
    from .kernel import Kernel


class HeapBitmap:
    """Writes the bitmap of one arena into the kernel's memory. Addresses and sizes in bytes.

    places: by address, the `Place` of each block that the fast paths of malloc and free can handle:
        free blocks in the cache's lists, and allocated blocks that have only the allocated bit set.
    near: memory as words, starting at the reserved bitmap, or at address 0 if none is reserved.
    mirror: by index, copies of the bitmap words of those blocks. A write to such a word is also
        written to its copy.
    """

    __slots__ = (
        "_allocated", "_begin", "_boundary", "_group", "_keep", "_last", "_shift", "_special",
        "_width", "arena", "mirror", "near", "places", "words",
    )  # fmt: skip

    def __init__(self, kernel: "Kernel", arena: "Arena") -> None:
        self._width = width = kernel.width
        bits = width.bits
        self._shift, self._group, self._last = width.shift, width.group, bits - 1
        self._allocated = [1 << s for s in range(bits)]
        self._boundary = [1 << bits + s for s in range(bits)]  # "no pointers" of allocated ones
        self._special = [1 << 3 * bits + s for s in range(bits)]
        all_four = 1 | 1 << bits | 1 << 2 * bits | 1 << 3 * bits
        self._keep = [width.mask ^ all_four << s for s in range(bits)]
        self.words = kernel.words
        self.near = kernel.words_from(arena.bitmap)
        self._begin = arena.bitmap >> width.shift
        self.arena = arena
        self.places: dict[int, Place] = {}
        self.mirror: dict[int, BitmapWord] = {}

    def place(self, v: int, blocks: "MCacheList") -> "Place":
        """Return the place of the free small block at v, which belongs to the list `blocks`."""
        place = self.places.get(v)
        if place is None:
            i, b, s = self._find(v)
            cell = self.mirror.get(b)
            if cell is None:
                cell = self.mirror[b] = BitmapWord(self.words[b])
            toggle = self._allocated[s] | self._boundary[s]
            place = Place(v, blocks, i - self._begin, b - self._begin, cell, toggle)
            self.places[v] = place
        return place

    def forget(self, v: int) -> None:
        """Remove the place of the block at v: only the slow paths handle the block from now on."""
        self.places.pop(v, None)

    def markallocated(self, v: int, n: int, noptr: bool = False) -> None:
        """`runtime·markallocated`: mark the block of n bytes at v as allocated."""
        self._check(v, n, "markallocated: bad pointer")
        _, b, s = self._find(v)
        bits = self.words[b] & self._keep[s] | self._allocated[s]
        self._write(b, bits | self._boundary[s] if noptr else bits)

    def markfreed(self, v: int, n: int) -> None:
        """`runtime·markfreed`: mark the block as free. It throws the text of markallocated, as Go does."""
        self._check(v, n, "markallocated: bad pointer")
        self._mark_boundary(v)

    def markspan(self, v: int, size: int, n: int, leftover: bool) -> None:
        """`runtime·markspan`: mark n blocks of `size` bytes at v; `leftover` also marks their end."""
        self._check(v, size * n, "markspan: bad pointer")
        for p in range(v, v + size * (n + leftover), size) if size else [v]:
            self._mark_boundary(p)

    def unmarkspan(self, v: int, n: int) -> None:
        """`runtime·unmarkspan`: clear all bits of the n bytes at v."""
        self._check(v, n, "markspan: bad pointer")
        if v - self.arena.arena_start >> self._shift & self._last:
            raise Throw("markspan: unaligned pointer")
        if n >> self._shift & self._last:
            raise Throw("unmarkspan: unaligned length")
        words = self.words
        for p in range(v, v + n, self._width.bits * self._width.pointer):
            _, b, _ = self._find(p)
            words[b] = 0
            self.mirror.pop(b, None)

    def setblockspecial(self, v: int) -> None:
        """`runtime·setblockspecial`: mark the block at v as sampled by the profiler."""
        _, b, s = self._find(v)
        self._write(b, self.words[b] | self._special[s])
        self.forget(v)

    def bits(self, v: int) -> tuple[bool, bool, bool, bool]:
        """Return the bits of the word at v: allocated, boundary or no pointers, marked, special."""
        _, b, s = self._find(v)
        word, n = self.words[b] >> s, self._width.bits
        return bool(word & 1), bool(word >> n & 1), bool(word >> 2 * n & 1), bool(word >> 3 * n & 1)

    def _find(self, v: int) -> tuple[int, int, int]:
        """Return the index of the word at v, of its bitmap word, and its bit number in a group."""
        i = v >> self._shift
        return i, self.arena.top(v) - (i >> self._group), i & self._last

    def _mark_boundary(self, v: int) -> None:
        i = v >> self._shift  # `_find` inlined: it would be called for every block of a new span
        b = self.arena.top(v) - (i >> self._group)
        s = i & self._last
        self._write(b, self.words[b] & self._keep[s] | self._boundary[s])

    def _write(self, b: int, bits: int) -> None:
        self.words[b] = bits
        if b in self.mirror:
            self.mirror[b].bits = bits

    def _check(self, v: int, n: int, message: str) -> None:
        if v + n > self.arena.arena_used or v < self.arena.arena_start:
            raise Throw(message)
