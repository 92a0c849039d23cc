"""The system calls that map, unmap, move or protect memory, and what each does to a ledger.

docs/mapping-calls.md has the same list with the kernel source of each call. The agent traces
TRACED_CALLS (CALLS in images/agent/strace_exec.c, `forms` in images/agent/trace_writer.c);
tests/unit/harness/test_mapping_calls.py compares the three.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from foothold_lab.harness.model.ledger import (
    PRIVATE_ANONYMOUS,
    Map,
    Protect,
    Remap,
    Reservation,
    Step,
    Unmap,
    Unsure,
)

CHANGING_CALLS = frozenset(
    {
        "mmap",
        "mmap2",
        "munmap",
        "mprotect",
        "pkey_mprotect",
        "mremap",
        "shmat",
        "shmdt",
        "map_shadow_stack",
    }
)
"""The calls that change a ledger."""

OTHER_MAPPING_CALLS = frozenset(
    {
        "brk",
        "personality",
        "remap_file_pages",
        "shmget",
        "mseal",
        "process_madvise",
        "io_setup",
        "io_destroy",
        "io_uring_setup",
        "userfaultfd",
    }
)
"""Calls that are traced because the kernel may refuse them memory, or because they explain an
answer to a later call. They leave all private anonymous mappings as they are."""

TRACED_CALLS = CHANGING_CALLS | OTHER_MAPPING_CALLS

_SHM_RDONLY, _SHM_REMAP, _SHM_EXEC = 0o10000, 0o40000, 0o100000  # include/uapi/linux/shm.h
_MREMAP_FIXED, _MREMAP_DONTUNMAP = 2, 4  # include/uapi/linux/mman.h
_READ_IMPLIES_EXEC = 0x0400000  # include/uapi/linux/personality.h
_QUERY = "0xffffffff"  # personality(2): change nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A system call that came back. `result` is None if it never did, `errno` a name or empty.

    `injected`: the tracer gave this answer, or made the call.
    """

    pid: int
    name: str
    args: tuple[str, ...]
    result: int | None
    errno: str
    line: str
    injected: bool = False


class MappingEffects:
    """What the calls of one trace did to address spaces, call by call.

    It remembers the sizes of System V segments, which shmat(2) and shmdt(2) do not name, and the
    threads whose readable mappings the kernel makes executable (READ_IMPLIES_EXEC: do_mmap() in
    mm/mmap.c, do_mprotect_pkey() in mm/mprotect.c).
    """

    def __init__(self) -> None:
        self._segments: dict[int, int] = {}  # identifier -> bytes
        self._attached: dict[int, int] = {}  # address -> bytes
        self._implies_exec: dict[int, bool] = {}  # thread -> its personality has READ_IMPLIES_EXEC

    def note_segment(self, call: Call) -> None:
        """Remember the size of a segment that any process of the trace got from shmget(2)."""
        if call.name == "shmget" and call.result is not None and not call.errno:
            self._segments[call.result] = number(call.args[1])

    def note_personality(self, call: Call) -> None:
        """Remember the personality that a thread has chosen with personality(2)."""
        if call.name == "personality" and not call.errno and call.args[0] != _QUERY:
            bits = _bits(call.args[0], {"READ_IMPLIES_EXEC": _READ_IMPLIES_EXEC})
            self._implies_exec[call.pid] = bool(bits & _READ_IMPLIES_EXEC)

    def note_thread(self, starter: int, thread: int) -> None:
        """Remember that a thread, or a process, begins with the personality of its starter."""
        if self._implies_exec.get(starter):
            self._implies_exec.setdefault(thread, True)

    def step(self, call: Call) -> Step | None:
        """Return what a call did to the address space, or that it was refused addresses; None if it
        did nothing.

        Raises ValueError or IndexError if its arguments are not those of such a call.
        """
        step: Step | None
        if call.name == "shmat":
            step = self._attach(call)
        elif call.name == "shmdt":
            step = self._detach(call)
        else:
            effect = _EFFECTS.get(call.name)
            step = effect(call) if effect else None
        return _made_executable(step) if self._implies_exec.get(call.pid) else step

    def _attach(self, call: Call) -> Step | None:
        segment, requested, bits = call.args[:3]
        length = self._segments.get(number(segment))
        if length is None or call.result is None:
            return None
        flags = _bits(bits, {"SHM_RDONLY": _SHM_RDONLY, "SHM_REMAP": _SHM_REMAP,
                             "SHM_EXEC": _SHM_EXEC})  # fmt: skip
        if not call.errno:
            self._attached[call.result] = length
        writable = "-" if flags & _SHM_RDONLY else "w"
        replaces = "FIXED" if flags & _SHM_REMAP else "FIXED_NOREPLACE"
        reservation = Reservation(
            requested=number(requested),
            length=length,
            protection=f"r{writable}{'x' if flags & _SHM_EXEC else '-'}",
            flags=frozenset({"SHARED", replaces}) if number(requested) else frozenset({"SHARED"}),
            granted=None if call.errno else call.result,
            errno=call.errno,
        )
        return Map(reservation, call.line, call.pid)

    def _detach(self, call: Call) -> Step | None:
        length = self._attached.pop(number(call.args[0]), None) if call.result == 0 else None
        return None if length is None else Unmap(number(call.args[0]), length, call.line)


