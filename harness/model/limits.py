"""Limits: what narrows an address space inside a guest. Frozen values, convertible to text and JSON.

A limit is independent of guest and subject; several are joined: `rlimit_as=300M+overcommit=2`. The
last six words are faults: answers that a kernel might give, which a tracer (images/agent/tracer.c)
gives to every program in the same way.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from foothold_lab.harness.model.errors import UsageError, nearest
from foothold_lab.harness.model.failures import Failure
from foothold_lab.harness.model.sizes import format_size, parse_size

# MAP_32BIT of x86-64 and the images of programs need the low 4 GiB
LOWEST_CEILING, HIGHEST_CEILING = 1 << 32, 1 << 57
# A plan does not know the pages of its guests: `misaligned` checks a limit against those of a guest.
SMALLEST_PAGE = 4096
DOCKER = "docker"  # instead of the file of a seccomp profile: Docker's own
_LARGEST_UID = 2**32 - 2  # -1 stands for none: setresuid(2)
SOFT = ":soft"  # behind the value of a resource limit: the hard limit stays as it is


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


FAULTS = ("ceiling", "occupied", "hints_ignored", "noreplace_unknown", "noreserve_ignored", "fail")
"""The limits that need a tracer."""
EVERYWHERE = Range(0, 1 << 62)


@functools.total_ordering
@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a cell, applied before the first instruction of the subject. Sizes are in bytes;
    None keeps the value of the guest.

    rlimit_*: setrlimit(2), soft and hard; only the soft one for the fields in `soft_only`, which
    are in the order of this class. user: name or number of the user that runs the subject. memory:
    of a cgroup. overcommit, max_map_count, mmap_rnd_bits, mmap_rnd_compat_bits, hugepages
    (nr_hugepages): vm.* of the whole guest, restored afterwards, and so is thp, the mode of
    transparent huge pages. legacy_layout: personality(2) ADDR_COMPAT_LAYOUT. wx_refused: memory
    that is writable and executable is refused. exec_refused: directories, absolute, whose files
    cannot be executed. seccomp: `docker`, or the file of a profile. ceiling: the address at which the address space
    ends. occupied: ranges that are mapped with PROT_NONE. hints_ignored: the range in which a hint
    is ignored. noreplace_unknown: MAP_FIXED_NOREPLACE has no effect, so the address is a hint.
    noreserve_ignored: MAP_NORESERVE has no effect.
    """

    rlimit_as: int | None = None
    rlimit_data: int | None = None
    rlimit_stack: int | None = None
    rlimit_fsize: int | None = None
    rlimit_memlock: int | None = None
    rlimit_nofile: int | None = None
    rlimit_nproc: int | None = None
    soft_only: tuple[str, ...] = ()
    user: str | None = None
    memory: int | None = None
    overcommit: int | None = None
    max_map_count: int | None = None
    mmap_rnd_bits: int | None = None
    mmap_rnd_compat_bits: int | None = None
    hugepages: int | None = None
    thp: str | None = None
    no_aslr: bool = False
    legacy_layout: bool = False
    wx_refused: bool = False
    exec_refused: tuple[str, ...] = ()
    seccomp: str | None = None
    ceiling: int | None = None
    occupied: tuple[Range, ...] = ()
    hints_ignored: Range | None = None
    noreplace_unknown: bool = False
    noreserve_ignored: bool = False
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
        return tuple(name for name in _FIELDS if getattr(self, name) != getattr(_NO_LIMITS, name))

    @property
    def faults(self) -> bool:
        """Does it need a tracer?"""
        return any(getattr(self, name) for name in FAULTS)

    @property
    def without_faults(self) -> Limits:
        """The limits that a kernel applies by itself."""
        return replace(self, **{name: getattr(_NO_LIMITS, name) for name in FAULTS})

    def misaligned(self, page_size: int) -> str:
        """Return the first address that is not a multiple of the page, as text; empty if all are."""
        ranges = [*self.occupied, *([self.hints_ignored] if self.hints_ignored else [])]
        addresses = [end for each in ranges for end in (each.start, each.end)]
        addresses += [self.ceiling] if self.ceiling else []
        return next((f"{each:#x}" for each in addresses if each % page_size), "")

    def _words(self) -> Iterator[str]:
        for name, word in _WORDS.items():
            value = getattr(self, word.field)
            if value == getattr(_NO_LIMITS, word.field):
                continue
            for each in value if word.repeated else (value,):
                written = word.write(each)
                soft = SOFT if word.field in self.soft_only else ""
                yield f"{name}={written}{soft}" if written else name

    def _order(self) -> list[Any]:
        """Return the sort key; None sorts first."""
        values = [getattr(self, name) for name in (*_FIELDS, "soft_only")]
        return [(value is not None, value if value is not None else 0) for value in values]


