"""What the cells of a guest change of it: sysctls, files, the clock, as the agent reads them.

The agent reads them once after each cell; what it read after the last one is what they were before
the next. A guest that has changed is replaced by a fresh one.
"""

from __future__ import annotations

from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.record import Record

CLOCK = "clock"
WRITTEN = (
    "written"  # the name of the settings that the cell has written: images/agent/setting_watch.h
)
CLOCK_TOLERANCE = 1000  # milliseconds: the agent reads two clocks one after the other
MOST_SHOWN = 5  # changes that are named
LONGEST = 120  # characters of a value that are shown


def change_of_guest(record: Record, before: str) -> tuple[str, Finding | None]:
    """Return the state of the guest after a cell, and what the cell has changed of it.

    `before` is the state after the cell before, empty for the first one of a boot.
    """
    after = record.guest_state.get("after", before)
    known = record.guest_state.get("before", before)
    changes = _changes(_values(known), _values(after)) if known and after else []
    if not changes:
        return after, None
    shown = "; ".join(changes[:MOST_SHOWN])
    more = f"; and {len(changes) - MOST_SHOWN} more" if len(changes) > MOST_SHOWN else ""
    return after, Finding(Code.GUEST_CHANGED, f"the cell changed its guest: {shown}{more}")


def _values(state: str) -> dict[str, str]:
    return dict(line.partition("\t")[::2] for line in state.splitlines())


def _changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    names = dict.fromkeys((*before, *after))
    pairs = ((name, before.get(name, "absent"), after.get(name, "absent")) for name in names)
    return [
        _change(name, old, new)
        for name, old, new in pairs
        if old != new and not (name == CLOCK and _is_tolerable(old, new))
    ]


def _change(name: str, old: str, new: str) -> str:
    if name == WRITTEN:
        return f"it wrote {', '.join(new.split())}"
    return f"{name} was {old[:LONGEST]}, is {new[:LONGEST]}"


def _is_tolerable(old: str, new: str) -> bool:
    try:
        return abs(int(old) - int(new)) < CLOCK_TOLERANCE
    except ValueError:
        return False
