"""The cache of one thread: a list of free blocks for each size class (Go: mcache.c)."""

from .death import Throw
from .sizes import MAX_MCACHE_LIST_LEN, MAX_MCACHE_SIZE, SizeClasses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bitmap import HeapBitmap
    from .central import MCentral
    from .kernel import Kernel


class BitmapWord:
    """What one word of the heap bitmap holds."""

    __slots__ = ("bits",)

    def __init__(self, bits: int) -> None:
        self.bits = bits


class Place:
    """What the short ways of malloc and free know of a small block, instead of reading memory.

    first, second, word: of its first two words (the first twice if it has but one) and of its
    bitmap word, the indices in `HeapBitmap.near`. cell: what the latter holds. toggle: what to
    exclusive-or it with to make the free block an allocated one, and back. While the block is in
    the list `blocks`: depth: how many are in the list from here on; next: the place of the next
    block, `blocks.end` behind the last, None if only memory knows.

    All of it is true at any time: `cell` is what the bitmap says, the `next` of a block in the list
    what its first word says, and `depth` the length of the links from there. For that, writers of
    the bitmap write the cell too; a block that goes back to the central list, or to a program with
    other bits than the allocated one, loses its place (`HeapBitmap.forget`). Besides, the first
    block of a list that is as short as nlistmin has no `next`: the short way never makes a list
    shorter than that, and need not look at nlistmin.
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
    """The free blocks of one class, linked through first words. Go: `MCacheList`.

    head: place of the first block, `end` for none. nlistmin: the fewest blocks since the last
    scavenge. limit: a free that makes nlist as much as that ends in `MCache.give_back`. net: blocks
    from the central list less those given back to it. nfree: blocks taken back, ever. second: the
    distance in words from a block's first word to its second, 0 if it has none. two_words: whether
    a block has no more than that.
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
        """Address of the first block, 0 for none."""
        return self.head.v

    @property
    def nlist(self) -> int:
        """How many blocks."""
        return self.head.depth

    def push(self, place: Place) -> None:
        """Put a block at the front, whose first word says so already."""
        place.next = self.head
        place.depth = self.head.depth + 1
        self.head = place

    @property
    def nmalloc(self) -> int:
        """Blocks handed out, ever: it follows from the other counts."""
        return self.net + self.nfree - self.nlist


class MCache:
    """The lists of all classes, filled from and emptied into the central ones. Go: `MCache`.

    address: where its record lies.
    """

    __slots__ = (
        "_bitmap", "_kernel", "_shift", "_words", "address", "central", "classes", "lists",
    )  # fmt: skip

    def __init__(
        self,
        address: int,
        kernel: "Kernel",
        bitmap: "HeapBitmap",
        classes: SizeClasses,
        central: "list[MCentral]",
    ) -> None:
        self.address = address
        self._kernel = kernel
        self._bitmap = bitmap
        self._words = kernel.words
        self._shift = kernel.width.shift
        self.classes = classes
        self.central = central
        pointer = kernel.width.pointer
        self.lists = [MCacheList(at, size, pointer) for at, size in enumerate(classes.size)]
        self._set_limits()

    @property
    def size(self) -> int:
        """Bytes of free blocks held."""
        return sum([blocks.head.depth * blocks.size for blocks in self.lists])

    def alloc(self, sizeclass: int, zeroed: bool = True) -> int:
        """`runtime·MCache_Alloc`: a block, its contents zero if wanted. Throws `out of memory`."""
        blocks = self.lists[sizeclass]
        v = blocks.list or self._refill(blocks)
        i = v >> self._shift
        words = self._words
        self._begin(blocks, words[i], blocks.nlist - 1)
        words[i] = 0
        if zeroed and blocks.second and words[i + 1] != 0:
            self._kernel.clear(v, blocks.size)
        return v

    def _begin(self, blocks: MCacheList, v: int, n: int) -> None:
        """Let a list begin with the block at v, as memory has it, and have n blocks."""
        if v:
            blocks.head = self._bitmap.place(v, blocks)
            blocks.head.depth = n
        else:
            blocks.head = blocks.end
        if n <= blocks.nlistmin:
            blocks.nlistmin = n
            blocks.head.next = None

    def _refill(self, blocks: MCacheList) -> int:
        sizeclass = blocks.sizeclass
        n, first = self.central[sizeclass].alloc_list(self.classes.transfercount[sizeclass])
        if n == 0:
            raise Throw("out of memory")
        self._begin(blocks, first, n)
        blocks.net += n
        if n >= blocks.limit:
            self._set_limits()
        return first

    def free(self, v: int, sizeclass: int) -> None:
        """`runtime·MCache_Free`: put a block at the front of its list."""
        blocks = self.lists[sizeclass]
        self._words[v >> self._shift] = blocks.list
        blocks.push(self._bitmap.place(v, blocks))
        blocks.nfree += 1
        if blocks.nlist >= blocks.limit:
            self.give_back(blocks)

    def give_back(self, blocks: MCacheList) -> None:
        """The end of `runtime·MCache_Free`: release what is too much, here and then in all.

        It may be left out as long as the list is below its limit: it would find nothing to do.
        """
        if blocks.nlist >= MAX_MCACHE_LIST_LEN:
            self._release(blocks, self.classes.transfercount[blocks.sizeclass])
        if self.size >= MAX_MCACHE_SIZE:
            self._scavenge()
        self._set_limits()

    def _set_limits(self) -> None:
        """Let each list grow by an equal share of what the whole cache may still grow by.

        While every list is below its limit, none is too long and all of them are not too big, so
        that nobody has to count bytes. A cache that is too big, as a refill leaves it, is looked at
        with each free.
        """
        room = MAX_MCACHE_SIZE - 1 - self.size
        share = room // len(self.lists)
        for blocks in self.lists[1:]:
            longest = blocks.nlist + share // blocks.size
            blocks.limit = min(longest + 1, MAX_MCACHE_LIST_LEN) if room >= 0 else 0

    def _scavenge(self) -> None:
        """Give back half of what each class did without since the last time."""
        for blocks in self.lists:
            n = blocks.nlistmin
            if n > 0:
                self._release(blocks, n // 2 if n > 1 else n)
            blocks.nlistmin = blocks.nlist
            blocks.head.next = None

    def _release(self, blocks: MCacheList, n: int) -> None:
        """`ReleaseN`: give the first n blocks of a list back to the central list."""
        if n == 0:
            return
        words, shift = self._words, self._shift
        first = last = blocks.list
        self._bitmap.forget(first)
        for _ in range(n - 1):
            last = words[last >> shift]
            self._bitmap.forget(last)
        self._begin(blocks, words[last >> shift], blocks.nlist - n)
        words[last >> shift] = 0
        blocks.net -= n
        self.central[blocks.sizeclass].free_list(first)

    def release_all(self) -> None:
        """`runtime·MCache_ReleaseAll`: empty every list, as the end of a collection does."""
        for blocks in self.lists:
            self._release(blocks, blocks.nlist)
            blocks.nlistmin = 0
