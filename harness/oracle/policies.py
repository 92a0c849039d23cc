"""What each generation of Go's reservation logic asks of a kernel, and makes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foothold_lab.harness.model.errors import UndecidedError, UnsupportedError, UsageError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.sizes import format_size
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath
from foothold_lab.harness.oracle.forms import MIB, TABLES, Process
from foothold_lab.harness.oracle.space import BELOW_4G, Space

HIGH = 0xF8 << 32  # where 17 GiB were taken for granted; the bitmap first,
HIGH_ARENA = HIGH + (1 << 30)  # then the arena
PROBE = 64 << 10
SMALLER = ("none", "hello")  # workloads that map less than the default one
SPARSE = (
    "modern",
    "modern-arm64",
    "modern-1.24",
)  # policies whose heap is in arenas, with no end to outgrow
SMALLEST_ARENA = 16 * MIB  # where a shrunk arena leaves less, it matters how the heap grows
ARENA = 64 * MIB  # of Go 1.11, whose bitmap is 4 MiB here
METADATA = 4 * MIB

NO_FIRST_TABLE = "no addresses are free for the first table"
NOTHING_HIGH = "pointers of 4 bytes reach no high address"

# Go 1.24: 585 MiB for summaries of all pages in five levels, the index of the scavenger, the table
# of arenas, the record of an arena, and the bitmaps of the page allocator
SUMMARIES = (128 << 10, MIB, 8 * MIB, 64 * MIB, 512 * MIB)
SCAVENGER_INDEX = 512 * MIB
PERSISTENT = 256 << 10
ARENA_TABLE = 32 * MIB
ARENA_RECORD = 68 << 10
COMMITTED = 4 * MIB  # at a time
RUNTIME_PAGE = 4096  # of the runtime of 2012, not of the kernel
CHUNK_BITMAPS = MIB
GC_BITS = 64 << 10

NO_PERSISTENT = "throw: runtime: cannot allocate memory"
NO_SUMMARIES = "throw: failed to reserve page summary memory"
NO_ARENA_TABLE = "throw: out of memory allocating heap arena map"
BEYOND_47_BITS = "throw: memory reservation exceeds address space limit"
NO_CHUNK_BITMAPS = "throw: pageAlloc: out of memory"
NO_TABLE = "throw: out of memory (FixAlloc)"
NO_METADATA = "throw: out of memory allocating heap arena metadata"
NO_ARENA = "throw: out of memory"
OUT_OF_MEMORY = "throw: runtime: out of memory"
CANNOT_RESERVE = "throw: runtime: cannot reserve arena virtual address space"
CANNOT_MAP = "throw: runtime: cannot map pages in arena address space"
CONFLICT = "throw: runtime: address space conflict"
NO_EXECMEM = "if you're running SELinux, enable execmem for this process."


def predict(
    facts: Facts,
    limits: Limits,
    policy: str,
    process: Process | None = None,
    *,
    workload: str = "default",
) -> Expectation:
    """Say what the default workload must come to, and why in one sentence; of any other workload,
    as much as is decided before it begins.

    `facts` are those under the limits (`harness.guests.limit_support.measure`) where limits move what
    is measured. Raises UsageError for a policy that is not known, UnsupportedError for one that is
    not for such pointers, or where facts and limits do not decide.
    """
    if policy not in POLICIES:
        raise UsageError(f"unknown policy {policy!r}", f"policies are: {', '.join(POLICIES)}")
    if why := unknown(facts, policy):
        raise UnsupportedError(why, "take a 64-bit guest", code=Code.UNSUPPORTED_POLICY)
    known = POLICIES if facts.pointer_size == 8 else NARROW
    told = known[policy](Space(facts, limits, process))
    # of what these runtimes do before they map their first table, only a reservation can fail
    if limits.wx_refused and policy not in SPARSE and told.message != CANNOT_RESERVE:
        return _maps_code(facts)
    if workload == "default" or told.path is ReservationPath.REFUSED:
        return told
    if told.path is ReservationPath.LOW and workload not in SMALLER and policy not in SPARSE:
        raise UndecidedError(
            f"whether the low arena is grown beyond its reservation depends on {workload}",
            "declare what is expected",
        )
    return Expectation(path=told.path, outcome=None, reason=told.reason)


def unknown(facts: Facts, policy: str) -> str:
    """Say why a policy has no form for such pointers; empty if it has."""
    if facts.pointer_size == 8 or policy in NARROW:
        return ""
    return f"policy {policy} is not known for pointers of {facts.pointer_size} bytes"


def _before(space: Space) -> Expectation:
    """The arena is assumed to be free; the first mapping of the heap shows whether it is."""
    return _high(space, 1, "nothing else is tried")


def _after(space: Space) -> Expectation:
    """A probe decides between the high arena and the low one."""
    if why := space.refusal(HIGH, PROBE, 1):
        return _low(space, why, 2, stray=_misplaced_probe(space))
    return _high(space, 2, "the probe is granted")


def _grsec(space: Space) -> Expectation:
    """A misplaced probe is repeated with MAP_FIXED, unless all of its range is occupied: by others,
    or by the misplaced probe itself.
    """
    why = space.refusal(HIGH, PROBE, 1)
    if space.facts.task_size < HIGH + PROBE:
        return _low(space, why, 2)
    if why:
        stray = 0 if space.failure(1) else space.elsewhere(PROBE)
        covered = space.taken(HIGH, PROBE)
        if stray:
            covered += max(0, min(stray, HIGH) + PROBE - max(stray, HIGH))
        if covered == PROBE:
            return _low(space, f"{HIGH:#x} is occupied", 2, stray=_misplaced_probe(space))
    return _high(space, 2, "the probe insists")


def _memlimit(space: Space) -> Expectation:
    """RLIMIT_AS decides whether the high arena is tried, and how large the low one is.

    What is used is taken off twice, and unsigned: little room wraps round to very much.
    """
    left = _left(space)
    if left is None or left > 1 << 30:
        return _grsec(space)
    why = f"RLIMIT_AS leaves {left >> 20}M, so that {HIGH:#x} is not tried"
    return _low(space, why, 1, _shrunk(space, left))


def _narrow(space: Space) -> Expectation:
    """With pointers of 4 bytes there is nothing to probe: all but memlimit are the same."""
    return _low(space, NOTHING_HIGH, 1)


def _narrow_memlimit(space: Space) -> Expectation:
    """RLIMIT_AS has nothing to decide but how large the low arena is."""
    left = _left(space)
    if left is None:
        return _low(space, NOTHING_HIGH, 1)
    why = f"{NOTHING_HIGH}, RLIMIT_AS leaves {left >> 20}M"
    return _low(space, why, 1, _shrunk(space, left))


def _left(space: Space) -> int | None:
    """What memlimit finds that RLIMIT_AS leaves; None where it counts as none."""
    end, used = space.rlimit_as, space.form.image + (64 << 20)
    if end is None or end >= 0x7FFFFFFF or end < used + 16 * MIB:
        return None
    return (end - 2 * used) % (1 << 8 * space.facts.pointer_size)


def _shrunk(space: Space, left: int) -> int:
    """The low reservation that memlimit makes of so much."""
    if left >= space.form.low_length:
        return space.form.low_length
    length = left // 9 // RUNTIME_PAGE * RUNTIME_PAGE * 9
    if length < SMALLEST_ARENA:
        raise UndecidedError(
            f"memlimit leaves {format_size(length)} for arena and bitmap: whether that is enough "
            "depends on how the heap grows",
            "allow more",
        )
    return length


def _modern(first: int, space: Space) -> Expectation:
    """Arenas of 64 MiB at the first hint that is granted, or wherever the kernel likes."""
    table = TABLES // 2
    if space.place(table) is None:
        return _dies(NO_TABLE, NO_FIRST_TABLE)
    hints = [i << 40 | first for i in range(128)]
    refused = [space.refusal(hint, ARENA, nth) for nth, hint in enumerate(hints, start=1)]
    granted = [hint for hint, why in zip(hints, refused, strict=True) if not why]
    # where the kernel chooses, an arena more is requested; it is trimmed unless it is aligned
    size = ARENA if granted else 2 * ARENA
    why = "" if granted else f"{refused[0]}, as all hints, and "
    if lacking := space.lacks(size, table):
        return _dies(NO_ARENA, f"{why}{lacking} has no room for {size >> 20}M")
    base = granted[0] if granted else space.elsewhere(size)
    if base is None:
        return _dies(NO_ARENA, f"{why}{size >> 20}M are not to be had anywhere")
    if base % ARENA:
        base, size = -(-base // ARENA) * ARENA, ARENA
    space.map(base, size)
    arenas = size // ARENA
    if lacking := space.lacks(0, table + size, largest=size, last=size):
        return _dies(OUT_OF_MEMORY, f"{why}{size >> 20}M are reserved, but {lacking}")
    for nth in range(1, arenas + 1):
        lacking = space.lacks(0, table + size + nth * METADATA)
        if lacking or space.place(METADATA) is None:
            lacking = lacking or "the address space"
            return _dies(NO_METADATA, f"{why}64M are mapped, but {lacking} has no room for bits")
    lacking = space.lacks(0, TABLES + size + arenas * METADATA)
    if lacking or space.place(table) is None:
        lacking = lacking or "the address space"
        return _dies(NO_TABLE, f"{why}64M are mapped, but {lacking} has no room for more")
    if granted:
        return _allocates(ReservationPath.HIGH, f"64M are to be had at {granted[0]:#x}")
    return _allocates(
        ReservationPath.LOW, f"{refused[0]}, as all hints; the kernel gives 64M elsewhere"
    )


def _paged(first: int, space: Space) -> Expectation:
    """Summaries of all pages, then arenas of 64 MiB, of which 4 MiB are committed at a time."""
    try:
        return _Paged(space).run([i << 40 | first for i in range(64)])
    except _Refused as refused:
        return _dies(refused.message, str(refused), refused.path)


class _Refused(Exception):
    """A mapping is refused, and the runtime dies with this message."""

    def __init__(self, message: str, reason: str, path: ReservationPath) -> None:
        super().__init__(reason)
        self.message = message
        self.path = path


class _Paged:
    """The mappings of a runtime of Go 1.24, in its order. Raises _Refused."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._page = space.facts.page_size
        self._used = self._reserved = 0
        self._path = ReservationPath.REFUSED

    def run(self, hints: Sequence[int]) -> Expectation:
        """Follow the runtime to the end of the default workload."""
        space = self._space
        self._use(PERSISTENT, NO_PERSISTENT)
        for length in SUMMARIES:
            self._reserve(length, NO_SUMMARIES)
        indexed = not self._lacking(SCAVENGER_INDEX, 0) and space.elsewhere(SCAVENGER_INDEX)
        if indexed:
            self._reserve(SCAVENGER_INDEX, NO_SUMMARIES)
        self._use(TABLES // 2, NO_TABLE)
        refused = [space.refusal(hint, ARENA, nth) for nth, hint in enumerate(hints, start=1)]
        granted = [hint for hint, why in zip(hints, refused, strict=True) if not why]
        arenas = self._arenas(granted[0] if granted else None)
        self._use(ARENA_TABLE, NO_ARENA_TABLE)
        for _ in range(arenas):
            self._use(ARENA_RECORD, NO_METADATA)
            self._use(METADATA, NO_METADATA)
        self._commit(COMMITTED)
        self._commit(SUMMARIES[0])
        for _ in SUMMARIES[1:]:
            self._commit(self._page)
        # the runtime does not check: without an index it maps a page of one at a low address
        if not indexed:
            self._reserved += self._page
        self._commit(self._page)
        self._use(CHUNK_BITMAPS, NO_CHUNK_BITMAPS)
        self._use(GC_BITS, NO_PERSISTENT)
        self._use(GC_BITS, NO_PERSISTENT)
        self._use(TABLES // 2, NO_TABLE)
        self._path = ReservationPath.HIGH if granted else ReservationPath.LOW
        self._commit(COMMITTED)
        if granted:
            return _allocates(self._path, f"64M are to be had at {granted[0]:#x}")
        return _allocates(self._path, f"{refused[0]}, as all hints; the kernel gives 64M elsewhere")

    def _arenas(self, hint: int | None) -> int:
        """Reserve an arena at a hint, or elsewhere an arena more than needed, which is trimmed
        unless it is aligned. Returns the number of arenas.
        """
        size = 2 * ARENA if hint is None else ARENA
        base = self._space.elsewhere(size) if hint is None else hint
        lacking = self._lacking(size, 0) or ("" if base is not None else "the address space")
        if base is None or lacking:
            raise _Refused(NO_ARENA, f"{lacking} has no room for {size >> 20}M", self._path)
        if base % ARENA:
            base, size = -(-base // ARENA) * ARENA, ARENA
        if base + size > 1 << 47:
            raise _Refused(BEYOND_47_BITS, f"{base:#x} has more than 47 bits", self._path)
        self._space.map(base, size)
        self._reserved += size
        return size // ARENA

    def _reserve(self, length: int, message: str) -> None:
        self._check(self._lacking(length, 0), length, message)
        self._reserved += length

    def _use(self, length: int, message: str) -> None:
        length = self._space.whole_pages(length)
        self._check(self._lacking(0, length, largest=length), length, message)
        self._used += length

    def _commit(self, length: int) -> None:
        """Make reserved memory usable."""
        if lacking := self._lacking(-length, length, last=length, largest=length):
            reason = f"{lacking} has no room for {format_size(length)} in use"
            raise _Refused(OUT_OF_MEMORY, reason, self._path)
        self._reserved -= length
        self._used += length

    def _check(self, lacking: str, length: int, message: str) -> None:
        if not lacking and self._space.place(length) is None:
            lacking = "the address space"
        if lacking:
            raise _Refused(message, f"{lacking} has no room for {format_size(length)}", self._path)

    def _lacking(self, reserved: int, used: int, *, largest: int = 0, last: int = 0) -> str:
        return self._space.lacks(
            self._reserved + reserved, self._used + used, largest=max(largest, MIB), last=last
        )


def _high(space: Space, nth: int, before: str) -> Expectation:
    """The heap is mapped where the arena must be: at first as a hint, then with MAP_FIXED unless
    all of that place is taken. `nth` is the number of the first of those hints.
    """
    form, heap = space.form, space.form.heap
    end = HIGH_ARENA + form.arena
    beyond = f"lies beyond the task size {space.facts.task_size:#x}, and {before}"
    if space.place(TABLES // 2) is None:
        return _dies(NO_TABLE, NO_FIRST_TABLE)
    if space.facts.task_size < HIGH_ARENA + MIB:
        return _dies(OUT_OF_MEMORY, f"{HIGH_ARENA:#x} {beyond}")
    if taken := space.taken(HIGH_ARENA - MIB, MIB + form.arena):
        if space.taken(HIGH_ARENA, MIB) == MIB:
            reason = f"{HIGH_ARENA:#x} is occupied, and {before}"
            return _conflicts(space, reason, _Piece(nth=nth))
        raise UndecidedError(
            f"{format_size(taken)} of the place of the heap are occupied: mappings that are "
            "partly in the way are overwritten",
            f"occupy all from {HIGH_ARENA:#x} to {end:#x}, or nothing there",
        )
    why = space.refusal(HIGH_ARENA, MIB, 0)
    if not space.lacks(0, form.first_heap):
        space.map(HIGH_ARENA - form.first_bitmap, form.first_bitmap + MIB)
        if space.place(TABLES // 2) is None:
            return _dies(NO_TABLE, "no addresses are free for the second table")
    if space.lacks(0, heap):
        return _starves(space, ReservationPath.HIGH)
    if space.facts.task_size < end:
        reason = f"{HIGH_ARENA:#x} is granted, but the end of the heap at {end:#x} {beyond}"
        return _dies(OUT_OF_MEMORY, reason, ReservationPath.HIGH)
    if why:
        return _allocates(ReservationPath.HIGH, f"{why}, but it is free, and so MAP_FIXED takes it")
    return _allocates(
        ReservationPath.HIGH,
        f"{HIGH_ARENA:#x} lies below the task size {space.facts.task_size:#x} and is granted",
    )


def _low(space: Space, why: str, nth: int, length: int = 0, stray: int = 0) -> Expectation:
    """Bitmap and arena are reserved behind the image, or wherever the kernel then likes.

    `why` the high arena is not to be had; `length` of both if it is not the ordinary one; `stray`
    bytes of a probe are still mapped.
    """
    form = space.form
    length = length or form.low_length
    size = f"{length >> 20}M"
    if space.failure(nth):
        return _dies(CANNOT_RESERVE, f"{why}, and {space.refusal(0, 0, nth)}")
    base = _low_base(space, length, nth)
    if base is None:
        return _dies(CANNOT_RESERVE, f"{why}, and {size} are not to be had anywhere")
    if lacking := space.lacks(length + stray, 0):
        return _dies(
            CANNOT_RESERVE, f"{why}, and {lacking} has no room for the {size} of the low arena"
        )
    space.map(base, length)
    arena = base + (length // 9 if length < form.low_length else length - (512 << 20))
    in_the_way = arena >= BELOW_4G  # it dies before it makes the second table
    if lacking := space.lacks(length + stray, TABLES // 2 if in_the_way else TABLES):
        return _dies(NO_TABLE, f"{why}, and {lacking} has no room beside the low arena")
    # heap and bitmap are in the reservation, the tables are not
    no_addresses = f"{why}, and {size} at {base:#x} leave no addresses for more"
    if space.place(TABLES // 2) is None:
        return _dies(NO_TABLE, no_addresses)
    if in_the_way:
        where = f"the reservation lands at {base:#x}, above 4G, where it is not taken as reserved"
        piece = _Piece(nth=nth + 1, reserved=length + stray)
        return _conflicts(space, f"{why}, and {where}", piece)
    if arena % space.facts.page_size:
        page = format_size(space.facts.page_size)
        return _dies(
            CANNOT_MAP,
            f"{why}, and the arena begins at {arena:#x}, within a page of {page}, where MAP_FIXED "
            "fails with EINVAL",
        )
    if space.place(TABLES // 2) is None:
        return _dies(NO_TABLE, no_addresses)
    return _grow(
        space, nth + 1, length + stray, arena, f"{why}, and {size} are to be had at {base:#x}"
    )


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """The next piece of the heap, which does not get its place. All in bytes: its `length`, what is
    `reserved` and what is `used` before it, the tables included. `nth`: the number of its hint.
    `path`: the one that shows by then.
    """

    nth: int
    reserved: int = 0
    used: int = TABLES // 2
    length: int = MIB
    path: ReservationPath = ReservationPath.REFUSED


def _grow(space: Space, nth: int, reserved: int, arena: int, why: str) -> Expectation:
    """Map the heap in the low arena at that address. A piece that begins above 4 GiB is not taken as
    reserved, and is moved. `nth` is the number of its hint.
    """
    form = space.form
    above = (each for each in form.pieces if arena + each[0] >= BELOW_4G)
    mapped, length = next(above, (form.arena, 0))
    used = mapped + mapped // form.part  # in the reservation
    last = form.first_bitmap if length else form.last_bitmap
    if mapped == MIB:  # the second table is mapped behind the first piece and its bitmap
        last = 0
    if space.lacks(reserved - used, TABLES + used, last=last):
        return _starves(space, ReservationPath.LOW, reserved + TABLES, f"{why}, and ")
    if not length:
        return _allocates(ReservationPath.LOW, why)
    piece = _Piece(
        nth=nth,
        reserved=reserved - used,
        used=TABLES + used,
        length=length,
        path=ReservationPath.LOW,
    )
    where = f"the arena at {arena:#x} crosses 4G, above which it is not taken as reserved"
    return _conflicts(space, f"{why}, and {where}", piece)


def _conflicts(space: Space, reason: str, piece: _Piece) -> Expectation:
    """The range of a piece of the heap is taken, so its hint is moved. Or the hint fails; if memory is
    missing, the message differs.
    """
    length, path = piece.length, piece.path
    error = space.failure(piece.nth)  # comes before the kernel has a say
    if error == "ENOMEM":
        return _dies(OUT_OF_MEMORY, f"{reason}, and the next mapping fails with ENOMEM", path)
    lacking = "" if error else space.lacks(piece.reserved, piece.used + length, largest=length)
    if lacking:
        return _dies(OUT_OF_MEMORY, f"{reason}, and {lacking} has no room to try elsewhere", path)
    if not error and space.elsewhere(length) is None:
        return _dies(OUT_OF_MEMORY, f"{reason}, and no other addresses are free", path)
    return _dies(CONFLICT, reason, path)


def _low_base(space: Space, length: int, nth: int) -> int | None:
    """Where the low reservation comes to lie."""
    asked = space.process.low
    nearest = space.refusal(asked.start, length, nth)
    furthest = space.refusal(asked.end, length, nth)
    if not nearest and not furthest:
        return asked.start
    if not nearest or not furthest:
        raise UndecidedError(
            f"{nearest or furthest}: whether the low arena meets that depends on where the "
            "subject's image ends",
            f"leave {asked.start:#x} to {asked.end + length:#x} alone, or take all of it",
        )
    return space.elsewhere(length)


def _misplaced_probe(space: Space) -> int:
    """Map a probe that the kernel places elsewhere, where it stays. Returns its bytes, 0 if it
    failed.
    """
    if space.failure(1) or space.place(PROBE) is None:
        return 0
    return PROBE


def _allocates(path: ReservationPath, reason: str) -> Expectation:
    return Expectation(path=path, outcome=Outcome.ALLOCATES, reason=reason)


def _starves(space: Space, path: ReservationPath, mapped: int = 0, since: str = "") -> Expectation:
    """There is no room for all of the heap; what there is room for shows in path and message.

    `mapped` bytes are taken, independent of how many the heap uses.
    """

    def lacks(used: int, last: int = 0) -> str:
        return space.lacks(max(mapped - used, 0), used, last=last if mapped else 0)

    form = space.form
    reason = f"{since}{lacks(form.heap, form.last_bitmap)} has no room for a heap of 7M"
    if not lacks(form.first_heap):
        return _dies(OUT_OF_MEMORY, reason, path)
    # the second of the two tables is the last of what comes first
    return _dies(
        OUT_OF_MEMORY if lacks(form.first_heap - TABLES // 2, form.first_bitmap) else NO_TABLE,
        reason,
    )


def _maps_code(facts: Facts) -> Expectation:
    """The runtimes of 2012 map all memory readable, writable and executable, the first table first."""
    reason = "all memory is mapped as writable and executable, which is refused with"
    if facts.tools.mdwe:
        return _dies(NO_TABLE, f"{reason} EPERM")
    return _dies(NO_EXECMEM, f"{reason} EACCES")


def _dies(
    message: str, reason: str, path: ReservationPath = ReservationPath.REFUSED
) -> Expectation:
    return Expectation(path=path, outcome=Outcome.DIES, status=2, message=message, reason=reason)


POLICIES: Mapping[str, Callable[[Space], Expectation]] = {
    "before": _before,
    "after": _after,
    "grsec": _grsec,
    "memlimit": _memlimit,
    "modern": lambda space: _modern(0xC0 << 32, space),
    "modern-arm64": lambda space: _modern(0x40 << 32, space),
    "modern-1.24": lambda space: _paged(0xC0 << 32, space),
}
NARROW: Mapping[str, Callable[[Space], Expectation]] = {
    "before": _narrow,
    "after": _narrow,
    "grsec": _narrow,
    "memlimit": _narrow_memlimit,
}
"""Those that there are with pointers of 4 bytes."""
