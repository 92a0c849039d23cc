"""Policies: which generation of Go's reservation logic to follow. The one place where they differ.

A policy is a value. The code asks its fields and never its name, so that the difference between two
policies is the difference between two entries of `POLICIES`.
"""

from .kernel import PROT_RW, PROT_RWX
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

HIGH_BASE = 0xF8 << 32
ARENA_HIGH = 16 << 30
BITMAP_HIGH = 1 << 30

NOWHERE = 1 << 64

# How SysReserve treats an address that is not to be reserved whole.
ASSUME: "Final" = "assume"  # say yes, without a call
PROBE: "Final" = "probe"  # map 64 KiB there as a hint, unmap them again
PROBE_FIXED: "Final" = "probe-fixed"  # and, led astray though all is free, MAP_FIXED
ARENAS: "Final" = "arenas"  # no contiguous arena: 64 MiB at a time, at a hint that is granted


class Policy(Value):
    """One generation of the reservation logic.

    name, date, commit (or the first release that has it), explanation: for people.
    reserve: ASSUME, PROBE, PROBE_FIXED or ARENAS, as told above.
    falls_back: whether a refused high address leads to the low arena, or to death.
    careful_from: mappings at this address and above are not taken as reserved, so SysMap looks
        before it maps; an arena that lies there ends where its reservation ends.
    reads_limit: whether RLIMIT_AS has a say in the choice and in the size of the low arena.
    hints: addresses to try, in order. prot: of all memory for use, executable in 2012.
    pointer_sizes: bytes of a pointer it is known for.
    """

    __slots__ = (
        "careful_from",
        "commit",
        "date",
        "explanation",
        "falls_back",
        "hints",
        "name",
        "pointer_sizes",
        "prot",
        "reads_limit",
        "reserve",
    )  # fmt: skip
    name: str
    date: str
    commit: str
    explanation: str
    reserve: str
    falls_back: bool
    careful_from: int
    reads_limit: bool
    hints: tuple[int, ...]
    prot: int
    pointer_sizes: tuple[int, ...]

    def on(self, pointer: int) -> "Policy":
        """The same generation with pointers of so many bytes, one of `pointer_sizes`.

        With 4 there is no high address to try, and what is reserved really is: wherever Go asks for
        `sizeof(void*) == 8`, the answer is no. So all generations before RLIMIT_AS are the same.
        """
        if pointer == 8:
            return self
        return self.replace(hints=(), falls_back=True, careful_from=NOWHERE)


def _hints(first: int) -> tuple[int, ...]:
    return tuple(i << 40 | first << 32 for i in range(128))


def _policies() -> "Mapping[str, Policy]":
    high = (HIGH_BASE,)
    policies = (
        Policy(
            name="before",
            date="2012-02-08",
            commit="04048891c",
            explanation=(
                "The high address is taken for granted: 17 GiB at 0xf800000000 are assumed to be "
                "free, and the first mapping shows whether they are. Where that address cannot be "
                "had, as in User-Mode Linux with three page-table levels, the program dies with "
                "`runtime: out of memory` before its first instruction."
            ),
            reserve=ASSUME,
            falls_back=False,
            careful_from=0,
            reads_limit=False,
            hints=high,
            prot=PROT_RWX,
            pointer_sizes=(4, 8),
        ),
        Policy(
            name="after",
            date="2012-02-08",
            commit="0fd3bb7e7",
            explanation=(
                "64 KiB are mapped at 0xf800000000 as a probe, and unmapped again. If the kernel "
                "gives another address, or none, the runtime falls back to the mechanism of 32-bit "
                "machines: 128 MiB of bitmap and 512 MiB of arena, really reserved, right behind "
                "its own image; beyond them it takes what the kernel gives within 2 GiB. A probe "
                "that went astray is never unmapped. With pointers of 4 bytes nothing is probed, "
                "and 256 MiB are bitmap; there the commit itself forgot to set a variable, and "
                "programs died of what it held: here it is as mended a day later (2819f419a)."
            ),
            reserve=PROBE,
            falls_back=True,
            careful_from=0xFFFFFFFF,
            reads_limit=False,
            hints=high,
            prot=PROT_RWX,
            pointer_sizes=(4, 8),
        ),
        Policy(
            name="grsec",
            date="2012-02-14",
            commit="aa3c3967f",
            explanation=(
                "As `after`, but a probe that went astray is tried again with MAP_FIXED if "
                "mincore(2) says that the place is free. Kernels with grsecurity ignore hints, so "
                "that `after` fell back there although the high address was to be had."
            ),
            reserve=PROBE_FIXED,
            falls_back=True,
            careful_from=0xFFFFFFFF,
            reads_limit=False,
            hints=high,
            prot=PROT_RWX,
            pointer_sizes=(4, 8),
        ),
        Policy(
            name="memlimit",
            date="2012-02-24",
            commit="1f9bfe55f",
            explanation=(
                "As `grsec`, but RLIMIT_AS is asked first. What it leaves, less the image and 64 "
                "MiB (taken off twice, by a slip, so that the difference can wrap round), decides: "
                "up to 1 GiB the high address is not even tried, and the low arena shrinks to "
                "eight ninths of it. Path over limit is therefore not monotonic. With pointers of "
                "4 bytes the size of the low arena is all that there is to decide."
            ),
            reserve=PROBE_FIXED,
            falls_back=True,
            careful_from=0xFFFFFFFF,
            reads_limit=True,
            hints=high,
            prot=PROT_RWX,
            pointer_sizes=(4, 8),
        ),
        Policy(
            name="modern",
            date="2018-08-24",
            commit="go1.11",
            explanation=(
                "Go since 1.11 (linux/amd64, riscv64): no contiguous arena. Memory is reserved in "
                "arenas of 64 MiB at the first of 128 hints (0xc0<<32, then 1 TiB apart) that the "
                "kernel grants; a hint that is refused is dropped for good, and when all are gone "
                "any place that the kernel gives is taken, aligned by hand."
            ),
            reserve=ARENAS,
            falls_back=True,
            careful_from=NOWHERE,
            reads_limit=False,
            hints=_hints(0xC0),
            prot=PROT_RW,
            pointer_sizes=(8,),
        ),
        Policy(
            name="modern-arm64",
            date="2018-08-24",
            commit="go1.11",
            explanation=(
                "As `modern`, on linux/arm64: the hints begin at 0x40<<32, which exists even where "
                "three page-table levels leave an address space of 39 bits."
            ),
            reserve=ARENAS,
            falls_back=True,
            careful_from=NOWHERE,
            reads_limit=False,
            hints=_hints(0x40),
            prot=PROT_RW,
            pointer_sizes=(8,),
        ),
    )
    return {policy.name: policy for policy in policies}


POLICIES: "Mapping[str, Policy]" = _policies()
"""All policies by name, oldest first."""
