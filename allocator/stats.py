"""The statistics, under Go's own names (Go: `MStats` in malloc.h)."""

NAMES = (
    "alloc", "total_alloc", "sys", "nlookup", "nmalloc", "nfree",
    "heap_alloc", "heap_sys", "heap_idle", "heap_inuse", "heap_objects",
    "stacks_inuse", "stacks_sys", "mspan_inuse", "mspan_sys", "mcache_inuse", "mcache_sys",
    "buckhash_sys",
)  # fmt: skip


class MStats:
    """Bytes and counts, all 0 at the start.

    `sys` counts the bytes that were requested from the kernel for use, including the heap bitmap
    and requests that failed. Reservations do not count.
    """

    __slots__ = NAMES

    def __init__(self) -> None:
        for name in NAMES:
            setattr(self, name, 0)

    alloc: int
    total_alloc: int
    sys: int
    nlookup: int
    nmalloc: int
    nfree: int
    heap_alloc: int
    heap_sys: int
    heap_idle: int
    heap_inuse: int
    heap_objects: int
    stacks_inuse: int
    stacks_sys: int
    mspan_inuse: int
    mspan_sys: int
    mcache_inuse: int
    mcache_sys: int
    buckhash_sys: int

    def as_dict(self) -> dict[str, int]:
        """Return all statistics, in Go's order."""
        return {name: getattr(self, name) for name in NAMES}
