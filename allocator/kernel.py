"""What the allocator asks of a kernel: four calls and a view of memory. No code runs here.

`realkernel.RealKernel` asks the kernel underneath, `modelkernel.ModelKernel` an address space held
in memory, `trace.Traced` wraps either; the allocator cannot tell them apart.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .width import Width

    class Words(Protocol):
        """All of memory as words in the machine's order: `words[address >> width.shift]`."""

        def __getitem__(self, index: int, /) -> int: ...
        def __setitem__(self, index: int, value: int, /) -> None: ...

    class Kernel(Protocol):
        """The system calls of the runtime, raw: an error is a negative errno."""

        name: str
        width: Width
        page_size: int
        words: Words

        def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
            """Map anonymous memory (fd -1, offset 0): its address, or a negative errno."""

        def munmap(self, addr: int, length: int) -> int:
            """Unmap: 0, or a negative errno."""

        def mincore(self, addr: int, length: int) -> int:
            """Ask whether all is mapped: 0, or a negative errno. The vector is lost."""

        def getrlimit(self) -> int:
            """Ask for the soft RLIMIT_AS in bytes: that, all ones for none, or a negative errno."""

        def words_from(self, address: int) -> Words:
            """The words from an address on: short indices are faster ones."""

        def clear(self, addr: int, length: int) -> None:
            """Fill `length` bytes at `addr` with zero: memory, not a call."""


PROT_NONE = 0
PROT_RWX = 7
PROT_RW = 3
MAP_ANON = 0x22  # MAP_ANON | MAP_PRIVATE: the runtime never maps otherwise
MAP_FIXED = 0x10

EPERM = 1
ENOMEM = 12
EACCES = 13
EINVAL = 22
