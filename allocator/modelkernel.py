"""A model of the Linux kernel in memory: mmap, munmap, mincore and RLIMIT_AS.

It knows no guard gap below a stack, no limit on the number of mappings, no RLIMIT_DATA and no
overcommit; `AddressSpace.failures` can stand in for them.
"""

from bisect import bisect_right
from dataclasses import dataclass

from .kernel import EINVAL, ENOMEM, MAP_FIXED, PROT_RW
from .width import WIDTHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .kernel import Words

PAGE = 4096  # of x86-64; arm64 and others have kernels with pages of 16 and 64 KiB
LARGEST_PAGE = 64 << 10
BLOCK_SHIFT = 12  # memory is created 4 KiB at a time, for every size of a page
MIN_ADDRESS = 65536  # vm.mmap_min_addr
TOP_GAP = 128 << 20  # between the top of the address space and the first mapping: stack, vdso
BOTTOM_UP_BASE = 0x40000000  # where User-Mode Linux begins, and i386, a third of its way up


class Fault(Exception):
    """An access to memory that does not permit it: a segmentation fault in the model."""


@dataclass(frozen=True, kw_only=True)
class AddressSpace:
    """The properties of a model kernel. Addresses and sizes in bytes.

    task_size: end of the address space, None for that of an ordinary Linux.
    pointer_size: 8 or 4.
    page_size: a power of two from 4 KiB to 64 KiB.
    top_down: a mapping without a hint is placed downwards from `mmap_base`, else upwards.
    mmap_base: None for a place below the top, or 0x40000000 if not `top_down`.
    hints_honoured: whether the kernel places a mapping at a hint that is free.
    occupied: ranges (from, to) that are mapped from the start, as an image and libraries are. They
        count for RLIMIT_AS.
    rlimit_as: soft RLIMIT_AS, None if unlimited.
    failures: (call, n, errno): the n-th call of that name, counted from 1, fails.
    """

    task_size: int | None = None
    pointer_size: int = 8
    page_size: int = PAGE
    top_down: bool = True
    mmap_base: int | None = None
    hints_honoured: bool = True
    occupied: "Sequence[tuple[int, int]]" = ()
    rlimit_as: int | None = None
    failures: "Sequence[tuple[str, int, int]]" = ()


ORDINARY = AddressSpace()


