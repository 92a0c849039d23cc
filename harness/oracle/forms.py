"""What the subject comes to by the size of its pointers. All in bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.limits import Range

MIB = 1 << 20
TABLES = 256 << 10  # of spans and caches, anywhere; half of them before the heap
FOOTPRINT = 14 << 20  # a Python 3.11 with ctypes, before it reserves: 12.6 to 13.8 MiB (measured)
DATA = 5 << 20  # the same, private and writable: 4.8 MiB (measured)
BEHIND_IMAGE = Range(0x2500000, 0x8000000)  # of Go's program; of a Python and its heap


@dataclass(frozen=True, kw_only=True)
class Process:
    """What must be known of the subject's process before it reserves.

    `size` is its address space, `data` what of it is private and writable, both known but for
    `unsure`. It will ask for its low arena somewhere from `low.start` to `low.end` (behind its
    image and heap, whose end is drawn by lot).
    """

    size: int = FOOTPRINT
    data: int = DATA
    unsure: int = 512 << 10
    low: Range = BEHIND_IMAGE


ALLOCATOR = Process()
# on i386: 12.5 and 2.9 MiB; its heap begins within 32 MiB behind the image (measured)
ALLOCATOR_386 = Process(size=13 * MIB, data=3 * MIB, low=Range(0x8500000, 0x10000000))

# On other machines the heap begins within a GiB behind the image (arch_randomize_brk). arm64: 13.1
# and 4.7 MiB; riscv64, whose Python is 3.14: 14.8 and 6.8 MiB; s390x: 13.3 and 4.9 MiB; ppc64le with
# pages of 64 KiB: 17.2 and 5.6 MiB; mips64, whose programs lie above 4 GiB: 14.3 and 5.0 MiB; 32-bit
# ARM: 8.5 and 2.6 MiB, its heap within 32 MiB behind the image (measured).
_FAR = Range(0x2500000, 0x46000000)
_ELSEWHERE = {
    "aarch64": Process(low=_FAR),
    "riscv64": Process(size=15 * MIB, data=7 * MIB, low=_FAR),
    "s390x": Process(low=_FAR),
    "arm": Process(size=9 * MIB, data=3 * MIB, low=Range(0x4500000, 0x10000000)),
    "ppc64le": Process(size=17 * MIB, data=6 * MIB, low=Range(0x12500000, 0x56000000)),
}


@dataclass(frozen=True)
class Form:
    """The runtime with pointers of one size, and what the default workload maps in it, to the byte.

    `part`: of heap, that a byte of bitmap covers. `image`: text, data and bss of the program of
    2012, which memlimit takes off. `process` is the one that it runs in.
    """

    part: int
    image: int
    process: Process

    @property
    def low_length(self) -> int:
        """The low reservation: 512 MiB of arena, and bitmap for 2 GiB."""
        return (512 << 20) + (2 << 30) // self.part

    @property
    def pieces(self) -> Sequence[tuple[int, int]]:
        """The pieces in which the arena grows: where each begins in it, and its length."""
        return (0, MIB), (MIB, MIB), (2 * MIB, MIB), (3 * MIB, 3 * MIB)

    @property
    def arena(self) -> int:
        """How much of the arena is mapped in the end."""
        return sum(length for _, length in self.pieces)

    @property
    def heap(self) -> int:
        """All that is mapped in the end: tables, arena and bitmap."""
        return TABLES + self.arena + self.arena // self.part

    @property
    def first_heap(self) -> int:
        """What mallocinit maps: the tables, heap and bitmap."""
        return TABLES + MIB + MIB // self.part

    @property
    def first_bitmap(self) -> int:
        """What is mapped last of the first piece of heap: each has its bitmap behind it."""
        return MIB // self.part

    @property
    def last_bitmap(self) -> int:
        """What is mapped last of all."""
        return 3 * MIB // self.part


FORMS: Mapping[int, Form] = {
    8: Form(16, 33_828_456, ALLOCATOR),
    4: Form(8, 4_410_888, ALLOCATOR_386),
}
"""By bytes of a pointer."""


def process_of(facts: Facts) -> Process:
    """Return what the allocator's process is like on a machine, in the Python of its root."""
    return _ELSEWHERE.get(facts.program_machine, FORMS[facts.pointer_size].process)
