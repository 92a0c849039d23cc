"""The interface between the allocator and a kernel: four calls and a view of memory.

`realkernel.RealKernel` is the running kernel, `modelkernel.ModelKernel` is a model in memory,
`trace.Traced` wraps either of them.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .width import Width

    class Words(Protocol):
        """All of memory as words in native byte order: `words[address >> width.shift]`."""

        def __getitem__(self, index: int, /) -> int: ...
        def __setitem__(self, index: int, value: int, /) -> None: ...

    class Kernel(Protocol):
        """The raw system calls of the runtime: an error is a negative errno."""

        name: str
        width: Width
        page_size: int
        words: Words

        def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
            """Map anonymous memory (fd -1, offset 0). Returns its address or a negative errno."""

        def munmap(self, addr: int, length: int) -> int:
            """Unmap. Returns 0 or a negative errno."""

        def mincore(self, addr: int, length: int) -> int:
            """Return 0 if the whole range is mapped, else a negative errno. The vector is discarded."""

        def getrlimit(self) -> int:
            """Return the soft RLIMIT_AS in bytes (all ones: unlimited) or a negative errno."""

        def words_from(self, address: int) -> Words:
            """Return memory as words, starting at an address. Small indices are faster."""

        def clear(self, addr: int, length: int) -> None:
            """Fill `length` bytes at `addr` with zero. This is not a system call."""


PROT_NONE = 0
PROT_RWX = 7
PROT_RW = 3
MAP_ANON = 0x22  # MAP_ANON | MAP_PRIVATE, which the runtime uses for every mapping
MAP_FIXED = 0x10

EPERM = 1
ENOMEM = 12
EACCES = 13
EINVAL = 22