class ModelKernel:
    """One address space. It is a `kernel.Kernel`. Raises ValueError for an impossible space."""

    name = "model"

    def __init__(self, space: AddressSpace = ORDINARY) -> None:
        pointer_size = space.pointer_size
        if pointer_size not in WIDTHS:
            raise ValueError(f"pointers have 4 or 8 bytes, not {pointer_size}")
        self.width = width = WIDTHS[pointer_size]
        self.page_size = page = space.page_size
        if page & page - 1 or not PAGE <= page <= LARGEST_PAGE:
            raise ValueError(
                f"a page of {page} bytes is not possible: use a power of two from 4K to 64K"
            )
        task_size = self._floor(width.task_size) if space.task_size is None else space.task_size
        if task_size < 2 * MIN_ADDRESS or task_size % page:
            raise ValueError(
                f"a task size of {task_size:#x} is not a number of pages above 128 KiB; a page has "
                f"{page} bytes"
            )
        if task_size > width.mask + 1:
            raise ValueError(
                f"a task size of {task_size:#x} is more than pointers of {pointer_size} bytes reach"
            )
        self.task_size = task_size
        self.top_down = space.top_down
        mmap_base = space.mmap_base
        if mmap_base is None:
            below_top = max(task_size - TOP_GAP, task_size // 2)
            mmap_base = below_top if space.top_down else BOTTOM_UP_BASE
        self.mmap_base = self._floor(min(mmap_base, task_size))
        self.hints_honoured = space.hints_honoured
        self.rlimit_as = width.mask if space.rlimit_as is None else space.rlimit_as
        self._failures = {(call, n): errno for call, n, errno in space.failures}
        self._counts: dict[str, int] = {}
        # mapped ranges, sorted and disjoint: starts, ends, protections
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._prots: list[int] = []
        self.total = 0
        """Bytes mapped, which RLIMIT_AS limits."""
        self._memory = Memory(self._writable, width.shift)
        self.words: Words = self._memory
        for start, end in space.occupied:
            if start % page or end % page or not 0 <= start < end <= task_size:
                raise ValueError(f"the range {start:#x}-{end:#x} is not in the address space")
            self._replace(start, end, 0)

    def maps(self) -> list[tuple[int, int, int]]:
        """The mapped ranges as (from, to, protection), in order."""
        return list(zip(self._starts, self._ends, self._prots, strict=True))

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        """Map anonymous private memory."""
        addr &= self.width.mask  # the kernel sees unsigned words
        errno = self._failure("mmap")
        if errno:
            return -errno
        if length == 0:
            return -EINVAL
        length = self._ceiling(length)
        if length > self.task_size:
            return -ENOMEM
        if flags & MAP_FIXED:
            if addr > self.task_size - length:
                return -ENOMEM
            if addr % self.page_size:
                return -EINVAL
        else:
            addr = self._place(addr, length)
            if addr < 0:
                return addr
        total = self.total + length - self._mapped(addr, addr + length)
        if total > self._floor(self.rlimit_as):
            return -ENOMEM
        self._replace(addr, addr + length, prot)
        return addr

    def munmap(self, addr: int, length: int) -> int:
        """Unmap. A range without mappings is not an error."""
        addr &= self.width.mask
        errno = self._failure("munmap")
        if errno:
            return -errno
        if addr % self.page_size or length == 0:
            return -EINVAL
        if addr > self.task_size or length > self.task_size - addr:
            return -EINVAL
        self._replace(addr, addr + self._ceiling(length), None)
        return 0

    def mincore(self, addr: int, length: int) -> int:
        """Return 0 if the whole range is mapped."""
        addr &= self.width.mask
        errno = self._failure("mincore")
        if errno:
            return -errno
        if addr % self.page_size:
            return -EINVAL
        length = self._ceiling(length)
        if addr + length > self.task_size:
            return -ENOMEM
        return 0 if self._mapped(addr, addr + length) == length else -ENOMEM

    def getrlimit(self) -> int:
        """Return RLIMIT_AS."""
        errno = self._failure("getrlimit")
        return -errno if errno else self.rlimit_as

    def words_from(self, address: int) -> "Words":
        """Return memory as words, starting at this address."""
        return WordsFrom(self.words, address >> self.width.shift)

    def clear(self, addr: int, length: int) -> None:
        """Zero bytes. Raises Fault if they are not writable."""
        self._memory.clear(addr, length)

    def _floor(self, number: int) -> int:
        """Round down to whole pages."""
        return number & ~(self.page_size - 1)

    def _ceiling(self, number: int) -> int:
        """Round up to whole pages."""
        return self._floor(number + self.page_size - 1)

    def _failure(self, call: str) -> int:
        self._counts[call] = self._counts.get(call, 0) + 1
        return self._failures.get((call, self._counts[call]), 0)

    def _place(self, hint: int, length: int) -> int:
        """Return where a mapping without MAP_FIXED goes, as Linux's get_unmapped_area.

        A hint is rounded down to a page (mm/mmap.c: round_hint_to_min).
        """
        hint = self._floor(hint)
        if hint and self.hints_honoured:
            hint = max(hint, MIN_ADDRESS)
            if hint <= self.task_size - length and not self._mapped(hint, hint + length):
                return hint
        if self.top_down:
            addr = self._highest(length)
            if addr >= 0:
                return addr
            return self._lowest(length, max(self._floor(self.task_size // 3), MIN_ADDRESS))
        return self._lowest(length, self.mmap_base)

    def _highest(self, length: int) -> int:
        ceiling = self.mmap_base
        for at in range(len(self._starts) - 1, -1, -1):
            if self._ends[at] <= ceiling - length:
                break
            ceiling = min(ceiling, self._starts[at])
        addr = ceiling - length
        return addr if addr >= MIN_ADDRESS else -ENOMEM

    def _lowest(self, length: int, floor: int) -> int:
        for start, end in zip(self._starts, self._ends, strict=True):
            if end <= floor:
                continue
            if start >= floor + length:
                break
            floor = end
        return floor if floor + length <= self.task_size else -ENOMEM

    def _mapped(self, start: int, end: int) -> int:
        """Return how many bytes of a range are mapped."""
        total = 0
        at = max(bisect_right(self._starts, start) - 1, 0)
        while at < len(self._starts) and self._starts[at] < end:
            total += max(0, min(end, self._ends[at]) - max(start, self._starts[at]))
            at += 1
        return total

    def _replace(self, start: int, end: int, prot: int | None) -> None:
        """Replace everything between start and end by one mapping, or by a hole if prot is None."""
        starts, ends, prots = self._starts, self._ends, self._prots
        self.total -= self._mapped(start, end)
        self._memory.forget(start, end)
        low = bisect_right(starts, start)
        if low and ends[low - 1] > start:
            low -= 1
        high = low
        pieces: list[tuple[int, int, int]] = []
        while high < len(starts) and starts[high] < end:
            if starts[high] < start:
                pieces.append((starts[high], start, prots[high]))
            if ends[high] > end:
                pieces.append((end, ends[high], prots[high]))
            high += 1
        if prot is not None:
            pieces.append((start, end, prot))
            pieces.sort()
            self.total += end - start
            if len(pieces) == 1:  # join equal neighbours, so that a growing heap stays one range
                if low and ends[low - 1] == start and prots[low - 1] == prot:
                    low -= 1
                    pieces = [(starts[low], end, prot)]
                if high < len(starts) and starts[high] == end and prots[high] == prot:
                    pieces = [(pieces[0][0], ends[high], prot)]
                    high += 1
        starts[low:high] = [piece[0] for piece in pieces]
        ends[low:high] = [piece[1] for piece in pieces]
        prots[low:high] = [piece[2] for piece in pieces]

    def _writable(self, addr: int) -> tuple[int, int]:
        """Return the readable and writable range around an address, (0, 0) without one."""
        at = bisect_right(self._starts, addr) - 1
        if at >= 0 and addr < self._ends[at] and self._prots[at] & PROT_RW == PROT_RW:
            return self._starts[at], self._ends[at]
        return 0, 0


class WordsFrom:
    """The words of memory, counted from one of them."""

    __slots__ = ("_begin", "_words")

    def __init__(self, words: "Words", begin: int) -> None:
        self._words = words
        self._begin = begin

    def __getitem__(self, index: int) -> int:
        return self._words[self._begin + index]

    def __setitem__(self, index: int, value: int) -> None:
        self._words[self._begin + index] = value


class Memory:
    """Sparse contents: blocks of words, created by the first write. Raises Fault for memory that
    is not writable.

    shift: the word at an address has the number `address >> shift`.
    """

    __slots__ = ("_block", "_blocks", "_high", "_last", "_low", "_mask", "_shift", "_writable")

    def __init__(self, writable: "Callable[[int], tuple[int, int]]", shift: int) -> None:
        self._writable = writable
        self._shift = shift
        self._block = BLOCK_SHIFT - shift  # a word is in the block `number of word >> _block`
        self._last = (1 << self._block) - 1  # number of the last word of a block
        self._mask = (1 << (8 << shift)) - 1
        self._blocks: dict[int, list[int]] = {}
        self._low = self._high = 0  # the range of words of the last access

    def __getitem__(self, index: int) -> int:
        if not self._low <= index < self._high:
            self._find(index)
        block = self._blocks.get(index >> self._block)
        return block[index & self._last] if block is not None else 0

    def __setitem__(self, index: int, value: int) -> None:
        if not self._low <= index < self._high:
            self._find(index)
        block = self._blocks.get(index >> self._block)
        if block is None:
            block = self._blocks[index >> self._block] = [0] * (self._last + 1)
        assert 0 <= value <= self._mask, "a word has no more bits"
        block[index & self._last] = value

    def _find(self, index: int) -> None:
        low, high = self._writable(index << self._shift)
        if low == high:
            raise Fault(f"no memory for use at {index << self._shift:#x}")
        self._low, self._high = low >> self._shift, high >> self._shift

    def clear(self, addr: int, length: int) -> None:
        """Zero the whole words of a range of bytes."""
        last = self._last
        index, end = addr >> self._shift, addr + length >> self._shift
        while index < end:
            if not self._low <= index < self._high:
                self._find(index)
            upto = min(end, (index | last) + 1)
            block = self._blocks.get(index >> self._block)
            if block is not None:
                block[index & last : (index & last) + upto - index] = [0] * (upto - index)
            index = upto

    def forget(self, start: int, end: int) -> None:
        """Drop the contents of ranges whose mapping changes."""
        self._low = self._high = 0
        first, last = start >> BLOCK_SHIFT, end >> BLOCK_SHIFT
        if last - first > len(self._blocks):
            for block in [block for block in self._blocks if first <= block < last]:
                del self._blocks[block]
        else:
            for block in range(first, last):
                self._blocks.pop(block, None)
