"""What qemu-user logs about a program that it runs: its system calls and its pages.

Two witnesses know what an emulated program has mapped. The emulator logs what the program requested
and what it was answered (`-strace`), and the protection of each page, which it enforces itself
(`-d page`, a table after each mmap). The kernel of the host knows what memory the process of the
emulator has, at the addresses of the program plus a base. The maps of a program are therefore what
both agree on: a range is mapped if the kernel shows it, with the protection that the emulator gives.

A line begins with a number: of the process with QEMU 7.2, of the thread with QEMU 10. Two threads may
write into one line. The result at the end of such a line is assigned to the latest pending call of a
matching type. The log has only the lower 32 bits of a length; the table after a mapping shows how
long it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from errno import errorcode

from foothold_lab.harness.evidence.mapping_calls import Call, MappingEffects
from foothold_lab.harness.evidence.maps import MappedRange, MapsError, RangeIndex, parse_maps
from foothold_lab.harness.evidence.refusals import RefusedCalls, refused_call
from foothold_lab.harness.evidence.strace import SubjectTrace, split
from foothold_lab.harness.model.deadline import Check, checked, unchecked
from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.ledger import (
    UNKNOWN_PROTECTION,
    Map,
    Piece,
    Reservation,
    Step,
    replay,
)
from foothold_lab.harness.model.record import Ending, Record

_TABLE = "page layout changed following mmap"
_ROW = re.compile(r"([0-9a-f]{8,16})-([0-9a-f]{8,16}) [0-9a-f]{8,16} ([r-][w-][x-])")
_HEAD = re.compile(r"start +end +size +prot")
_BASE = re.compile(r"Locating guest address space @ (0x[0-9a-f]{1,16})\b")
_BEGUN = re.compile(r"(?P<pid>[0-9]{1,10}) (?P<name>[a-z_][a-z0-9_]*)\((?P<rest>.*)")
_RESULT = re.compile(
    r" = (?:(?P<hex>0x[0-9a-f]{1,32})|(?P<number>-?[0-9]{1,20}))(?![0-9a-f])"
    r"(?: errno=(?P<errno>[0-9]{1,5}) \(.*?\))?(?: \(.*\))?"
)
_MEMORY = frozenset({"mmap", "mmap2", "munmap", "mprotect", "mremap"})
_PLACING = frozenset({"mmap", "mmap2", "brk", "shmat"})  # answered with an address, in hex
_REFUSALS = frozenset(
    {"EACCES", "EAGAIN", "EBADF", "EEXIST", "EINVAL", "ENODEV", "ENOMEM", "EPERM"}
)
_EXITS = ("exit", "exit_group")
_MAKES_TASKS = ("clone", "clone3", "fork", "vfork")
_IS_THREAD = "CLONE_THREAD"  # among the flags of clone(2)
_HARMLESS = ("F_GETFD", "F_GETFL", "F_SETFD")  # Node.js sets FD_CLOEXEC for all its descriptors
LOG_DESCRIPTOR = "3"  # of the log, in the process of the emulator: the first that it opens
_WITH_DESCRIPTOR = frozenset(
    {
        "write", "writev", "pwrite64", "pwritev", "pwritev2", "send", "sendto", "sendmsg", "vmsplice",
        "dup", "dup2", "dup3", "fcntl", "fcntl64",
        "ftruncate", "fallocate", "close", "ioctl",
    }
)  # fmt: skip
_BETWEEN = frozenset({"sendfile", "sendfile64", "splice", "tee", "copy_file_range"})
_OPENS = frozenset({"open", "openat", "openat2"})
_EXECS = frozenset({"execve", "execveat"})
# calls that reach the memory or the descriptors of another process: of the emulator of a parent
_INTO_PROCESSES = frozenset({"process_vm_writev", "pidfd_getfd"})
_MEMORY_FILE = re.compile(r"/proc/(?:self|thread-self|[0-9]+)(?:/task/[0-9]+)?/mem\b")
_4_GIB = 1 << 32
_SHOWN = 200  # characters of a line that is quoted


@dataclass(frozen=True)
class Table:
    """The pages of the program, as the emulator lists them: (start, end, protection)."""

    rows: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Log:
    """What an emulator wrote, in order. An address of the program plus `base` is the address in the
    process of the emulator. `unread` are lines about memory that make no sense.
    """

    entries: tuple[Call | Table, ...]
    base: int
    unread: tuple[str, ...]


def read_log(text: bytes, check: Check = unchecked) -> Log:
    """Read a log. A line that makes no sense is dropped, or kept in `unread` if it is about memory.
    Raises only what `check` raises.
    """
    reader = _Reader()
    for line in checked(io.BytesIO(text), check):
        reader.line(line.decode(errors="backslashreplace").removesuffix("\n"))
    reader.end_table()
    return Log(tuple(reader.entries), reader.base, tuple(reader.unread))


class _Reader:
    def __init__(self) -> None:
        self.entries: list[Call | Table] = []
        self.unread: list[str] = []
        self.base = 0
        self._begun: list[tuple[int, str, str]] = []  # pid, name, arguments
        self._processes: dict[int, int] = {}  # of a number at the beginning of a line
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
            self._call(line.removesuffix(_TABLE))

    def end_table(self) -> None:
        if self._rows is not None:
            self._before, self._now = self._now, Table(tuple(self._rows))
            self.entries.append(self._now)
            self._rows = None

    def _call(self, line: str) -> None:
        """Read one call or more, each begun inside the one before. The last may have a result: its
        own, or after an exit that of another thread.
        """
        match = _BEGUN.search(line)
        while match:
            inner = re.search(rf"\)({_BEGUN.pattern})", match["rest"])
            rest = match["rest"][: inner.start() + 1] if inner else match["rest"]
            arguments, closed, result = rest.rpartition(") = ")
            if not closed:
                arguments, result = rest.rpartition(")")[0], ""
            self._begun.append((self._process(int(match["pid"])), match["name"], arguments))
            if match["name"] in _EXITS:
                self._end()
            elif match["name"] in _EXECS:  # what follows may not be of the emulator
                self.entries.append(self._without_result())
            if result and not inner:
                self._finish(f" = {result}")
            match = _BEGUN.search(inner[1]) if inner else None

    def _process(self, number: int) -> int:
        """Return the process of a thread. Its first call may come before the result of the call that
        made it.
        """
        if number not in self._processes:
            made = [each for each in self._begun if each[1] in _MAKES_TASKS]
            thread = bool(made) and _IS_THREAD in made[-1][2]
            self._processes[number] = made[-1][0] if thread else number
        return self._processes[number]

    def _end(self) -> None:
        """Note a call that does not come back."""
        self.entries.append(self._without_result())
        self._begun.pop()

    def _without_result(self) -> Call:
        pid, name, arguments = self._begun[-1]
        args, line = split(arguments) or (), f"{name}({arguments})"
        return Call(pid=pid, name=name, args=args, result=None, errno="", line=line)

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
        result = int(match["hex"], 16) if match["hex"] else int(match["number"])
        if name in _MAKES_TASKS and result > 0:
            self._processes.setdefault(result, pid if _IS_THREAD in arguments else result)
        if name in _MEMORY and (parts is None or fits is None):
            self.unread.append(line)
            return
        if name in _MEMORY and parts and re.fullmatch(r"-?[0-9]{1,10}", "".join(parts[1:2])):
            length = int(parts[1]) % _4_GIB
            if name in _PLACING and not errno:
                length = self._whole(length, result)
            parts = (parts[0], str(length), *parts[2:])
        self.entries.append(
            Call(pid=pid, name=name, args=parts or (), result=result, errno=errno, line=line)
        )

    def _answered(self, match: re.Match[str]) -> int | None:
        """Find the pending call that this result belongs to: the latest of a matching type."""
        refusal = errorcode.get(int(match["errno"]), "") if match["errno"] else ""
        for place in range(len(self._begun) - 1, -1, -1):
            places = self._begun[place][1] in _PLACING
            if refusal and (not places or refusal in _REFUSALS):
                return place
            if not refusal and places == bool(match["hex"]):
                return place
        return None

    def _whole(self, low: int, start: int) -> int:
        """Return the length of what was mapped at `start`, given its lower 32 bits. It ends where a
        row of the table ends, or where a row of the table before begins.
        """
        ends = [end for first, end, _ in self._now.rows if first <= start < end]
        ends += [first for first, end, _ in self._before.rows if end > start]
        room = min(ends, default=start) - start
        return low + max(0, (room - low) // _4_GIB * _4_GIB)


def follow_subject(log: Log, pid: int) -> SubjectTrace:
    """Follow the address space of the program. The emulator has loaded the program itself, without a
    call. It ends with exit_group(2), or with the exit(2) of its last thread (qemu: do_syscall1() in
    linux-user/syscall.c).
    """
    steps: list[Step] = []
    unread = list(log.unread)
    threads = children = 0
    ending = ""
    effects = MappingEffects()
    refused = RefusedCalls()
    for call in _calls(log, pid):
        if call.name in _MAKES_TASKS:
            # the result may be that of another thread: the request alone counts
            if any(_IS_THREAD in each for each in call.args):
                threads += 1
            elif call.result:
                children += 1
        elif call.name in _EXITS and re.fullmatch(r"[0-9]{1,10}", "".join(call.args)):
            ending = f"exited with {int(call.args[0]) & 0xFF}"
        else:
            try:
                effects.note_segment(call)
                if step := effects.step(call):
                    steps.append(step)
                if one := refused_call(call):
                    refused.add(one)
            except (ValueError, IndexError):
                unread.append(call.line)
    return SubjectTrace(
        steps=tuple(steps),
        threads=threads,
        children=children,
        unread=tuple(unread),
        refused=refused.groups(),
        ending=ending,
        touched=_first_touch(log, pid),
    )


def _first_touch(log: Log, pid: int) -> str:
    """Return the first call that may have changed the log; empty without one. A child may close it,
    as any descriptor that it has inherited. The emulator logs a call before it does it.

    A program of this machine that is executed leaves the emulator and inherits the log: it may write
    there that it was not executed. So a call of the subject about memory after an attempt counts.
    """
    executed = ""
    for call in log.entries:
        if not isinstance(call, Call):
            continue
        if _touches_log(call, own=call.pid == pid):
            return call.line[:_SHOWN]
        if executed and call.pid == pid and call.name in _MEMORY:
            return executed
        if call.name in _EXECS:
            executed = executed or call.line[:_SHOWN]
    return ""


def _touches_log(call: Call, *, own: bool) -> bool:
    if call.name in _INTO_PROCESSES:
        return True
    if call.name in _OPENS:
        return any(
            re.search(rf"/fd/{LOG_DESCRIPTOR}\b", each) or _MEMORY_FILE.search(each)
            for each in call.args
        )
    if call.name in ("close", "close_range") and not own:
        return False
    if call.name == "close_range":
        first, last = (*call.args, "", "")[:2]
        return first.isdecimal() and int(first) <= int(LOG_DESCRIPTOR) and last != "2"
    if call.name == "mmap":
        return call.args[4:5] == (LOG_DESCRIPTOR,)
    if call.name in ("fcntl", "fcntl64") and call.args[1:2] and call.args[1] in _HARMLESS:
        return False
    if call.name in _WITH_DESCRIPTOR:
        return call.args[:1] == (LOG_DESCRIPTOR,)
    return call.name in _BETWEEN and LOG_DESCRIPTOR in call.args[:3]


def doubts(subject: SubjectTrace, ending: Ending) -> list[Finding]:
    """Return what makes the log an unreliable witness, or a false one of the program's end."""
    found = []
    if subject.unread and not subject.threads:
        text = (
            f"{len(subject.unread)} calls of the log make no sense, such as {subject.unread[0]!r}."
        )
        found.append(Finding(Code.TRACE_UNREADABLE, text))
    if subject.touched:
        text = (
            f"The program could change the emulator's log, which is open as {LOG_DESCRIPTOR} in its "
            f"process: `{subject.touched}`. What the log says from there on may be forged."
        )
        found.append(Finding(Code.LOG_TOUCHED, text))
    if not ending.signal and subject.ending != f"exited with {ending.status}":
        says = f"says `{subject.ending}`" if subject.ending else "ends before the program"
        text = f"The emulator's log {says}; the agent saw `exited with {ending.status}`."
        found.append(Finding(Code.TRACE_VS_ENDING, text))
    return found


