"""The kernel underneath, through the C library of this process."""

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .kernel import Words

PAGE_SIZE_NAME = 30  # _SC_PAGESIZE of Linux's C libraries
RLIMIT_AS = 9
LOW_LIMIT = 1 << 32
LOW_LENGTH = 640 << 20
BRK_SLACK = 64 << 20  # for the C library's own heap, which grows there


class RealKernel:
    """System calls and memory of this very process. It is a `kernel.Kernel`.

    A wrong address is a segmentation fault here, as it is in the runtime.
    """

    name = "real"
    __slots__ = ("_libc", "_residency", "_words", "page_size", "words")

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        size, word = ctypes.c_size_t, ctypes.c_ssize_t
        libc.mmap.argtypes = (size, size, ctypes.c_int, ctypes.c_int, ctypes.c_int, word)
        libc.mmap.restype = word
        libc.munmap.argtypes = (size, size)
        libc.mincore.argtypes = (size, size, ctypes.c_char_p)
        self._libc = libc
        self.page_size: int = libc.sysconf(PAGE_SIZE_NAME)
        self._residency = ctypes.create_string_buffer(4096)
        # All of memory as one array of words; an index is an address divided by 8. A memoryview
        # writes format L, an unsigned long, in two thirds of the time that it takes for Q.
        everything = (ctypes.c_uint64 * (1 << 53)).from_address(0)
        self._words = memoryview(everything).cast("B").cast("L")
        self.words: Words = self._words

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        """Map anonymous memory."""
        result: int = self._libc.mmap(addr, length, prot, flags, -1, 0)
        return -ctypes.get_errno() if result == -1 else result

    def munmap(self, addr: int, length: int) -> int:
        """Unmap."""
        return -ctypes.get_errno() if self._libc.munmap(addr, length) else 0

    def mincore(self, addr: int, length: int) -> int:
        """Ask of 4096 pages at most, which is what the runtime does."""
        return -ctypes.get_errno() if self._libc.mincore(addr, length, self._residency) else 0

    def getrlimit(self) -> int:
        """Ask for RLIMIT_AS."""
        limit = (ctypes.c_uint64 * 2)()
        return -ctypes.get_errno() if self._libc.getrlimit(RLIMIT_AS, limit) else limit[0]

    def words_from(self, address: int) -> "Words":
        """Words."""
        return self._words[address >> 3 :]

    def clear(self, addr: int, length: int) -> None:
        """Zero bytes."""
        ctypes.memset(addr, 0, length)

    def end(self, otherwise: int) -> int:
        """Where the low arena may begin behind this process's image and brk, in bytes.

        A position-independent Python has its brk far up; then the low addresses are free, and
        `otherwise` serves.
        """
        self._libc.sbrk.restype = ctypes.c_ssize_t
        self._libc.sbrk.argtypes = (ctypes.c_ssize_t,)
        brk: int = self._libc.sbrk(0)
        if 0 < brk < LOW_LIMIT - LOW_LENGTH - BRK_SLACK:
            return brk + BRK_SLACK
        return otherwise
