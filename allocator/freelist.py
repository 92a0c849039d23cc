"""Lists of free blocks in the cache of a thread (Go: MCacheList in malloc.h).

`cache` fills and empties these lists, `bitmap` keeps a `Place` for each block in them.
"""


class BitmapWord:
    """A copy of one word of the heap bitmap."""

    __slots__ = ("bits",)

    def __init__(self, bits: int) -> None:
        self.bits = bits


class Place:
    """A copy of what memory says about a small block, so that the fast paths need not read memory.

    first, second, word: indices in `HeapBitmap.near` of the block's first word, of its second word
    (the first again if it has only one) and of its bitmap word. cell: the value of the bitmap word.
    toggle: exclusive-or with this value turns the bits of a free block into those of an allocated
    block, and back. While the block is in the list `blocks`: depth: number of blocks from this one
    to the end of the list; next: the place of the next block, `blocks.end` after the last block,
    None if only memory holds the link.

    The copy is always exact: `cell` equals the bitmap word, `next` of a listed block equals the
    block's first word, and `depth` is the length of the chain. Therefore code that writes the
    bitmap also writes the cell. A block that returns to the central list, or whose bits are not
    exactly the allocated bit, loses its place (`HeapBitmap.forget`). The first block of a list as
    short as nlistmin has no `next`: a fast path never makes the list shorter than nlistmin, and so
    never has to check it.
    """

    __slots__ = ("blocks", "cell", "depth", "first", "next", "second", "toggle", "v", "word")

    def __init__(
        self,
        v: int,
        blocks: "MCacheList",
        first: int,
        word: int,
        cell: BitmapWord,
        toggle: int,
    ) -> None:
        self.v = v
        self.blocks = blocks
        self.first = first
        self.second = first + blocks.second
        self.word = word
        self.cell = cell
        self.toggle = toggle
        self.depth = 0
        self.next: Place | None = None


class MCacheList:
    """The free blocks of one class, linked through their first words. Go: `MCacheList`.

    head: place of the first block, `end` if the list is empty. nlistmin: lowest length since the
    last scavenge. limit: a free that brings the list to this length calls `MCache.release_excess`.
    net: blocks received from the central list minus blocks returned to it. nfree: blocks freed so
    far. second: distance in words from a block's first word to its second, 0 if it has only one.
    two_words: whether a block has at most two words.
    """

    __slots__ = (
        "end", "head", "limit", "net", "nfree", "nlistmin", "second", "size", "sizeclass",
        "two_words",
    )  # fmt: skip

    def __init__(self, sizeclass: int, size: int, pointer: int) -> None:
        self.sizeclass = sizeclass
        self.size = size
        self.second = int(size > pointer)
        self.two_words = size <= 2 * pointer
        self.nlistmin = self.limit = self.net = self.nfree = 0
        self.head = self.end = Place(0, self, 0, 0, BitmapWord(0), 0)

    @property
    def list(self) -> int:
        """Address of the first block, 0 if the list is empty."""
        return self.head.v

    @property
    def nlist(self) -> int:
        """Number of blocks."""
        return self.head.depth

    def push(self, place: Place) -> None:
        """Put a block at the front. The caller has already written the link in its first word."""
        place.next = self.head
        place.depth = self.head.depth + 1
        self.head = place

    @property
    def nmalloc(self) -> int:
        """Blocks allocated so far, derived from the other counts."""
        return self.net + self.nfree - self.nlist
