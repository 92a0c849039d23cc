"""Spans of pages and the lists they stand in (Go: the MSpan functions of mheap.c)."""

from .death import Throw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .death import Console

SPAN_IN_USE = 0
SPAN_FREE = 1
SPAN_LIST_HEAD = 2  # for the record: a list's head is no span here
SPAN_DEAD = 3


class MSpan:
    """A run of `npages` pages from page number `start` (address >> 12). Go: `MSpan`.

    address: where its record lies. freelist: address of the first free block of a small class, each
    block's first word holding the next one's, 0 at the end. ref: blocks handed out. limit: end of
    the last block. list: the list it stands in.
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
        self.limit = 0  # alone left as it was by `init`, as in Go
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
    """Spans by record address, the one inserted last at the front. Go: a ring with a head.

    A dict keeps the order, finds a span at once, and is false when empty.
    """

    __slots__ = ()

    @property
    def first(self) -> MSpan:
        """The span at the front; there must be one."""
        return next(reversed(self.values()))

    def insert(self, span: MSpan, console: "Console") -> None:
        """`runtime·MSpanList_Insert`: at the front; throws if the span stands in a list."""
        if span.list is not None:
            after, before = span.list.neighbours(span)
            console.printf(f"failed MSpanList_Insert {span.address:#x} {after:#x} {before:#x}\n")
            raise Throw("MSpanList_Insert")
        self[span.address] = span
        span.list = self

    @staticmethod
    def remove(span: MSpan) -> None:
        """`runtime·MSpanList_Remove`: out of the list it stands in, if it stands in one."""
        if span.list is not None:
            del span.list[span.address]
            span.list = None

    def neighbours(self, span: MSpan) -> tuple[int, int]:
        """Record addresses of the span after and before this one, 0 for the list's head."""
        addresses = [0, *reversed(self), 0]
        at = addresses.index(span.address)
        return addresses[at + 1], addresses[at - 1]


class SpanTable:
    """Which span each page belongs to (Go: `MHeap.map`), in pieces of 256 pages, made when needed.

    Only the first and last page of a free span tell the truth; the others keep what stood there.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: dict[int, list[MSpan | None]] = {}

    def get(self, page: int) -> MSpan | None:
        """The entry of a page number, None where nothing was ever written."""
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
