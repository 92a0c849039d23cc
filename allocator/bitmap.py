"""The heap bitmap (Go: the bit functions of mgc0.c): four bits for each word of heap.

One bitmap word describes 16 heap words, 8 where a word has 32 bits, and lies below the arena,
mirrored: the bitmap word of heap word i is `top - (i >> 4)` (or 3) with i and top counted in words
from address 0. Within it the bits stand in groups of 16 (or 8), a bit of each group for each heap
word; from the lowest:

    allocated, no pointers (allocated) or block boundary (not allocated), marked, special.
"""

from .cache import BitmapWord, Place
from .death import Throw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arena import Arena
    from .cache import MCacheList
    from .kernel import Kernel


class HeapBitmap:
    """Writes the bitmap of one arena in the kernel's memory. Addresses and sizes in bytes.

    places: by address, the `Place` of blocks that the short ways of malloc and free can deal with:
    free ones in the cache's lists, and allocated ones with nothing but the allocated bit.
    near: the words from the reserved bitmap on, all of them if none is reserved.
    mirror: by index, the bitmap words of those; whoever writes such a word writes it there too.
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
        """The place of the small block at v, which belongs to that list and is free."""
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
        """Leave the block at v, if it is a small one, to the long ways."""
        self.places.pop(v, None)

    def markallocated(self, v: int, n: int, noptr: bool = False) -> None:
        """`runtime·markallocated`: the block of n bytes at v is used."""
        self._check(v, n, "markallocated: bad pointer")
        _, b, s = self._find(v)
        bits = self.words[b] & self._keep[s] | self._allocated[s]
        self._write(b, bits | self._boundary[s] if noptr else bits)

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
        """`runtime·setblockspecial`: the block at v is known to the profiler."""
        _, b, s = self._find(v)
        self._write(b, self.words[b] | self._special[s])
        self.forget(v)

    def bits(self, v: int) -> tuple[bool, bool, bool, bool]:
        """The four bits of the word at v: allocated, boundary or no pointers, marked, special."""
        _, b, s = self._find(v)
        word, n = self.words[b] >> s, self._width.bits
        return bool(word & 1), bool(word >> n & 1), bool(word >> 2 * n & 1), bool(word >> 3 * n & 1)

    def _find(self, v: int) -> tuple[int, int, int]:
        """The word at v, the bitmap word that describes it, and its bit in each group there."""
        i = v >> self._shift
        return i, self.arena.top(v) - (i >> self._group), i & self._last

    def _mark_boundary(self, v: int) -> None:
        i = v >> self._shift  # `_find` once more: this is done for every block of a new span
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
