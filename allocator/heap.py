"""The page heap (Go: mheap.c): allocates spans of pages from the arena, joins freed spans."""

from .death import Throw
from .fixalloc import FixAlloc
from .sizes import HEAP_ALLOC_CHUNK, MAX_MHEAP_LIST, PAGE_SHIFT
from .span import SPAN_DEAD, SPAN_FREE, SPAN_IN_USE, MSpan, SpanList, SpanTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .arena import Arena
    from .death import Console
    from .kernel import Kernel
    from .stats import MStats


class MHeap:
    """All pages of one runtime. Sizes are in pages of 4 KiB unless stated. Go: `MHeap`.

    free_lists: free spans by exact length, 0 to 255 pages. large: longer free spans. map: page
    number to span. The first word of a free span is nonzero if the span needs zeroing before use.
    """

    __slots__ = (
        "_console", "_kernel", "_mask", "_stats", "_to_word", "_words", "arena", "free_lists",
        "large", "map", "spanalloc",
    )  # fmt: skip

    def __init__(
        self,
        kernel: "Kernel",
        arena: "Arena",
        alloc: "Callable[[int], int]",
        stats: "MStats",
        console: "Console",
    ) -> None:
        self._kernel = kernel
        self._words = kernel.words
        self._mask = kernel.width.mask
        self._to_word = (
            PAGE_SHIFT - kernel.width.shift
        )  # the first word of a page is `page << _to_word`
        self._stats = stats
        self._console = console
        self.arena = arena
        self.spanalloc = FixAlloc(kernel.width.mspan, alloc, MSpan)
        self.free_lists = [SpanList() for _ in range(MAX_MHEAP_LIST)]
        self.large = SpanList()
        self.map = SpanTable()

    def alloc(self, npage: int, sizeclass: int, acct: bool) -> MSpan | None:
        """`runtime·MHeap_Alloc`: a span of npage pages. `acct` counts it as one object."""
        span = self._alloc_locked(npage, sizeclass)
        if span is not None:
            stats = self._stats
            stats.heap_inuse += npage << PAGE_SHIFT
            if acct:
                stats.heap_objects += 1
                stats.heap_alloc += npage << PAGE_SHIFT
        return span

    def _alloc_locked(self, npage: int, sizeclass: int) -> MSpan | None:
        """`MHeap_AllocLocked`: the first span of the first list that fits, else the best large span.

        After the heap has grown, only the large spans are searched, as in Go: growth by less than
        256 contiguous pages has no effect but is counted.
        """
        span = self._first_fit(npage) or self._best_fit(npage)
        if span is None:
            if not self._grow(npage):
                return None
            span = self._best_fit(npage)
            if span is None:
                return None
        if span.state != SPAN_FREE:
            raise Throw("MHeap_AllocLocked - MSpan not free")
        if span.npages < npage:
            raise Throw("MHeap_AllocLocked - bad npages")
        SpanList.remove(span)
        span.state = SPAN_IN_USE
        self._stats.heap_idle -= span.npages << PAGE_SHIFT
        words = self._words
        first_word = span.start << self._to_word
        if span.npages > npage:
            tail = self._new_span(span.start + npage, span.npages - npage)
            span.npages = npage
            self.map.set(tail.start - 1, span)
            self.map.set(tail.start, tail)
            self.map.set(tail.start + tail.npages - 1, tail)
            words[tail.start << self._to_word] = words[first_word]
            self._free_locked(tail)
        if words[first_word] != 0:
            self._kernel.clear(span.start << PAGE_SHIFT, npage << PAGE_SHIFT)
        span.sizeclass = sizeclass
        self.map.set(span.start, span, npage)
        return span

    def _first_fit(self, npage: int) -> MSpan | None:
        for spans in self.free_lists[npage:]:
            if spans:
                return spans.first
        return None

    def _best_fit(self, npage: int) -> MSpan | None:
        """`BestFit`: the shortest large span that is long enough; of several the lowest."""
        best = None
        for span in self.large.values():
            if span.npages >= npage and (
                best is None or (span.npages, span.start) < (best.npages, best.start)
            ):
                best = span
        return best

    def _grow(self, npage: int) -> bool:
        """`MHeap_Grow`: add npage pages, at least a MiB, or the exact number if that fails."""
        need = npage + 15 & ~15
        exact = (
            need << PAGE_SHIFT & self._mask
        )  # the largest sizes wrap to 0, so that a MiB is requested
        ask = max(exact, HEAP_ALLOC_CHUNK)
        v = self.arena.sys_alloc(ask)
        if v == 0 and ask > exact:
            ask = exact
            v = self.arena.sys_alloc(ask)
        if v == 0:
            self._console.printf(
                f"runtime: out of memory: cannot allocate {ask}-byte block "
                f"({self._stats.heap_sys} in use)\n"
            )
            return False
        self._stats.heap_sys += ask
        span = self._new_span(v >> PAGE_SHIFT, ask >> PAGE_SHIFT)
        self.map.set(span.start, span)
        self.map.set(span.start + span.npages - 1, span)
        self._free_locked(span)  # free it as a used span, so that it joins its neighbours
        return True

    def free(self, span: MSpan, acct: bool) -> None:
        """`runtime·MHeap_Free`."""
        stats = self._stats
        stats.heap_inuse -= span.npages << PAGE_SHIFT
        if acct:
            stats.heap_alloc -= span.npages << PAGE_SHIFT
            stats.heap_objects -= 1
        self._free_locked(span)

    def _free_locked(self, span: MSpan) -> None:
        """`MHeap_FreeLocked`: join the free neighbours and insert the span into a list."""
        if span.state != SPAN_IN_USE or span.ref != 0:
            self._console.printf(
                f"MHeap_FreeLocked - span {span.address:#x} ptr {span.start << PAGE_SHIFT:#x} "
                f"state {span.state} ref {span.ref}\n"
            )
            raise Throw("MHeap_FreeLocked - invalid free")
        self._stats.heap_idle += span.npages << PAGE_SHIFT
        span.state = SPAN_FREE
        SpanList.remove(span)
        words = self._words
        mark = span.start << self._to_word
        before = self.map.get(span.start - 1)
        if before is not None and before.state != SPAN_IN_USE:
            # As in Go, only the new first word gets the mark. The second join below still reads and
            # writes the old first word.
            words[before.start << self._to_word] |= words[mark]
            span.start = before.start
            span.npages += before.npages
            self.map.set(span.start, span)
            self._absorb(before)
        after = self.map.get(span.start + span.npages)
        if after is not None and after.state != SPAN_IN_USE:
            words[mark] |= words[after.start << self._to_word]
            span.npages += after.npages
            self.map.set(span.start + span.npages - 1, span)
            self._absorb(after)
        lists = self.free_lists
        target = lists[span.npages] if span.npages < len(lists) else self.large
        target.insert(span, self._console)

    def _new_span(self, start: int, npages: int) -> MSpan:
        span = self.spanalloc.alloc().init(start, npages)
        self._count_spans()
        return span

    def _absorb(self, span: MSpan) -> None:
        SpanList.remove(span)
        span.state = SPAN_DEAD
        self.spanalloc.free(span)
        self._count_spans()

    def _count_spans(self) -> None:
        self._stats.mspan_inuse = self.spanalloc.inuse
        self._stats.mspan_sys = self.spanalloc.sys

    def lookup(self, v: int) -> MSpan | None:
        """`runtime·MHeap_Lookup`: the table's entry of v's page, unchecked."""
        return self.map.get(v >> PAGE_SHIFT)

    def lookup_maybe(self, v: int) -> MSpan | None:
        """`runtime·MHeap_LookupMaybe`: the span in use that contains v, for any address v."""
        page = v >> PAGE_SHIFT
        span = self.map.get(page)
        if span is None or not span.start <= page < span.start + span.npages:
            return None
        return span if span.state == SPAN_IN_USE else None
