"""What qemu-user says of a program that it runs: its system calls, and the pages that it has.

Where an emulator plays the kernel there are two who can know. The emulator knows what the program
asked and was answered (`-strace`), and the protection of each page, which it enforces itself
(`-d page`, a table after each mmap); it writes both into one log. The host's kernel knows what
memory the emulator's process has, at addresses that are the program's plus a base. So the maps of a
program are here what both agree on: a range is there if the kernel says so, protected as the
emulator says.

Threads are not told apart, and write into one another's lines: of such a line the end is taken for
the call that began last, of those that can be answered so. Of a length the log has the lower 32
bits; how long a mapping is that was given is seen in the table after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from errno import errorcode

from foothold_lab.harness.evidence.maps import Mapping, MapsError, parse_maps
from foothold_lab.harness.evidence.strace import Call, Story, effects, split
from foothold_lab.harness.model.ledger import Map, Piece, Reservation, Step, settle
from foothold_lab.harness.model.record import Ending, Record

_TABLE = "page layout changed following mmap"
_ROW = re.compile(r"([0-9a-f]{8,16})-([0-9a-f]{8,16}) [0-9a-f]{8,16} ([r-][w-][x-])")
_HEAD = re.compile(r"start +end +size +prot")
_BASE = re.compile(r"Locating guest address space @ (0x[0-9a-f]+)")
_BEGUN = re.compile(r"(?P<pid>\d{1,10}) (?P<name>[a-z_][a-z0-9_]*)\((?P<rest>.*)")
_RESULT = re.compile(
    r" = (?:(?P<hex>0x[0-9a-f]+)|(?P<number>-?\d+))(?: errno=(?P<errno>\d+) \(.*?\))?(?: \(.*\))?"
)
_MEMORY = frozenset({"mmap", "mmap2", "munmap", "mprotect", "mremap"})
_PLACING = frozenset({"mmap", "mmap2", "brk", "shmat"})  # answered with an address, in hex
_REFUSALS = frozenset(
    {"EACCES", "EAGAIN", "EBADF", "EEXIST", "EINVAL", "ENODEV", "ENOMEM", "EPERM"}
)
_4_GIB = 1 << 32
_SHOWN = 200  # characters of a line that is quoted


@dataclass(frozen=True)
class Table:
    """The program's pages, as the emulator has them: (start, end, protection)."""

    rows: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Log:
    """What an emulator wrote, in its order. `base` is added to a program's address to get that of
    the host; `unread` are lines on memory that make no sense.
    """

    entries: tuple[Call | Table, ...]
    base: int
    unread: tuple[str, ...]


def read_log(text: bytes) -> Log:
    """Read a log. Never raises: what cannot be read is left out, or counted if it is on memory."""
    reader = _Reader()
    for line in text.decode(errors="backslashreplace").split("\n"):
        reader.line(line)
    reader.end_table()
    return Log(tuple(reader.entries), reader.base, tuple(reader.unread))


