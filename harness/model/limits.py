"""Limits: what narrows an address space inside a guest. Frozen values, convertible to text and JSON.

A limit is independent of guest and subject; several are joined: `rlimit_as=300M+overcommit=2`. The
last four words are faults: answers that a kernel might give, which a tracer (images/agent/tracer.c)
gives to every program in the same way.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from foothold_lab.harness.model.errors import UsageError, did_you_mean, nearest
from foothold_lab.harness.model.sizes import format_size, parse_size

# MAP_32BIT of x86-64 and the images of programs need the low 4 GiB
LOWEST_CEILING, HIGHEST_CEILING = 1 << 32, 1 << 57
# A plan does not know the pages of its guests: `misaligned` checks a limit against those of a guest.
SMALLEST_PAGE = 4096
CALLS = ("mmap", "hinted", "munmap", "mprotect", "mremap", "madvise", "mincore", "getrlimit")


@dataclass(frozen=True, order=True)
class Range:
    """The addresses from `start` to `end`, exclusive."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read `0xc000000000-0xc100000000`. Raises UsageError."""
        start, dash, end = text.partition("-")
        one = cls(parse_size(start), parse_size(end)) if dash else cls(0, 0)
        if not one.start < one.end or one.start % SMALLEST_PAGE or one.end % SMALLEST_PAGE:
            raise UsageError(
                f"{text!r} is not a range of addresses",
                "write two addresses, whole pages, as START-END: 0xc000000000-0xc100000000",
            )
        return one

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.start

    def meets(self, start: int, length: int) -> bool:
        """Do the two overlap?"""
        return self.start < start + length and start < self.end

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.end:#x}"


EVERYWHERE = Range(0, 1 << 62)


@dataclass(frozen=True, order=True)
class Failure:
    """The n-th call of a kind fails, counted from the first instruction of the program over all its
    threads and children. `hinted` is an anonymous mmap with a hint: the loader makes none, so the
    first one is the program's own.
    """

    call: str
    nth: int
    errno: str

    @classmethod
    def parse(cls, text: str) -> Failure:
        """Read `mmap:3:ENOMEM`. Raises UsageError."""
        call, _, rest = text.partition(":")
        nth, _, name = rest.partition(":")
        counts = nth.isascii() and nth.isdigit() and 0 < int(nth) < 1 << 31
        errors = errno.errorcode.values()
        if call not in CALLS or not counts or name not in errors:
            word, words = (call, CALLS) if call not in CALLS else (name, errors)
            near = did_you_mean(word, words) if word not in words else ""
            raise UsageError(
                f"{text!r} does not describe a failing call{near}",
                f"write CALL:N:ERRNO, such as mmap:3:ENOMEM; calls are: {', '.join(CALLS)}",
            )
        return cls(call, int(nth), name)

    @property
    def number(self) -> int:
        """The number of the errno. The common ones are the same on all machines."""
        return int(getattr(errno, self.errno))

    def __str__(self) -> str:
        return f"{self.call}:{self.nth}:{self.errno}"


@functools.total_ordering
@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a cell, applied before the first instruction of the subject. Sizes are in bytes;
    None keeps the value of the guest.

    memory: of a cgroup. overcommit, max_map_count: vm.* of the whole guest, restored afterwards.
    legacy_layout: personality(2) ADDR_COMPAT_LAYOUT. ceiling: the address at which the address
    space ends. occupied: ranges that are mapped with PROT_NONE. hints_ignored: the range in which a
    hint is ignored.
    """

    rlimit_as: int | None = None
    rlimit_data: int | None = None
    rlimit_stack: int | None = None
    memory: int | None = None
    overcommit: int | None = None
    max_map_count: int | None = None
    no_aslr: bool = False
    legacy_layout: bool = False
    ceiling: int | None = None
    occupied: tuple[Range, ...] = ()
    hints_ignored: Range | None = None
    fail: tuple[Failure, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Read `none`, `rlimit_as=300M`, or several words joined by `+`.

        Raises UsageError, naming what is possible.
        """
        if text.strip() == "none":
            return cls()
        limits = cls()
        for part in text.split("+"):
            limits = _take(limits, part.strip(), text)
        return limits

    def __str__(self) -> str:
        return "+".join(self._words()) or "none"

    def __lt__(self, other: Limits) -> bool:
        return self._order() < other._order()

    @property
    def named(self) -> tuple[str, ...]:
        """The fields that are set."""
        return tuple(name for name in _FIELDS if getattr(self, name) != getattr(Limits(), name))

    @property
    def faults(self) -> bool:
        """Does it need a tracer?"""
        return bool(self.ceiling or self.occupied or self.hints_ignored or self.fail)

    @property
    def without_faults(self) -> Limits:
        """The limits that a kernel applies by itself."""
        return replace(self, ceiling=None, occupied=(), hints_ignored=None, fail=())

    def misaligned(self, page_size: int) -> str:
        """Return the first address that is not a multiple of the page, as text; empty if all are."""
        ranges = [*self.occupied, *([self.hints_ignored] if self.hints_ignored else [])]
        addresses = [end for each in ranges for end in (each.start, each.end)]
        addresses += [self.ceiling] if self.ceiling else []
        return next((f"{each:#x}" for each in addresses if each % page_size), "")

    def _words(self) -> Iterator[str]:
        for name, word in _WORDS.items():
            value = getattr(self, word.field)
            if value == getattr(Limits(), word.field):
                continue
            for each in value if word.repeated else (value,):
                written = word.write(each)
                yield f"{name}={written}" if written else name

    def _order(self) -> list[Any]:
        """Return the sort key; None sorts first."""
        values = [getattr(self, name) for name in _FIELDS]
        return [(value is not None, value if value is not None else 0) for value in values]


