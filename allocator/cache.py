"""The cache of one thread: a list of free blocks for each size class (Go: mcache.c)."""

from .death import Throw
from .freelist import MCacheList
from .sizes import MAX_MCACHE_LIST_LEN, MAX_MCACHE_SIZE, SizeClasses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bitmap import HeapBitmap
    from .central import MCentral
    from .kernel import Kernel


class MCache:
    """The free lists of all classes, refilled from and released to the central lists. Go: `MCache`.

    address: address of its record.
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
        """Bytes of all free blocks in the cache."""
        return sum([blocks.head.depth * blocks.size for blocks in self.lists])

    def alloc(self, sizeclass: int, zeroed: bool = True) -> int:
        """`runtime·MCache_Alloc`: a block, cleared if `zeroed`. Throws `out of memory`."""
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
        """Make the block at v, already linked in memory, the first of n blocks of the list."""
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
            self.release_excess(blocks)

    def release_excess(self, blocks: MCacheList) -> None:
        """The end of `runtime·MCache_Free`: shorten this list, then all lists, if they are too long.

        A list below its `limit` needs no call: there would be nothing to release.
        """
        if blocks.nlist >= MAX_MCACHE_LIST_LEN:
            self._release(blocks, self.classes.transfercount[blocks.sizeclass])
        if self.size >= MAX_MCACHE_SIZE:
            self._scavenge()
        self._set_limits()

    def _set_limits(self) -> None:
        """Give each list an equal share of the bytes that the whole cache may still grow by.

        While every list is below its limit, no list is too long and the cache is not too big, so
        the bytes need not be counted at each free. A refill can make the cache too big; then the
        limits are 0 and every free checks the cache.
        """
        room = MAX_MCACHE_SIZE - 1 - self.size
        share = room // len(self.lists)
        for blocks in self.lists[1:]:
            longest = blocks.nlist + share // blocks.size
            blocks.limit = min(longest + 1, MAX_MCACHE_LIST_LEN) if room >= 0 else 0

    def _scavenge(self) -> None:
        """Release half of the blocks that each class has not used since the last scavenge."""
        for blocks in self.lists:
            n = blocks.nlistmin
            if n > 0:
                self._release(blocks, n // 2 if n > 1 else n)
            blocks.nlistmin = blocks.nlist
            blocks.head.next = None

    def _release(self, blocks: MCacheList, n: int) -> None:
        """`ReleaseN`: return the first n blocks of a list to the central list."""
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