class _Reader:
    def __init__(self) -> None:
        self.entries: list[Call | Table] = []
        self.unread: list[str] = []
        self.base = 0
        self._begun: list[tuple[int, str, str]] = []  # pid, name, arguments
        self._rows: list[tuple[int, int, str]] | None = None
        self._now = self._before = Table(())

    def line(self, line: str) -> None:
        if self._rows is not None:
            if match := _ROW.fullmatch(line):
                self._rows.append((int(match[1], 16), int(match[2], 16), match[3]))
                return
            self.end_table()
        if match := _BASE.search(line):
            self.base = int(match[1], 16)
        elif _HEAD.fullmatch(line):
            self._rows = []
        elif line.startswith(" = "):
            self._finish(line)
        else:
            self._call(line.removesuffix(_TABLE), waits=line.endswith(_TABLE))

    def end_table(self) -> None:
        if self._rows is not None:
            self._before, self._now = self._now, Table(tuple(self._rows))
            self.entries.append(self._now)
            self._rows = None

    def _call(self, line: str, *, waits: bool) -> None:
        """One call or more, each begun within the one before; the last may have its result."""
        match = _BEGUN.search(line)
        while match:
            inner = re.search(rf"\)({_BEGUN.pattern})", match["rest"])
            rest = match["rest"][: inner.start() + 1] if inner else match["rest"]
            arguments, closed, result = rest.rpartition(") = ")
            if not closed:
                arguments, result = rest.rpartition(")")[0], ""
            self._begun.append((int(match["pid"]), match["name"], arguments))
            if result and not inner:
                self._finish(f" = {result}")
            elif match["name"] in ("exit", "exit_group") and not waits:
                self._end()
            match = _BEGUN.search(inner[1]) if inner else None

    def _end(self) -> None:
        """A call that does not come back."""
        pid, name, arguments = self._begun.pop()
        self.entries.append(
            Call(pid, name, split(arguments) or (), None, "", f"{name}({arguments})")
        )

    def _finish(self, text: str) -> None:
        match = _RESULT.match(text)
        if not self._begun or not match:
            return
        fits = self._answered(match)
        pid, name, arguments = self._begun.pop(-1 if fits is None else fits)
        line = f"{name}({arguments}){text}"[:_SHOWN]
        number = match["errno"]
        errno = errorcode.get(int(number), number) if number else ""
        parts = split(arguments)
        result = int(match["hex"] or match["number"], 0)
        if name in _MEMORY and (parts is None or fits is None):
            self.unread.append(line)
            return
        if name in _MEMORY and parts and re.fullmatch(r"-?\d{1,10}", "".join(parts[1:2])):
            length = int(parts[1]) % _4_GIB
            if name in _PLACING and not errno:
                length = self._whole(length, result)
            parts = (parts[0], str(length), *parts[2:])
        self.entries.append(Call(pid, name, parts or (), result, errno, line))

    def _answered(self, match: re.Match[str]) -> int | None:
        """Find the call that this answers: the last begun of those that can be."""
        refusal = errorcode.get(int(match["errno"]), "") if match["errno"] else ""
        for place in range(len(self._begun) - 1, -1, -1):
            places = self._begun[place][1] in _PLACING
            if refusal and (not places or refusal in _REFUSALS):
                return place
            if not refusal and places == bool(match["hex"]):
                return place
        return None

    def _whole(self, low: int, start: int) -> int:
        """Return the length of what was mapped at `start`, by its lower 32 bits: it ends where the
        table has an end, or had something already.
        """
        ends = [end for first, end, _ in self._now.rows if first <= start < end]
        ends += [first for first, end, _ in self._before.rows if end > start]
        room = min(ends, default=start) - start
        return low + max(0, (room - low) // _4_GIB * _4_GIB)


def story_of(log: Log, pid: int) -> Story:
    """Follow the program's own address space. What it was loaded from was mapped by the emulator,
    without a call.
    """
    steps: list[Step] = []
    unread = list(log.unread)
    threads = children = 0
    ending = ""
    for call in _calls(log, pid):
        if call.name in ("clone", "clone3", "fork", "vfork"):
            # with a thread the result may be another's: there is one as soon as it is asked for
            if any("CLONE_THREAD" in each for each in call.args):
                threads += 1
            elif call.result:
                children += 1
        elif call.name == "exit_group" and re.fullmatch(r"\d{1,10}", "".join(call.args)):
            ending = f"exited with {int(call.args[0]) & 0xFF}"
        else:
            try:
                steps += effects(call)
            except (ValueError, IndexError):
                unread.append(call.line)
    return Story(tuple(steps), (), threads, children, tuple(unread), ending)


def doubts(story: Story, ending: Ending) -> list[str]:
    """Say what makes the log a poor witness, or a false one of the program's end."""
    found = []
    if story.unread and not story.threads:
        found.append(f"{len(story.unread)} calls of the log make no sense: {story.unread[0]!r}")
    if not ending.signal and story.ending != f"exited with {ending.status}":
        says = f"says {story.ending}" if story.ending else "ends before the program"
        found.append(f"the emulator's log {says}; the agent saw it exited with {ending.status}")
    return found


def maps_at(record: Record, log: Log, moment: str) -> tuple[Mapping, ...]:
    """Return what the program has mapped at a moment: what is in the emulator's table, and also in
    the host's maps. Raises MapsError if those are none, or if the log does not reach that far.

    A program that is held reads its standard input, each time once.
    """
    host = parse_maps(record.maps[moment])
    entries = log.entries
    if not record.running:
        nth = list(record.maps).index(moment)
        reads = [
            place
            for place, each in enumerate(entries)
            if isinstance(each, Call)
            and each.pid == record.pid
            and each.name == "read"
            and each.args[:1] == ("0",)
        ]
        if len(reads) <= nth:
            raise MapsError(
                f"the emulator's log shows {len(reads)} reads of standard input, "
                f"so it does not say when {moment} was"
            )
        entries = entries[: reads[nth]]
    pieces = _pieces(entries, record.pid)
    return tuple(each for piece in pieces for each in _seen(piece, host, log.base))


def _pieces(entries: Sequence[Call | Table], pid: int) -> tuple[Piece, ...]:
    """The last table, and what was unmapped and protected after it."""
    last = max((n for n, each in enumerate(entries) if isinstance(each, Table)), default=None)
    if last is None:
        raise MapsError("the emulator's log has no table of pages")
    table = entries[last]
    assert isinstance(table, Table)
    steps: list[Step] = [
        Map(Reservation(None, end - start, protection, frozenset(), start))
        for start, end, protection in table.rows
    ]
    later = [each for each in entries[last:] if isinstance(each, Call) and each.pid == pid]
    for call in later:
        if call.name in _MEMORY - {"mmap", "mmap2"}:
            steps += effects(call)
    return settle(steps).layout


def _seen(piece: Piece, host: Sequence[Mapping], base: int) -> Iterator[Mapping]:
    """The parts of a piece that the host's kernel has, at the program's own addresses."""
    for each in host:
        start = max(each.start - base, piece.start)
        end = min(each.end - base, piece.end)
        if start >= end:
            continue
        # a page with code in it that was translated is kept from being written unnoticed
        there = piece.protection[0] == "-" or each.permissions[0] == "r"
        protection = piece.protection if there else "---"
        yield replace(
            each,
            start=start,
            end=end,
            permissions=protection + each.permissions[3],
            offset=each.offset + start + base - each.start,
        )


def _calls(log: Log, pid: int) -> Iterator[Call]:
    return (each for each in log.entries if isinstance(each, Call) and each.pid == pid)
