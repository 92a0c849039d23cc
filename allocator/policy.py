"""Policies: the versions of Go's reservation code, and all differences between them.

A policy is a value. The code uses its fields and never its name, so the difference between two
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

# What SysReserve does for a high address.
ASSUME: "Final" = "assume"  # assume that it is free, without a call
PROBE: "Final" = "probe"  # map 64 KiB there with a hint, unmap them again
PROBE_FIXED: "Final" = "probe-fixed"  # the same; if misplaced although it is free, MAP_FIXED
ARENAS: "Final" = "arenas"  # no contiguous arena: 64 MiB at a time at one of many hints
PAGED_ARENAS: "Final" = "paged-arenas"  # the same, committed 4 MiB at a time, with page summaries


class Policy(Value):
    """One version of the reservation code.

    name, date, commit (or first release), explanation: for people.
    reserve: ASSUME, PROBE, PROBE_FIXED, ARENAS or PAGED_ARENAS.
    falls_back: whether the runtime uses the low arena if the high address is refused.
    careful_from: from this address on, SysMap does not assume that the memory is reserved, and an
        arena does not grow beyond its reservation.
    reads_limit: whether RLIMIT_AS decides the path and the size of the low arena.
    hints: the addresses to try, in order.
    prot: protection of all memory for use (executable in 2012).
    pointer_sizes: the pointer sizes for which this version exists, in bytes.
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
        """Return this version for pointers of so many bytes, one of `pointer_sizes`.

        With 4-byte pointers there is no high address, and every reservation is a real one: Go's
        conditions `sizeof(void*) == 8` are false. All versions before memlimit are then the same.
        """
        if pointer == 8:
            return self
        return self.replace(hints=(), falls_back=True, careful_from=NOWHERE)


def _hints(first: int, count: int = 128) -> tuple[int, ...]:
    return tuple(i << 40 | first << 32 for i in range(count))


def _policies() -> "Mapping[str, Policy]":
    high = (HIGH_BASE,)
    policies = (
        Policy(
            name="before",
            date="2012-02-08",
            commit="04048891c",
            explanation=(
                "The runtime assumes that 17 GiB at 0xf800000000 are free and maps the heap there. "
                "Where that address does not exist, as in User-Mode Linux with three levels of "
                "page table, every program dies at start with `runtime: out of memory`."
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
                "The runtime maps 64 KiB at 0xf800000000 as a probe and unmaps them again. If the "
                "kernel gives another address or an error, it uses the mechanism of 32-bit "
                "machines: it reserves 128 MiB of bitmap and 512 MiB of arena after its own image, "
                "and takes more from the kernel within 2 GiB. A misplaced probe is never unmapped. "
                "With 4-byte pointers there is no probe, and the bitmap has 256 MiB; the commit "
                "left a variable unset there, which this port sets as the fix of the next day did "
                "(2819f419a)."
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
                "As `after`, but a misplaced probe is repeated with MAP_FIXED if mincore(2) reports "
                "that the address is free. Kernels with grsecurity ignore hints, so `after` used "
                "the low arena there although the high address was free."
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
                "As `grsec`, but the runtime reads RLIMIT_AS first and subtracts the image and 64 "
                "MiB (by mistake twice, so the result can wrap). If up to 1 GiB is left, it does "
                "not try the high address, and the low arena and its bitmap shrink to what is "
                "left. Therefore the path does not depend monotonically on the limit. With 4-byte "
                "pointers the limit decides only the size of the low arena."
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
                "Go since 1.11, on all 64-bit machines but arm64: no contiguous arena. Memory is "
                "reserved in arenas of 64 MiB at the first of 128 hints (0xc0<<32, then 1 TiB apart) that the "
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
        Policy(
            name="modern-1.24",
            date="2025-02-11",
            commit="go1.24",
            explanation=(
                "As `modern`, but as Go 1.24 does (linux/amd64): the runtime "
                "first reserves 585 MiB anywhere for summaries of all pages, and 512 MiB for the "
                "index of the scavenger; without the former it dies with `failed to reserve page "
                "summary memory`, and it does not check the latter. It reserves an arena of 64 MiB "
                "at one of 64 hints and commits 4 MiB of it at a time. The table of all arenas has 32 "
                "MiB."
            ),
            reserve=PAGED_ARENAS,
            falls_back=True,
            careful_from=NOWHERE,
            reads_limit=False,
            hints=_hints(0xC0, 64),
            prot=PROT_RW,
            pointer_sizes=(8,),
        ),
    )
    return {policy.name: policy for policy in policies}


POLICIES: "Mapping[str, Policy]" = _policies()
"""All policies by name, oldest first."""