_NO_LIMITS = Limits()


@dataclass(frozen=True)
class _Word:
    """How one limit is written as text and read into its field. `softens`: its value may end in
    SOFT.
    """

    field: str
    usage: str
    read: Callable[[str], object]
    write: Callable[[Any], str]
    repeated: bool = False
    softens: bool = False


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


def parse_user(text: str) -> str:
    """Check the name or number of a user. Raises UsageError."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        raise UsageError(f"{text!r} is not a user", "write a name or a number, such as nobody")
    if text.isdecimal() and int(text) > _LARGEST_UID:
        raise UsageError(
            f"{text} is not the number of a user", f"write a number up to {_LARGEST_UID}"
        )
    return text


def _refused_directory(text: str) -> str:
    word, _, directory = text.partition("@")
    _one_of("refused")(word)
    path = PurePosixPath(directory)
    if str(path) != directory or not path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"{directory!r} is not the absolute path of a directory", "write exec=refused@/tmp"
        )
    if directory == "/" or not directory.isprintable():
        raise UsageError(
            f"no program could start with exec=refused@{directory}", "write exec=refused@/tmp"
        )
    return directory


def _profile(text: str) -> str:
    if not text or not text.isprintable():
        raise UsageError(f"{text!r} is not a seccomp profile", "write docker, or name a file")
    return text


def _size(field: str) -> _Word:
    return _Word(field, f"{field}=SIZE", parse_size, format_size)


def _rlimit(name: str, *, counts: bool = False) -> _Word:
    field = f"rlimit_{name}"
    if counts:
        return _Word(field, f"{field}=N[{SOFT}]", _count, str, softens=True)
    return _Word(field, f"{field}=SIZE[{SOFT}]", parse_size, format_size, softens=True)


def _word_for(field: str, usage: str) -> _Word:
    """Return the word of a field that is true or false: it has one value."""
    value = usage.partition("=")[2]
    return _Word(field, usage, lambda text: bool(_one_of(value)(text)), lambda _: value)


_WORDS: Mapping[str, _Word] = {
    "rlimit_as": _rlimit("as"),
    "rlimit_data": _rlimit("data"),
    "rlimit_stack": _rlimit("stack"),
    "rlimit_fsize": _rlimit("fsize"),
    "rlimit_memlock": _rlimit("memlock"),
    "rlimit_nofile": _rlimit("nofile", counts=True),
    "rlimit_nproc": _rlimit("nproc", counts=True),
    "user": _Word("user", "user=NAME", parse_user, str),
    "memory": _size("memory"),
    "overcommit": _Word(
        "overcommit", "overcommit=0|1|2", lambda text: int(_one_of("0", "1", "2")(text)), str
    ),
    "max_map_count": _Word("max_map_count", "max_map_count=N", _count, str),
    "mmap_rnd_bits": _Word("mmap_rnd_bits", "mmap_rnd_bits=N", _count, str),
    "mmap_rnd_compat_bits": _Word(
        "mmap_rnd_compat_bits", "mmap_rnd_compat_bits=N", _count, str
    ),
    "hugepages": _Word("hugepages", "hugepages=N", _count, str),
    "thp": _Word("thp", "thp=always|madvise|never", _one_of("always", "madvise", "never"), str),
    "no-aslr": _Word("no_aslr", "no-aslr", lambda text: not _one_of("")(text), lambda _: ""),
    "layout": _word_for("legacy_layout", "layout=legacy"),
    "wx": _word_for("wx_refused", "wx=refused"),
    "exec": _Word(
        "exec_refused", "exec=refused@DIR", _refused_directory,
        lambda directory: f"refused@{directory}", repeated=True,
    ),
    "seccomp": _Word("seccomp", "seccomp=docker|FILE", _profile, str),
    "ceiling": _Word("ceiling", "ceiling=Nbit|ADDRESS", _address, _width),
    "occupied": _Word("occupied", "occupied=START-END", Range.parse, str, repeated=True),
    "hints": _Word(
        "hints_ignored", "hints=ignored[@START-END]", _band,
        lambda band: "ignored" if band == EVERYWHERE else f"ignored@{band}",
    ),
    "noreplace": _word_for("noreplace_unknown", "noreplace=unknown"),
    "noreserve": _word_for("noreserve_ignored", "noreserve=ignored"),
    "fail": _Word("fail", "fail=CALL[WORDS]:WHEN:ERRNO", Failure.parse, str, repeated=True),
}  # fmt: skip
_MEANINGS = {
    "rlimit_as": "bytes of address space, as ulimit -v; `:soft` sets the soft limit alone",
    "rlimit_data": "bytes of private writable memory, as ulimit -d",
    "rlimit_stack": "bytes of stack, as ulimit -s",
    "rlimit_fsize": "bytes of a file that is written, as ulimit -f",
    "rlimit_memlock": "bytes of locked memory, as ulimit -l; root is exempt",
    "rlimit_nofile": "open files, as ulimit -n",
    "rlimit_nproc": "processes of the user, as ulimit -u; root is exempt",
    "user": "run the subject as this user, by name or number",
    "memory": "bytes of memory of a cgroup",
    "overcommit": "vm.overcommit_memory",
    "max_map_count": "vm.max_map_count: mappings of a process",
    "mmap_rnd_bits": "vm.mmap_rnd_bits: bits of an address that are random",
    "mmap_rnd_compat_bits": "the same for 32-bit programs of a 64-bit kernel",
    "hugepages": "vm.nr_hugepages: huge pages that are set apart",
    "thp": "the mode of transparent huge pages",
    "no-aslr": "no random addresses",
    "layout": "mappings are placed upward (ADDR_COMPAT_LAYOUT)",
    "wx": "refuse memory that is writable and executable, as MemoryDenyWriteExecute=",
    "exec": "refuse to execute or map as executable the files of DIR, as a mount with noexec",
    "seccomp": "refuse system calls as Docker does, or as a profile of the OCI does",
    "ceiling": "imitate an address space that ends there",
    "occupied": "map a range before the first instruction",
    "hints": "ignore addresses without MAP_FIXED",
    "noreplace": "MAP_FIXED_NOREPLACE has no effect, as before Linux 4.17",
    "noreserve": "MAP_NORESERVE has no effect",
    "fail": "let calls fail: hinted:1:ENOMEM, mprotect[exec]:*:EACCES",
}
USAGES = ("none", *(word.usage for word in _WORDS.values()))
EXPLAINED = tuple((word.usage, _MEANINGS[name]) for name, word in _WORDS.items())
"""How each limit is written, and what it does."""
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
    value, soft = value.strip(), word.softens and value.strip().endswith(SOFT)
    read: Any = word.read(value.removesuffix(SOFT) if soft else value)
    if word.repeated:
        read = (*getattr(limits, word.field), read)
    elif word.field in limits.named:
        raise UsageError(f"{name.strip()} occurs twice in {whole!r}", "give each limit once")
    softened = {*limits.soft_only, *([word.field] if soft else [])}
    soft_only = tuple(each for each in _FIELDS if each in softened)
    return replace(limits, **{word.field: read}, soft_only=soft_only)
