"""Finds what a kernel says of its own faults in the text of a console."""

from __future__ import annotations

import re
from collections.abc import Sequence

PANIC = "Kernel panic - not syncing"
HALT = "reboot: "  # before the message of a kernel that reboot(2) stops; kernel/reboot.c
MOST_MESSAGES = 3
CONTEXT = 6  # lines of a message that are kept
# lib/bug.c, mm/memory.c (print_bad_pte), kernel/panic.c, kernel/locking/lockdep.c, mm/kasan/report.c
_FAULT = re.compile(
    r"Kernel panic - not syncing|\bBUG: |\bWARNING: (?:CPU: |.* at )|\bOops: |\bBad page map\b|kernel BUG at |"
    r"UBSAN: |\bWARNING: (?:possible |inconsistent lock|bad unlock|bad contention|held lock|lock held|"
    r"Nested lock|suspicious RCU|.* lock order detected)"
)


def kernel_faults(text: str) -> tuple[str, ...]:
    """Return the first messages about faults of the kernel, each with the lines that follow it."""
    lines = [line.rstrip() for line in text.splitlines()]
    found: list[str] = []
    at = 0
    while at < len(lines) and len(found) < MOST_MESSAGES:
        if _FAULT.search(lines[at]):
            found.append("\n".join(lines[at : at + CONTEXT]))
            at += CONTEXT
        else:
            at += 1
    return tuple(found)


def panic_message(text: str) -> str:
    """Return the last panic in a text, with what follows it; empty if it has none.

    A program can write such a line, but only before the kernel does: after its panic no program runs.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    last = max((at for at, line in enumerate(lines) if PANIC in line), default=len(lines))
    return "\n".join(lines[last:])


def excerpt(lines: Sequence[str], count: int) -> Sequence[str]:
    """Return the lines that say most: from the first fault of the kernel on, or the last ones."""
    for at, line in enumerate(lines):
        if _FAULT.search(line):
            return lines[at : at + count]
    return lines[-count:]
