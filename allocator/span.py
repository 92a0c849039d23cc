"""Spans of pages, lists of spans, and the table of spans (Go: MSpan in mheap.c)."""

from .death import Throw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .death import Console

SPAN_IN_USE = 0
SPAN_FREE = 1
SPAN_LIST_HEAD = 2  # unused here: a list has no head span
SPAN_DEAD = 3


class MSpan:
    """A run of `npages` pages from page number `start` (address >> 12). Go: `MSpan`.

    address: address of its record. freelist: address of the first free block of a small class;
    the first word of each free block holds the address of the next one, 0 at the end. ref: number
    of allocated blocks. limit: end of the last block. list: the list that contains the span.
    """

    __slots__ = (
        "address",
        "freelist",
        "limit",
        "list",
        "npages",
        "ref",
        "sizeclass",
        "start",
        "state",
    )

    def __init__(self, address: int) -> None:
        self.address = address
        self.limit = 0  # `init` does not reset it, as in Go
        self.init(0, 0)

    def init(self, start: int, npages: int) -> "MSpan":
        """`runtime·MSpan_Init`."""
        self.start = start
        self.npages = npages
        self.freelist = self.ref = self.sizeclass = 0
        self.state = SPAN_IN_USE
        self.list: SpanList | None = None
        return self


class SpanList(dict[int, MSpan]):
    """Spans by the address of their record; the last one inserted is the first. Go: a ring.

    A dict keeps the order, finds a span in constant time, and is false if it is empty.
    """

    __slots__ = ()

    @property
    def first(self) -> MSpan:
        """The first span of a list that is not empty."""
        return next(reversed(self.values()))

    def insert(self, span: MSpan, console: "Console") -> None:
        """`runtime·MSpanList_Insert`: insert at the front. Throws if the span is in a list."""
        if span.list is not None:
            after, before = span.list.neighbours(span)
            console.printf(f"failed MSpanList_Insert {span.address:#x} {after:#x} {before:#x}\n")
            raise Throw("MSpanList_Insert")
        self[span.address] = span
        span.list = self

    @staticmethod
    def remove(span: MSpan) -> None:
        """`runtime·MSpanList_Remove`: remove the span from its list, if it is in one."""
        if span.list is not None:
            del span.list[span.address]
            span.list = None

    def neighbours(self, span: MSpan) -> tuple[int, int]:
        """Return the record addresses of the spans after and before this one, 0 for the head."""
        addresses = [0, *reversed(self), 0]
        at = addresses.index(span.address)
        return addresses[at + 1], addresses[at - 1]


class SpanTable:
    """The span of each page (Go: `MHeap.map`), in parts of 256 pages that are made when needed.

    Of a free span only the entries of the first and last page are valid.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: dict[int, list[MSpan | None]] = {}

    def get(self, page: int) -> MSpan | None:
        """Return the entry of a page number, None if it was never written."""
        piece = self._pieces.get(page >> 8)
        return piece[page & 255] if piece is not None else None

    def set(self, page: int, span: MSpan, n: int = 1) -> None:
        """Write the entries of n pages."""
        while n > 0:
            piece = self._pieces.get(page >> 8)
            if piece is None:
                piece = self._pieces[page >> 8] = [None] * 256
            at = page & 255
            count = min(n, 256 - at)
            piece[at : at + count] = [span] * count
            page += count
            n -= count