def mapped(call: Call) -> Map:
    """Return the step of an mmap(2) that came back. Raises ValueError or IndexError."""
    requested, length, bits, flags = call.args[:4]
    granted = None if call.errno else call.result
    reservation = Reservation(
        requested=number(requested),
        length=number(length),
        protection=_protection(bits),
        flags=_flags(flags),
        granted=granted,
        errno=call.errno,
        injected=call.injected and granted is not None,
    )
    return Map(reservation, call.line, call.pid)


def _map(call: Call) -> Step | None:
    return None if call.result is None else mapped(call)


def _map_shadow_stack(call: Call) -> Step | None:
    """It maps private anonymous memory, which the maps show as `rw-p` (arch/x86/kernel/shstk.c)."""
    if call.result is None:
        return None
    reservation = Reservation(
        requested=number(call.args[0]),
        length=number(call.args[1]),
        protection="rw-",
        flags=PRIVATE_ANONYMOUS,
        granted=None if call.errno else call.result,
        errno=call.errno,
    )
    return Map(reservation, call.line, call.pid)


def _unmap(call: Call) -> Step | None:
    if call.result != 0:
        return None
    return Unmap(number(call.args[0]), number(call.args[1]), call.line)


def _protect(call: Call) -> Step | None:
    """Of mprotect(2) and pkey_mprotect(2): the key changes what a thread may do, not the maps."""
    if call.result is None or call.injected or call.errno == "EINVAL":
        return None  # EINVAL: the kernel looks at the arguments first
    start, length, bits = call.args[:3]
    return Protect(
        start=number(start),
        length=number(length),
        protection=_protection(bits),
        line=call.line,
        errno=call.errno,
    )


def _remap(call: Call) -> Step | None:
    names = {"MREMAP_FIXED": _MREMAP_FIXED, "MREMAP_DONTUNMAP": _MREMAP_DONTUNMAP}
    start, length, new_length = (number(each) for each in call.args[:3])
    flags = _bits(call.args[3], names)
    if call.errno and flags & _MREMAP_FIXED and not call.injected:
        # mremap_to() in mm/mremap.c unmaps the destination first
        return Unsure(number(call.args[4]), new_length, call.line)
    if call.errno or not call.result:
        return None
    return Remap(
        start=start,
        length=length,
        new_start=call.result,
        new_length=new_length,
        line=call.line,
        keeps_old=bool(flags & _MREMAP_DONTUNMAP) or not length,
    )


_EFFECTS: Mapping[str, Callable[[Call], Step | None]] = {
    "mmap": _map,
    "mmap2": _map,
    "munmap": _unmap,
    "mprotect": _protect,
    "pkey_mprotect": _protect,
    "mremap": _remap,
    "map_shadow_stack": _map_shadow_stack,
}


def _made_executable(step: Step | None) -> Step | None:
    """Return the step of a thread whose readable mappings become executable."""
    if isinstance(step, Protect) and step.protection[0] == "r":
        return replace(step, protection=f"{step.protection[:2]}x")
    if isinstance(step, Map) and step.reservation.protection[0] == "r":
        one = step.reservation
        return replace(step, reservation=replace(one, protection=f"{one.protection[:2]}x"))
    return step


def number(text: str) -> int:
    """Read an address or a length as strace writes it. Raises ValueError."""
    return 0 if text == "NULL" else int(text, 0)


def _bits(text: str, names: Mapping[str, int]) -> int:
    """Read flags that are written as names, as a number, or as both. Other names are left out."""
    total = 0
    for each in text.split("|"):
        if each in names:
            total |= names[each]
        elif each[:1].isdigit():
            total |= int(each, 8 if each[:1] == "0" and each.isdigit() else 0)
    return total


@functools.lru_cache(1024)
def _flags(text: str) -> frozenset[str]:
    return frozenset(each.removeprefix("MAP_") for each in text.split("|"))


_PROTECTIONS = frozenset(
    {
        "PROT_NONE",
        "PROT_READ",
        "PROT_WRITE",
        "PROT_EXEC",
        "PROT_GROWSDOWN",
        "PROT_GROWSUP",
        "PROT_SEM",
        "PROT_BTI",
        "PROT_MTE",
        "0x10",  # PROT_BTI of arm64, the number as qemu-user 7.2 writes it
        "0x20",  # PROT_MTE of arm64
    }
)


@functools.lru_cache(1024)
def _protection(bits: str) -> str:
    names = set(bits.split("|"))
    if not names <= _PROTECTIONS:
        raise ValueError(bits)
    letters = (("PROT_READ", "r"), ("PROT_WRITE", "w"), ("PROT_EXEC", "x"))
    return "".join(letter if name in names else "-" for name, letter in letters)
