"""The cache of one thread: a list of free blocks for each size class (Go: mcache.c)."""

from .death import Throw
from .sizes import MAX_MCACHE_LIST_LEN, MAX_MCACHE_SIZE, SizeClasses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .central import MCentral
    from .kernel import Kernel


class MCacheList:
    """The free blocks of one class. Go: `MCacheList`.

    list: address of the first, linked through first words, 0 for none. nlist: how many. nlistmin:
    the fewest since the last scavenge. limit: a free that makes nlist as much as that ends in
    `MCache.give_back`. net: blocks from the central list less those given back to it. nfree: blocks
    taken back, ever.
    """

    __slots__ = ("limit", "list", "net", "nfree", "nlist", "nlistmin", "size", "sizeclass")

    def __init__(self, sizeclass: int, size: int) -> None:
        self.sizeclass = sizeclass
        self.size = size
        self.list = self.nlist = self.nlistmin = self.limit = self.net = self.nfree = 0

    @property
    def nmalloc(self) -> int:
        """Blocks handed out, ever: it follows from the other counts."""
        return self.net + self.nfree - self.nlist


class MCache:
    """The lists of all classes, filled from and emptied into the central ones. Go: `MCache`.

    address: where its record lies.
    """

    __slots__ = ("_kernel", "_words", "address", "central", "classes", "lists")

    def __init__(
        self, address: int, kernel: "Kernel", classes: SizeClasses, central: "list[MCentral]"
    ) -> None:
        self.address = address
        self._kernel = kernel
        self._words = kernel.words
        self.classes = classes
        self.central = central
        self.lists = [MCacheList(sizeclass, size) for sizeclass, size in enumerate(classes.size)]
        self._set_limits()

    @property
    def size(self) -> int:
        """Bytes of free blocks held."""
        return sum([blocks.nlist * blocks.size for blocks in self.lists])

    def alloc(self, sizeclass: int, zeroed: bool = True) -> int:
        """`runtime·MCache_Alloc`: a block, its contents zero if wanted. Throws `out of memory`."""
        blocks = self.lists[sizeclass]
        v = blocks.list
        if v == 0:
            v = self._refill(blocks)
        i = v >> 3
        words = self._words
        blocks.list = words[i]
        blocks.nlist -= 1
        if blocks.nlist < blocks.nlistmin:
            blocks.nlistmin = blocks.nlist
        words[i] = 0
        if zeroed and blocks.size > 8 and words[i + 1] != 0:
            self._kernel.clear(v, blocks.size)
        return v

    def _refill(self, blocks: MCacheList) -> int:
        sizeclass = blocks.sizeclass
        n, first = self.central[sizeclass].alloc_list(self.classes.transfercount[sizeclass])
        if n == 0:
            raise Throw("out of memory")
        blocks.list = first
        blocks.nlist = n
        blocks.net += n
        if n >= blocks.limit:
            self._set_limits()
        return first

    def free(self, v: int, sizeclass: int) -> None:
        """`runtime·MCache_Free`: put a block at the front of its list."""
        blocks = self.lists[sizeclass]
        self._words[v >> 3] = blocks.list
        blocks.list = v
        blocks.nfree += 1
        blocks.nlist += 1
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

    def _release(self, blocks: MCacheList, n: int) -> None:
        """`ReleaseN`: give the first n blocks of a list back to the central list."""
        if n == 0:
            return
        words = self._words
        first = last = blocks.list
        for _ in range(n - 1):
            last = words[last >> 3]
        blocks.list = words[last >> 3]
        words[last >> 3] = 0
        blocks.nlist -= n
        blocks.net -= n
        blocks.nlistmin = min(blocks.nlistmin, blocks.nlist)
        self.central[blocks.sizeclass].free_list(first)

    def release_all(self) -> None:
        """`runtime·MCache_ReleaseAll`: empty every list, as the end of a collection does."""
        for blocks in self.lists:
            self._release(blocks, blocks.nlist)
            blocks.nlistmin = 0
