"""Central free lists, one for each size class (Go: mcentral.c)."""

from .death import Throw
from .sizes import PAGE_SHIFT, SizeClasses
from .span import MSpan, SpanList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bitmap import HeapBitmap
    from .death import Console
    from .heap import MHeap
    from .kernel import Kernel


class MCentral:
    """The spans of one size class: `nonempty` with free blocks, `empty` without. Go: `MCentral`.

    nfree: free blocks in all spans. Blocks move to and from the cache as lists that are linked
    through the first word of each block.
    """

    __slots__ = (
        "_bitmap", "_console", "_heap", "_npages", "_shift", "_size", "_words", "empty", "nfree",
        "nonempty", "sizeclass",
    )  # fmt: skip

    def __init__(
        self,
        sizeclass: int,
        classes: SizeClasses,
        heap: "MHeap",
        bitmap: "HeapBitmap",
        kernel: "Kernel",
        console: "Console",
    ) -> None:
        self.sizeclass = sizeclass
        self.nfree = 0
        self.nonempty = SpanList()
        self.empty = SpanList()
        self._size = classes.size[sizeclass]
        self._npages = classes.allocnpages[sizeclass]
        self._heap = heap
        self._bitmap = bitmap
        self._words = kernel.words
        self._shift = kernel.width.shift
        self._console = console

    def alloc_list(self, n: int) -> tuple[int, int]:
        """`runtime·MCentral_AllocList`: up to n blocks as (count, first); (0, 0) if out of memory.

        Grows at most once, and only if no span has a free block at the start.
        """
        if not self.nonempty and not self._grow():
            return 0, 0
        words, shift = self._words, self._shift
        first = last = self._alloc()
        count = 1
        while count < n and self.nonempty:
            v = self._alloc()
            words[last >> shift] = v
            last = v
            count += 1
        words[last >> shift] = 0
        self.nfree -= count
        return count, first

    def _alloc(self) -> int:
        """`MCentral_Alloc`: one block of the first nonempty span, which must exist."""
        span = self.nonempty.first
        span.ref += 1
        v = span.freelist
        span.freelist = self._words[v >> self._shift]
        if span.freelist == 0:
            SpanList.remove(span)
            self.empty.insert(span, self._console)
        return v

    def free_list(self, v: int) -> None:
        """`runtime·MCentral_FreeList`: free the block at v and all blocks linked behind it."""
        while v:
            following = self._words[v >> self._shift]
            self._free(v)
            v = following

    def _free(self, v: int) -> None:
        """`MCentral_Free`: free one block. A span whose blocks are all free returns to the heap."""
        span = self._heap.lookup(v)
        if span is None or span.ref == 0:
            raise Throw("invalid free")
        if span.freelist == 0:
            SpanList.remove(span)
            self.nonempty.insert(span, self._console)
        self._words[v >> self._shift] = span.freelist
        span.freelist = v
        self.nfree += 1
        span.ref -= 1
        if span.ref == 0:
            start = span.start << PAGE_SHIFT
            length = span.npages << PAGE_SHIFT
            SpanList.remove(span)
            self._bitmap.unmarkspan(start, length)
            self._words[start >> self._shift] = 1  # needs zeroing
            span.freelist = 0
            self.nfree -= length // self._size
            self._heap.free(span, acct=False)

    def _grow(self) -> bool:
        """`MCentral_Grow`: divide a new span of the heap into blocks, linked in ascending order."""
        span: MSpan | None = self._heap.alloc(self._npages, self.sizeclass, acct=False)
        if span is None:
            return False
        size = self._size
        start = span.start << PAGE_SHIFT
        length = span.npages << PAGE_SHIFT
        n = length // size
        words, shift = self._words, self._shift
        span.limit = start + size * n
        span.freelist = start
        last = span.limit - size
        for v in range(start, last, size):
            words[v >> shift] = v + size
        words[last >> shift] = 0
        self._bitmap.markspan(start, size, n, leftover=size * n < length)
        self.nfree += n
        self.nonempty.insert(span, self._console)
        return True
