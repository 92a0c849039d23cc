"""Size classes (Go: msize.c), computed as `InitSizes` does, and constants (malloc.h).

All of it is the same on all machines; what the size of a pointer decides is in `width`.
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

    `of` maps a size in bytes to its class and remembers: `of[24] == 3`.
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
    """`SizeToClass`: sizes of 0 to 32768 bytes to classes, worked out once each.

    A size above throws `SizeToClass - invalid size`, as the runtime does.
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
    """Choose the classes: (bytes, pages of a span) of each. Go: `InitSizes`, its first half.

    A candidate that fits as often into as many pages as the class before it takes that class's
    place, so that no two classes waste each other's room.
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
        while span % size > span // 8:  # at most an eighth of a span is lost at its end
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
