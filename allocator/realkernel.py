"""The running kernel, called through the C library."""

from posix import uname

from .foreign import Char, Int, Size, UInt32, UInt64, addressof, function, get_errno, sizeof
from .width import WIDTHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import Array
    from typing import Any, Literal

    from .kernel import Words

PAGE_SIZE_NAME = 30  # _SC_PAGESIZE of Linux's C libraries
# asm/mman.h and asm/resource.h: mips has numbers of its own
_MIPS = uname().machine.startswith("mips")
RLIMIT_AS = 6 if _MIPS else 9
_ANONYMOUS_CHANGES = 0x20 ^ 0x800 if _MIPS else 0
LOW_LIMIT = 1 << 32
LOW_LENGTH = 768 << 20  # with 4-byte pointers; with 8-byte pointers it is 128 MiB less
BRK_SLACK = 64 << 20  # for the heap of the C library, which grows from its brk


class RealKernel:
    """System calls and memory of this process. It is a `kernel.Kernel`.

    An access to a wrong address is a segmentation fault, as in Go.
    """

    name = "real"
    __slots__ = (
        "_memset", "_mincore", "_mmap", "_munmap", "_residency", "page_size", "width", "words",
    )  # fmt: skip

    def __init__(self) -> None:
        self._mmap = function("mmap", Size, Size, Int, Int, Int, Size, result=Size)
        self._munmap = function("munmap", Size, Size)
        self._mincore = function("mincore", Size, Size, Size)
        self._memset = function("memset", Size, Int, Size, result=Size)
        self.page_size = function("sysconf", Int)(PAGE_SIZE_NAME)
        self._residency = (Char * 4096)()
        self.width = WIDTHS[sizeof(Size)]
        self.words: Words = self.words_from(0)

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        """Map anonymous memory."""
        result = self._mmap(addr, length, prot, flags ^ _ANONYMOUS_CHANGES, -1, 0)
        return -get_errno() if result == self.width.mask else result

    def munmap(self, addr: int, length: int) -> int:
        """Unmap memory."""
        return -get_errno() if self._munmap(addr, length) else 0

    def mincore(self, addr: int, length: int) -> int:
        """Query at most 4096 pages, as the runtime does."""
        residency = addressof(self._residency)
        return -get_errno() if self._mincore(addr, length, residency) else 0

    def getrlimit(self) -> int:
        """Return RLIMIT_AS."""
        limit = (Size * 2)()
        failed = function("getrlimit", Int, Size)(RLIMIT_AS, addressof(limit))
        return -get_errno() if failed else int(limit[0])

    def words_from(self, address: int) -> "Words":
        """Return memory as words, starting at this address."""
        if self.width.pointer == 4:
            return Halves(address)
        # writing format L (unsigned long) to a memoryview takes two thirds of the time of format Q
        return _words(UInt64 * (1 << 53), "L", address)

    def clear(self, addr: int, length: int) -> None:
        """Zero bytes."""
        self._memset(addr, 0, length)

    def end(self, otherwise: int) -> int:
        """Return the address after this process's image and brk where the low arena may begin.

        The brk of a position-independent Python is above 4 GiB. Then the low addresses are free
        and `otherwise` is returned.
        """
        brk = function("sbrk", Size, result=Size)(0)
        if 0 < brk < LOW_LIMIT - LOW_LENGTH - BRK_SLACK:
            return brk + BRK_SLACK
        return otherwise


class Halves:
    """The words of a 32-bit memory, starting at an address, in two halves: on such a machine no
    Python object can have 2 GiB.
    """

    __slots__ = ("_high", "_low")
    LENGTH = (1 << 29) - 1  # words

    def __init__(self, address: int) -> None:
        self._low = _words(UInt32 * self.LENGTH, "I", address)
        above = address + 4 * self.LENGTH & 0xFFFFFFFF
        self._high = _words(UInt32 * self.LENGTH, "I", above)

    def __getitem__(self, index: int) -> int:
        if index < self.LENGTH:
            return self._low[index]
        return self._high[index - self.LENGTH]

    def __setitem__(self, index: int, value: int) -> None:
        if index < self.LENGTH:
            self._low[index] = value
        else:
            self._high[index - self.LENGTH] = value


def _words(kind: "type[Array[Any]]", form: "Literal['I', 'L']", address: int) -> memoryview:
    return memoryview(kind.from_address(address)).cast("B").cast(form)
