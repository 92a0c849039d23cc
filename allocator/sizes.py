"""Size classes (Go: msize.c), computed as `InitSizes` does, and constants (malloc.h).

They are the same on all machines. `width` has the constants that depend on the size of a pointer.
"""

from .death import Throw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = PAGE_SIZE - 1
MAX_SMALL_SIZE = 32 << 10
NUM_SIZE_CLASSES = 61  # class 0 stands for "not small"
FIRST_ALIGN = 8
FIX_ALLOC_CHUNK = 128 << 10
MAX_MCACHE_LIST_LEN = 256
MAX_MCACHE_SIZE = 2 << 20
MAX_MHEAP_LIST = 1 << (20 - PAGE_SHIFT)
HEAP_ALLOC_CHUNK = 1 << 20
MAX_ARENA_32 = 2 << 30
BITMAP_CHUNK = 8192
BUCK_HASH_SIZE = 179999  # pointers
GC_WORK_CHUNK = 1 << 20
FIXED_STACK = 4096


class SizeClasses:
    """The tables of `InitSizes`, by class: bytes, pages of a span, blocks moved at once.

    `of` maps a size in bytes to its class: `of[24] == 3`.
    """

    __slots__ = ("allocnpages", "of", "size", "transfercount")

    def __init__(self, printf: "Callable[[str], object]" = str) -> None:
        self.size, self.allocnpages = init_sizes()
        if len(self.size) != NUM_SIZE_CLASSES:
            printf(f"sizeclass={len(self.size)} NumSizeClasses={NUM_SIZE_CLASSES}\n")
            raise Throw("InitSizes - bad NumSizeClasses")
        self.transfercount = [0] + [min(max(65536 // size, 2), 32) for size in self.size[1:]]
        self.of = SizeToClass(self.size)


class SizeToClass(dict[int, int]):
    """`SizeToClass`: maps sizes of 0 to 32768 bytes to classes, each computed on first use.

    Any other size throws `SizeToClass - invalid size`, as in Go.
    """

    __slots__ = ("_by_8", "_by_128")

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self._by_8: list[int] = []
        self._by_128: list[int] = []
        for sizeclass in range(1, len(sizes)):
            size = sizes[sizeclass]
            self._by_8 += [sizeclass] * (min(size, 1016) // 8 + 1 - len(self._by_8))
            self._by_128 += [sizeclass] * ((size - 1024) // 128 + 1 - len(self._by_128))

    def __missing__(self, size: int) -> int:
        if not 0 <= size <= MAX_SMALL_SIZE:
            raise Throw("SizeToClass - invalid size")
        if size > 1016:
            sizeclass = self._by_128[(size - 1024 + 127) >> 7]
        else:
            sizeclass = self._by_8[(max(size, 1) + 7) >> 3]
        self[size] = sizeclass
        return sizeclass


def init_sizes() -> tuple[list[int], list[int]]:
    """Return (bytes, pages of a span) of each class. Go: the first half of `InitSizes`.

    A candidate replaces the class before it if the same number of blocks fits into the same number
    of pages.
    """
    sizes, npages = [0], [0]
    size = align = FIRST_ALIGN
    while size <= MAX_SMALL_SIZE:
        if size & (size - 1) == 0:
            if size >= 2048:
                align = 256
            elif size >= 128:
                align = size // 8
            elif size >= 16:
                align = 16
        if align & (align - 1):
            raise Throw("InitSizes - bug")
        span = PAGE_SIZE
        while span % size > span // 8:  # at most an eighth of a span is unused at its end
            span += PAGE_SIZE
        if (
            len(sizes) > 1
            and span >> PAGE_SHIFT == npages[-1]
            and span // size == span // sizes[-1]
        ):
            sizes[-1] = size
        else:
            sizes.append(size)
            npages.append(span >> PAGE_SHIFT)
        size += align
    return sizes, npages
