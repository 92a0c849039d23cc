"""Address spaces that no guest has: facts with the usual values, for predictions without a boot."""

from __future__ import annotations

from dataclasses import replace

from foothold_lab.harness.model.facts import Cgroup, Facts, Hint, Tools
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.oracle.policies import HIGH, PROBE

BOTTOM_UP_BASE = 0x40000000  # where UML places its first mapping


def imagined_facts(
    task_size: int, pointer_size: int, page_size: int = 4096, *, bottom_up: bool
) -> Facts:
    """Return the facts of an address space of `task_size` bytes, with the usual values for the
    rest. `pointer_size` is 4 or 8, `page_size` is in bytes.
    """
    gap = min(1 << 30, task_size >> 4) // page_size * page_size
    first = BOTTOM_UP_BASE if bottom_up else task_size - gap
    asked = HIGH if pointer_size == 8 else 0xB0000000
    high = asked if task_size >= asked + PROBE else first
    return Facts(
        schema=2,
        machine="x86_64" if pointer_size == 8 else "i686",
        release="",
        pointer_size=pointer_size,
        page_size=page_size,
        task_size=task_size,
        lowest=0x10000,
        placement="bottom-up" if bottom_up else "top-down",
        first=first,
        hint_high=Hint(asked, high, 0),
        hint_low=Hint(0x10000000, 0x10000000, 0),
        hint_beyond=Hint(task_size, first, 0),
        aslr=0,
        aslr_bits=0,
        rlimit_as=-1,
        rlimit_data=-1,
        rlimit_stack=8 << 20,
        rlimit_memlock=8 << 20,
        overcommit=0,
        commit_limit=-1,
        committed=-1,
        memory=-1,
        max_map_count=65530,
        cgroup=Cgroup(),
        tools=Tools(),
    )


def under_limits(facts: Facts, limits: Limits, commit_limit: int | None) -> Facts:
    """Return the facts as the agent of a guest would measure them under these limits.

    `commit_limit` is the memory in bytes that may still be committed, None if unknown.
    """
    if limits.legacy_layout:
        first = facts.task_size // 3 // facts.page_size * facts.page_size
        facts = replace(facts, placement="bottom-up", first=first)
    if commit_limit is None:
        return facts
    return replace(facts, commit_limit=commit_limit, committed=0)
