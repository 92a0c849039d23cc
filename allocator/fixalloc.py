"""Fixed-size records for the runtime itself (Go: mfixalloc.c)."""

from .death import Throw
from .sizes import FIX_ALLOC_CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, TypeVar

    T = TypeVar("T")
else:
    T = object

    class Generic:
        """Replace the class of `typing`, which only a type checker needs."""

        def __class_getitem__(cls, _: object) -> type:
            return cls


class FixAlloc(Generic[T]):
    """Records of `size` bytes in chunks of 128 KiB, reused last in, first out, never zeroed.

    A chunk is mapped memory and each record has an address in it. The contents of a record are kept
    in a Python object, which `new(address)` makes on the first use of an address.
    """

    __slots__ = ("_alloc", "_chunk", "_list", "_nchunk", "_new", "inuse", "size", "sys")

    def __init__(self, size: int, alloc: "Callable[[int], int]", new: "Callable[[int], T]") -> None:
        self.size = size
        self.inuse = 0
        self.sys = 0
        self._alloc = alloc
        self._new = new
        self._list: list[T] = []
        self._chunk = 0
        self._nchunk = 0

    def alloc(self) -> "T":
        """Return a record. Throws `out of memory (FixAlloc)`, after `sys` has grown."""
        if self._list:
            self.inuse += self.size
            return self._list.pop()
        if self._nchunk < self.size:  # the rest of the old chunk is lost
            self.sys += FIX_ALLOC_CHUNK
            self._chunk = self._alloc(FIX_ALLOC_CHUNK)
            if self._chunk == 0:
                raise Throw("out of memory (FixAlloc)")
            self._nchunk = FIX_ALLOC_CHUNK
        record = self._new(self._chunk)
        self._chunk += self.size
        self._nchunk -= self.size
        self.inuse += self.size
        return record

    def free(self, record: "T") -> None:
        """Free a record."""
        self.inuse -= self.size
        self._list.append(record)
