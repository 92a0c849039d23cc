"""What the size of a pointer decides: the same runtime on amd64 and on 386."""

from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Width(Value):
    """One size of pointer, and all that follows from it.

    pointer: bytes of one, and of a word of memory.
    shift: the word at an address is number `address >> shift`.
    bits: heap words that a word of the bitmap describes, four bits each. As both have words of one
        size, a byte of bitmap also covers that many bytes of heap.
    group: the same as a shift: heap word i is described by the bitmap word `i >> group`.
    mask: the largest address, size and number in a word.
    mspan, mcache: bytes of the runtime's records (Go: MSpan, MCache).
    end, image: of the program whose traces are the reference: where it ends, and the bytes of its
        text, data and bss. Most of both is the span table: 2**22 pointers, or 2**20.
    task_size: bytes of an ordinary address space of Linux.
    """

    __slots__ = (
        "bits", "end", "group", "image", "mask", "mcache", "mspan", "pointer", "shift", "task_size",
    )  # fmt: skip
    pointer: int
    shift: int
    bits: int
    group: int
    mask: int
    mspan: int
    mcache: int
    end: int
    image: int
    task_size: int


WIDTHS: "Mapping[int, Width]" = {
    8: Width(
        pointer=8,
        shift=3,
        bits=16,
        group=4,
        mask=(1 << 64) - 1,
        mspan=72,
        mcache=2024,
        end=0x2443A68,
        image=0x2443A68 - 0x400C00,
        task_size=(1 << 47) - 4096,
    ),
    4: Width(
        pointer=4,
        shift=2,
        bits=8,
        group=3,
        mask=(1 << 32) - 1,
        mspan=40,
        mcache=1776,
        end=0x847DA08,
        image=0x847DA08 - 0x8048C00,
        task_size=0xC0000000,
    ),
}
"""By bytes of a pointer: amd64 (and every other 64-bit machine), 386."""
