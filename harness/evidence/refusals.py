"""The calls with which a program asked for memory and was refused, folded into few lines."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from foothold_lab.harness.evidence.mapping_calls import TRACED_CALLS, Call, mapped, number
from foothold_lab.harness.model.ledger import Reservation
from foothold_lab.harness.model.sizes import format_size

STARTERS = frozenset({"clone", "clone3", "fork", "vfork"})
"""The calls that start a thread or a process, which need memory of the kernel."""

_NEED_NO_MEMORY = {"mincore", "personality", "process_madvise", "shmdt", "io_destroy"}
_CALLS = (TRACED_CALLS | STARTERS) - _NEED_NO_MEMORY
_NO_REFUSALS = ("ENOSYS", "ERESTART", "EINTR")  # the kernel lacks the call, or repeats it
_MOST_SHOWN = 8  # groups in a line of evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    """A call that was refused, as a reader needs it. `likeness` is equal for like calls.

    `reservation` is what an mmap(2) requested. `count` like calls were refused; `last` is the text
    of the last one.
    """

    name: str
    text: str
    likeness: Hashable
    reservation: Reservation | None = None
    count: int = 1
    last: str = ""

    def __str__(self) -> str:
        if self.count == 1:
            return self.text
        return f"{self.text}, and {self.count - 1:,} more, the last: {self.last}"


def refused_call(call: Call) -> RefusedCall | None:
    """Return a call that was refused memory; None if it was granted, or did not ask for any.

    The kernel refuses brk(2) by leaving the heap as it is, without an errno. A refused munmap(2)
    counts if the kernel lacked memory for it: it splits a mapping.

    Raises ValueError or IndexError if the arguments are not those of such a call.
    """
    if call.name not in _CALLS:
        return None
    if call.name == "brk":
        return _refused_brk(call)
    if not call.errno or call.errno.startswith(_NO_REFUSALS):
        return None
    if call.name == "munmap" and call.errno != "ENOMEM":
        return None
    if call.name in ("mmap", "mmap2"):
        one = mapped(call).reservation
        likeness = (call.errno, one.protection, one.flags, bool(one.requested))
        return RefusedCall(
            name=call.name, text=f"mmap, {one}", likeness=("mmap", *likeness), reservation=one
        )
    protection = call.args[2] if call.name in ("mprotect", "pkey_mprotect") else ""
    return RefusedCall(name=call.name, text=call.line, likeness=(call.name, call.errno, protection))


def _refused_brk(call: Call) -> RefusedCall | None:
    requested = number(call.args[0])
    if call.result is None or call.result >= requested:
        return None
    more = requested - call.result
    size = format_size(more) if more % 1024 == 0 else f"{more} bytes"
    return RefusedCall(
        name="brk", text=f"{call.line}, the heap does not grow by {size}", likeness=("brk",)
    )


class RefusedCalls:
    """Collects refused calls. Like ones share a group; a group moves to the end when it grows, so
    the last group holds the last refused call. Takes memory in proportion to the groups.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, RefusedCall] = {}

    def add(self, refused: RefusedCall) -> None:
        """Add a call, in order of time."""
        group = self._groups.pop(refused.likeness, None)
        if group:
            refused = replace(group, count=group.count + 1, last=refused.text)
        self._groups[refused.likeness] = refused

    def clear(self) -> None:
        """Forget all: another address space begins."""
        self._groups.clear()

    @property
    def last(self) -> str:
        """The text of the last refused call, empty without one."""
        group = next(reversed(self._groups.values()), None)
        return (group.last or group.text) if group else ""

    def groups(self) -> tuple[RefusedCall, ...]:
        """Return the groups, in the order of the last call of each."""
        return tuple(self._groups.values())


def describe_refusals(groups: Iterable[RefusedCall]) -> str:
    """Describe the last groups in one line, the last refused call first; empty without one."""
    ordered = list(groups)[::-1]
    words = [str(each) for each in ordered[:_MOST_SHOWN]]
    more = sum(each.count for each in ordered[_MOST_SHOWN:])
    return "; ".join([*words, f"and {more:,} more"] if more else words)