def maps_at(record: Record, log: Log, checkpoint: str) -> tuple[MappedRange, ...]:
    """Return what the program has mapped at a checkpoint: what both the table of the emulator and
    the maps of the host show. Raises MapsError if these are not maps, or if the log ends before.

    At each checkpoint the program reads its standard input once.
    """
    host = parse_maps(record.maps[checkpoint])
    entries = log.entries
    if not record.stopped:
        nth = list(record.maps).index(checkpoint)
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
                f"the emulator's log shows {len(reads)} reads of standard input, too few for the "
                f"checkpoint {checkpoint}"
            )
        entries = entries[: reads[nth]]
    pieces = _pieces(entries, record.pid)
    there = RangeIndex(host)
    loaded = _loaded(entries)
    seen = (each for piece in pieces for each in _seen(piece, there, log.base))
    return tuple(_named(each, loaded) for each in seen)


def _loaded(entries: Sequence[Call | Table]) -> tuple[tuple[int, int, str], ...]:
    """Return the writable rows of the last table before the first call: the emulator has mapped them,
    the stack among them, which is executable on mips64.
    """
    rows: tuple[tuple[int, int, str], ...] = ()
    for each in entries:
        if isinstance(each, Call):
            break
        rows = each.rows
    return tuple(row for row in rows if "w" in row[2])


