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
    the fewest since the last scavenge. nmalloc, nfree: blocks handed out and taken back, ever.
    """

    __slots__ = ("list", "nfree", "nlist", "nlistmin", "nmalloc", "size", "sizeclass")

    def __init__(self, sizeclass: int, size: int) -> None:
        self.sizeclass = sizeclass
        self.size = size
        self.list = self.nlist = self.nlistmin = self.nmalloc = self.nfree = 0


class MCache:
    """The lists of all classes, filled from and emptied into the central ones. Go: `MCache`.

    address: where its record lies. size: bytes of free blocks held.
    """

    __slots__ = ("_kernel", "_words", "address", "central", "classes", "lists", "size")

    def __init__(
        self, address: int, kernel: "Kernel", classes: SizeClasses, central: "list[MCentral]"
    ) -> None:
        self.address = address
        self._kernel = kernel
        self._words = kernel.words
        self.classes = classes
        self.central = central
        self.size = 0
        self.lists = [MCacheList(sizeclass, size) for sizeclass, size in enumerate(classes.size)]

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
        self.size -= blocks.size
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
        self.size += n * blocks.size
        return first

    def free(self, v: int, sizeclass: int) -> None:
        """`runtime·MCache_Free`: put a block at the front of its list."""
        blocks = self.lists[sizeclass]
        self._words[v >> 3] = blocks.list
        blocks.list = v
        blocks.nlist += 1
        self.size += blocks.size
        self.give_back(blocks)

    def give_back(self, blocks: MCacheList) -> None:
        """The end of `runtime·MCache_Free`: release what is too much, here and then in all."""
        if blocks.nlist >= MAX_MCACHE_LIST_LEN:
            self._release(blocks, self.classes.transfercount[blocks.sizeclass])
        if self.size >= MAX_MCACHE_SIZE:
            self._scavenge()

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
        blocks.nlistmin = min(blocks.nlistmin, blocks.nlist)
        self.size -= n * blocks.size
        self.central[blocks.sizeclass].free_list(first)

    def release_all(self) -> None:
        """`runtime·MCache_ReleaseAll`: empty every list, as the end of a collection does."""
        for blocks in self.lists:
            self._release(blocks, blocks.nlist)
            blocks.nlistmin = 0
