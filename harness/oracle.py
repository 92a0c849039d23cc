"""The oracle: from what was measured of an address space to what must happen there. Pure.

It knows Go's reservation logic of 2012 from the commits alone and shares no code with the subject,
so that the two can contradict each other. It never sees a guest's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.cells import Limits
from harness.errors import UsageError
from harness.facts import Facts
from harness.sizes import format_size
from harness.verdict import Expectation, Outcome, Path

HIGH = 0xF8 << 32  # where 17 GiB were taken for granted; the bitmap first,
HIGH_ARENA = HIGH + (1 << 30)  # then the arena
PROBE = 64 << 10
LOW_LENGTH = 640 << 20  # 128 MiB of bitmap and 512 MiB of arena
LOW_BASE = 0x2500000  # behind the image of a small program of 2012
BELOW_4G = 0xFFFFFFFF  # from here on, mappings are not taken as reserved
HEAP = 7 << 20  # heap, bitmap and spans of the default workload: 6,946,816 bytes, rounded up
FIRST_HEAP = 3 << 19  # what mallocinit itself maps of that: 1,376,256 bytes, rounded up
BESIDE_LOW = 1 << 20  # what is not in the reservation: two chunks of 128 KiB, the strayed probe
FOOTPRINT = 14 << 20  # a Python 3.11 with ctypes, before it reserves: 12.6 to 13.5 MiB (measured)

OUT_OF_MEMORY = "throw: runtime: out of memory"
CANNOT_RESERVE = "throw: runtime: cannot reserve arena virtual address space"
CONFLICT = "throw: runtime: address space conflict"


@dataclass(frozen=True)
class Space:
    """An address space as a subject finds it: facts and limits, joined. Sizes in bytes."""

    facts: Facts
    room: int | None  # what RLIMIT_AS leaves to the subject; None if there is no limit
    narrowed: str  # that limit in words

    def fits(self, size: int) -> bool:
        """Is there room for that much more address space?"""
        return self.room is None or size <= self.room

    def refusal(self, address: int, length: int) -> str:
        """Say why a mapping without MAP_FIXED does not get this address; empty if it does."""
        facts = self.facts
        if address + length > facts.task_size:
            return f"{address:#x} lies beyond the task size {facts.task_size:#x}"
        hint = facts.hint_high if address > BELOW_4G else facts.hint_low
        if not hint.honoured:
            went = f"it gave {hint.got:#x}" if not hint.errno else f"errno {hint.errno}"
            return f"the kernel does not honour a hint such as {hint.asked:#x} ({went})"
        return ""


def predict(facts: Facts, limits: Limits, policy: str, footprint: int = FOOTPRINT) -> Expectation:
    """Say what the default workload must come to, and why in one sentence.

    `footprint` is the address space in bytes that the subject's process has before it reserves.
    Raises UsageError for a policy that is not known, or not for such pointers.
    """
    if policy not in POLICIES:
        raise UsageError(f"unknown policy {policy!r}", f"policies are: {', '.join(POLICIES)}")
    if facts.pointer_size != 8:
        raise UsageError(
            f"policy {policy} is not known for pointers of {facts.pointer_size} bytes",
            "take a 64-bit guest",
        )
    ends = [each for each in (limits.rlimit_as, facts.rlimit_as) if each is not None and each >= 0]
    if not ends:
        return POLICIES[policy](Space(facts, None, ""))
    narrowed = f"RLIMIT_AS of {format_size(min(ends))} less {format_size(footprint)} of its own"
    return POLICIES[policy](Space(facts, min(ends) - footprint, narrowed))


def _before(space: Space) -> Expectation:
    """The arena is taken for granted; the first mapping of the heap shows whether it is there."""
    why = space.refusal(HIGH_ARENA, HEAP)
    if space.facts.task_size < HIGH_ARENA + HEAP:
        return _dies(OUT_OF_MEMORY, f"{why}, and nothing else is tried")
    if not space.fits(HEAP):
        return _starves(space)
    if why:
        return _allocates(Path.HIGH, f"{why}, but it is free, and so MAP_FIXED takes it")
    return _allocates(Path.HIGH, _granted(space, HIGH_ARENA))


def _after(space: Space) -> Expectation:
    """A probe decides between the high arena and the low one."""
    why = space.refusal(HIGH, PROBE)
    return _low(space, why) if why else _high(space)


def _high(space: Space) -> Expectation:
    if why := space.refusal(HIGH_ARENA, HEAP):
        return _dies(OUT_OF_MEMORY, f"the probe is granted, but {why}")
    if not space.fits(HEAP):
        return _starves(space)
    return _allocates(Path.HIGH, _granted(space, HIGH_ARENA))


def _low(space: Space, why: str) -> Expectation:
    if not space.fits(LOW_LENGTH):
        return _dies(
            CANNOT_RESERVE,
            f"{why}, and {space.narrowed} has no room for the 640M of the low arena",
        )
    if space.facts.task_size < LOW_BASE + LOW_LENGTH:
        return _dies(CANNOT_RESERVE, f"{why}, and neither do 640M at {LOW_BASE:#x} fit below it")
    hint = space.facts.hint_low
    if not hint.honoured and hint.got + LOW_LENGTH > BELOW_4G:
        return _dies(
            CONFLICT,
            f"{why}, and low hints are not honoured either ({hint.asked:#x} gave {hint.got:#x}), "
            "so the reservation lands above 4G, where it is not taken as reserved",
        )
    if not space.fits(LOW_LENGTH + BESIDE_LOW):
        return _dies(OUT_OF_MEMORY, f"{why}, and {space.narrowed} has no room beside the low arena")
    return _allocates(Path.LOW, f"{why}, and 640M are to be had at {LOW_BASE:#x}")


def _granted(space: Space, address: int) -> str:
    return f"{address:#x} lies below the task size {space.facts.task_size:#x} and is granted"


def _allocates(path: Path, reason: str) -> Expectation:
    return Expectation(path, Outcome.ALLOCATES, reason=reason)


def _starves(space: Space) -> Expectation:
    """The high arena needs no room until its heap is mapped: in mallocinit, or as it grows."""
    path = Path.HIGH if space.fits(FIRST_HEAP) else Path.REFUSED
    reason = f"{space.narrowed} has no room for a heap of {HEAP >> 20}M"
    return _dies(OUT_OF_MEMORY, reason, path)


def _dies(message: str, reason: str, path: Path = Path.REFUSED) -> Expectation:
    return Expectation(path, Outcome.DIES, 2, message, reason)


POLICIES: Mapping[str, Callable[[Space], Expectation]] = {"before": _before, "after": _after}