@dataclass(frozen=True)
class _Word:
    """How one limit is written as text and read into its field."""

    field: str
    usage: str
    read: Callable[[str], object]
    write: Callable[[Any], str]
    repeated: bool = False


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise UsageError(f"{text!r} is not an allowed value", f"write {' or '.join(allowed)}")
        return text

    return read


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise UsageError(f"{text!r} is not a count", "write a number such as 200")
    return int(text)


def _band(text: str) -> Range:
    word, at, band = text.partition("@")
    _one_of("ignored")(word)
    return Range.parse(band) if at else EVERYWHERE


def _address(text: str) -> int:
    """Read `39bit`, or an address. Raises UsageError."""
    bits = text.removesuffix("bit")
    if bits != text and bits.isascii() and bits.isdigit() and len(bits) < 4:
        end = 1 << int(bits)
    else:
        try:
            end = parse_size(text)
        except UsageError:
            end = 0
    if end % SMALLEST_PAGE or not LOWEST_CEILING <= end <= HIGHEST_CEILING:
        raise UsageError(
            f"no address space ends at {text}",
            "write its width, from 32bit to 57bit, or where it ends, in whole pages: 39bit, "
            "0x7fc0000000",
        )
    return end


def _width(end: int) -> str:
    return f"{end.bit_length() - 1}bit" if end & end - 1 == 0 else hex(end)


def _size(field: str) -> _Word:
    return _Word(field, f"{field}=SIZE", parse_size, format_size)


_WORDS: Mapping[str, _Word] = {
    "rlimit_as": _size("rlimit_as"),
    "rlimit_data": _size("rlimit_data"),
    "rlimit_stack": _size("rlimit_stack"),
    "memory": _size("memory"),
    "overcommit": _Word(
        "overcommit", "overcommit=0|1|2", lambda text: int(_one_of("0", "1", "2")(text)), str
    ),
    "max_map_count": _Word("max_map_count", "max_map_count=N", _count, str),
    "no-aslr": _Word("no_aslr", "no-aslr", lambda text: not _one_of("")(text), lambda _: ""),
    "layout": _Word(
        "legacy_layout", "layout=legacy", lambda text: bool(_one_of("legacy")(text)),
        lambda _: "legacy",
    ),
    "ceiling": _Word("ceiling", "ceiling=Nbit|ADDRESS", _address, _width),
    "occupied": _Word("occupied", "occupied=START-END", Range.parse, str, repeated=True),
    "hints": _Word(
        "hints_ignored", "hints=ignored[@START-END]", _band,
        lambda band: "ignored" if band == EVERYWHERE else f"ignored@{band}",
    ),
    "fail": _Word("fail", "fail=CALL:N:ERRNO", Failure.parse, str, repeated=True),
}  # fmt: skip
USAGES = ("none", *(word.usage for word in _WORDS.values()))
_FIELDS = tuple(word.field for word in _WORDS.values())


def _take(limits: Limits, part: str, whole: str) -> Limits:
    """Return the limits with one more word. Raises UsageError."""
    name, equals, value = part.partition("=")
    word = _WORDS.get(name.strip())
    if word is None or bool(equals) != ("=" in word.usage):
        usages = {"none": "none"} | {each: known.usage for each, known in _WORDS.items()}
        near = nearest(name.strip(), usages)
        did_you_mean = f": did you mean {usages[near]}?" if near else ""
        raise UsageError(
            f"unknown limit {part!r}{did_you_mean}",
            f"limits are: {', '.join(USAGES)}; join several with +: rlimit_as=300M+overcommit=2",
        )
    read: Any = word.read(value.strip())
    if word.repeated:
        read = (*getattr(limits, word.field), read)
    elif word.field in limits.named:
        raise UsageError(f"{name.strip()} occurs twice in {whole!r}", "give each limit once")
    return replace(limits, **{word.field: read})
