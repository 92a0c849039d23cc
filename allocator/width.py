"""Constants that depend on the size of a pointer: the same runtime on amd64 and on 386."""

from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Width(Value):
    """One size of pointer and the constants that follow from it.

    pointer: bytes of a pointer and of a word of memory.
    shift: the word at an address has the number `address >> shift`.
    bits: number of heap words that one bitmap word describes, with four bits each. One byte of
        bitmap covers the same number of heap bytes.
    group: log2 of `bits`: heap word i is described by bitmap word `i >> group`.
    mask: the largest address, size and word value.
    mspan, mcache: bytes of the runtime's records (Go: MSpan, MCache).
    end, image: of the reference program, whose traces are the golden ones: the address of its end,
        and the bytes of its text, data and bss. Most of it is the span table of 2**22 (or 2**20)
        pointers.
    task_size: bytes of an ordinary Linux address space.
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
"""By bytes of a pointer: 8 for amd64 and all other 64-bit machines, 4 for 386."""
