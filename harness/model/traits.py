"""Facts as text: one row of a table for each measured property of an address space."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from foothold_lab.harness.model.facts import Facts, Hint

_ERRNOS = 4096  # include/linux/err.h, MAX_ERRNO


def _hint(hint: Hint) -> str:
    if hint.errno:
        known = 0 < hint.errno < _ERRNOS  # a guest may report any number
        return f"refused: {os.strerror(hint.errno) if known else f'errno {hint.errno}'}"
    return "granted" if hint.honoured else f"moved to {hint.got:#x}"


def _beyond(facts: Facts) -> str:
    """Show the answer to the hint beyond the task size; a random place only means `moved`."""
    hint = facts.hint_beyond
    return _hint(hint) if hint.errno or hint.got == facts.first else "moved"


def _size(size: int) -> str:
    return "none" if size < 0 else f"{size >> 20}M"


def _cgroup(facts: Facts) -> str:
    if not facts.cgroup.version:
        return "none"
    limit = "" if facts.cgroup.limit < 0 else f", {_size(facts.cgroup.limit)}"
    return f"v{facts.cgroup.version}{limit}"


TRAITS: Mapping[str, Callable[[Facts], str]] = {
    "kernel": lambda facts: facts.release,
    "machine": lambda facts: f"{facts.machine}, {facts.pointer_size * 8} bits",
    "page, huge page": lambda facts: f"{facts.page_size >> 10}K, {_size(facts.huge_page_size)}",
    "task size": lambda facts: f"{facts.task_size:#x}",
    "width, levels": lambda facts: f"{facts.bits} bits, {facts.levels}",
    "lowest": lambda facts: f"{facts.lowest:#x}",
    "placement": lambda facts: facts.placement,
    "first": lambda facts: f"{facts.first:#x}",
    "high hint": lambda facts: f"{_hint(facts.hint_high)} ({facts.hint_high.asked:#x})",
    "low hint": lambda facts: f"{_hint(facts.hint_low)} ({facts.hint_low.asked:#x})",
    "hint beyond": _beyond,
    "ASLR mode, bits seen": lambda facts: f"{facts.aslr}, {facts.aslr_bits}",
    "overcommit": lambda facts: str(facts.overcommit),
    "commit limit": lambda facts: _size(facts.commit_limit),
    "memory": lambda facts: _size(facts.memory),
    "memory cgroup": _cgroup,
    "max_map_count": lambda facts: str(facts.max_map_count),
    "RLIMIT_AS": lambda facts: _size(facts.rlimit_as),
    "RLIMIT_DATA": lambda facts: _size(facts.rlimit_data),
    "RLIMIT_STACK": lambda facts: _size(facts.rlimit_stack),
}
