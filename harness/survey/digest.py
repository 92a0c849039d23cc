"""What a program wished for: its requests for addresses, shortened to those that tell something.

A program that is refused may ask ten thousand times. Requests that follow one another and are alike
become one wish, with how many they were, and from where to where they went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from foothold_lab.harness.evidence.program import reaction
from foothold_lab.harness.evidence.strace import Story
from foothold_lab.harness.model.ledger import (
    FIXED,
    LARGE,
    Account,
    Answer,
    Fate,
    Map,
    Reservation,
    settle,
)
from foothold_lab.harness.model.sizes import format_size

_MAIN = 3  # wishes that are told of a program that gets all of them
_ARENAS = (64 << 20, 128 << 20)  # of glibc, one a thread: HEAP_MAX_SIZE in malloc/arena.c


@dataclass(frozen=True)
class Wish:
    """Requests that are alike: the first and the last of them, how many there were, of how many the
    address was refused (with which errno) or changed (the first that was given instead).

    `searched` counts the places that the program found taken (EEXIST) before; `then` is what it did
    upon the last answer, if that was not what it wanted.
    """

    first: Reservation
    last: Reservation
    count: int = 1
    refused: int = 0
    moved: int = 0
    errno: str = ""
    given: int | None = None
    searched: int = 0
    then: str = ""

    @property
    def granted(self) -> bool:
        """Was it given what it asked for?"""
        return not (self.refused or self.moved)

    @property
    def exact(self) -> bool:
        """Does it insist on the address?"""
        return bool(self.first.flags & FIXED)

    @property
    def asked(self) -> str:
        """What was asked for, in words: `64M at 0xc000000000, and 63 times more up to 0x3fc…`."""
        size, least = _size(self.first), _size(self.last)
        where = "anywhere"
        if self.first.asked:
            where = f"at {'exactly ' if self.exact else ''}{self.first.asked:#x}"
        parts = [f"{size} {where}"]
        if self.count > 1:
            again = f"and {self.count - 1:,} time{'s' * (self.count > 2)} more"
            if self.last.asked and self.last.asked != self.first.asked:
                again += f", at last at {self.last.asked:#x}"
            parts.append(again if size == least else f"{again} for {least}")
        if self.searched:
            parts.append(f"the {_ordinal(self.searched + 1)} place that it tried")
        return ", ".join(parts)

    @property
    def answered(self) -> str:
        """What the kernel gave, in words."""
        if self.granted:
            return "that" if self.first.asked else f"{self.first.given or 0:#x}"
        if not self.moved:
            return f"nothing ({self.errno})"
        if not self.refused:
            return f"{self.given or 0:#x}"
        return (
            f"nothing ({self.errno}) {self.refused} times, {self.given or 0:#x} {self.moved} times"
        )


def wishes(story: Story) -> tuple[Wish, ...]:
    """Shorten a story to its wishes, in their order."""
    found: list[Wish] = []
    for one in _telling(story, settle(story.steps)):
        before = found[-1] if found else None
        if search := next((each for each in found if _is_search(each, one)), None):
            found.remove(search)
            found.append(replace(one, searched=search.count))
        elif before and _alike(before, one):
            found[-1] = replace(
                before,
                last=one.last,
                count=before.count + 1,
                then=one.then,
                refused=before.refused + one.refused,
                moved=before.moved + one.moved,
                errno=before.errno or one.errno,
                given=before.given or one.given,
            )
        else:
            found.append(one)
    return tuple(found)


def main_wishes(of: Sequence[Wish]) -> tuple[Wish, ...]:
    """Choose those that say how a program lives, in their order: what it was not granted, the
    largest that ask for an address, the largest at all.
    """
    lasting = [each for each in of if each.last.became != (Fate.UNMAPPED,)]
    largest = sorted(lasting, key=lambda each: -each.first.length)
    hinted = [each for each in largest if each.first.asked]
    denied = [each for each in of if not each.granted]
    chosen = {id(each) for each in (*denied[:_MAIN], *hinted[:_MAIN], *largest[:1])}
    return tuple(each for each in of if id(each) in chosen)


def _telling(story: Story, account: Account) -> Iterator[Wish]:
    """Each request of the program's own that is large or asks for an address, as a wish."""
    arenas = [each for each in account.ledger if _is_arena(each)]
    place = -1
    for at, step in enumerate(story.steps):
        if not isinstance(step, Map):
            continue
        place += 1
        while account.ledger[place] != step.reservation:  # mremap has entries of its own
            place += 1
        one = account.ledger[place]
        if not one.tells or one.within or one in arenas or _is_next_to(one, arenas):
            continue
        refused, moved = one.answer is Answer.REFUSED, one.answer is Answer.MOVED
        yield Wish(
            one,
            one,
            1,
            int(refused),
            int(moved),
            one.errno,
            one.given if moved else None,
            0,
            reaction(story, at, one) if refused or moved else "",
        )


def _is_arena(one: Reservation) -> bool:
    """Is it for a thread's malloc? Every program with threads has such."""
    wanted = one.protection == "---" and not one.flags & FIXED and not one.asked
    return wanted and one.length in _ARENAS and Fate.PROTECTED in one.became


def _is_next_to(one: Reservation, arenas: Sequence[Reservation]) -> bool:
    """Is it for one thread more, asked for where an arena's other half was given back?"""
    near = any(
        each.given <= (one.asked or 0) <= each.given + each.length
        for each in arenas
        if each.given is not None
    )
    return near and one.hinted and one.length in _ARENAS


def _alike(one: Wish, other: Wish) -> bool:
    a, b = one.last, other.first
    if (a.protection, one.exact, bool(a.asked)) != (b.protection, other.exact, bool(b.asked)):
        return False
    if one.granted or other.granted:
        return one.granted and other.granted and a.length == b.length
    return bool(a.asked)


def _is_search(one: Wish, other: Wish) -> bool:
    """Did it only look for a place that is free, and find one?"""
    taken = one.errno == "EEXIST" and one.refused == one.count
    return taken and other.granted and other.exact and one.last.length == other.first.length


def _size(one: Reservation) -> str:
    """Three digits of what is large: nobody reads 1073741832K."""
    if one.length < LARGE:
        return format_size(one.length)
    size: float = one.length >> 20
    for unit, most in (("M", 10_000), ("G", 1000), ("T", 1 << 30)):
        if size < most:
            return f"{size:.0f}{unit}" if size >= 100 else f"{size:.3g}{unit}"
        size /= 1024
    raise AssertionError("no address space is as large")


def _ordinal(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"