def _named(mapping: MappedRange, loaded: Sequence[tuple[int, int, str]]) -> MappedRange:
    """Name a mapping that the emulator made before the program started, as the kernel names its own."""
    if mapping.name or not any(
        start <= mapping.start and mapping.end <= end for start, end, _ in loaded
    ):
        return mapping
    return replace(mapping, name="[emulator]")


def _pieces(entries: Sequence[Call | Table], pid: int) -> tuple[Piece, ...]:
    """Return the rows of the last table, changed by what was unmapped and protected after it."""
    tables = (n for n in reversed(range(len(entries))) if isinstance(entries[n], Table))
    last = next(tables, None)
    if last is None:
        raise MapsError("the emulator's log has no table of pages")
    table = entries[last]
    assert isinstance(table, Table)
    steps: list[Step] = [
        Map(
            Reservation(
                requested=None,
                length=end - start,
                protection=protection,
                flags=frozenset(),
                granted=start,
            )
        )
        for start, end, protection in table.rows
    ]
    effects = MappingEffects()
    later = [each for each in entries[last:] if isinstance(each, Call) and each.pid == pid]
    for call in later:
        if call.name in _MEMORY - {"mmap", "mmap2"}:
            try:
                step = effects.step(call)
            except (ValueError, IndexError):
                raise MapsError(f"the emulator's log makes no sense: {call.line!r}") from None
            steps += [step] if step else []
    return replay(steps).layout


def _seen(piece: Piece, host: RangeIndex[MappedRange], base: int) -> Iterator[MappedRange]:
    """Return the parts of a piece that the kernel of the host has, at the program's addresses."""
    for each in host.overlapping(piece.start + base, piece.end + base):
        start = max(each.start - base, piece.start)
        end = min(each.end - base, piece.end)
        # the emulator write-protects a page whose code it has translated
        there = piece.protection[0] != "r" or each.permissions[0] == "r"
        protection = piece.protection if there else "---"
        if piece.protection == UNKNOWN_PROTECTION:
            protection = each.permissions[:3]
        yield replace(
            each,
            start=start,
            end=end,
            permissions=protection + each.permissions[3],
            offset=each.offset + start + base - each.start,
        )


def _calls(log: Log, pid: int) -> Iterator[Call]:
    return (each for each in log.entries if isinstance(each, Call) and each.pid == pid)
