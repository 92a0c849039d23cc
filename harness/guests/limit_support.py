"""Limits in a guest: can it do them, and what is its address space like under them?"""

from __future__ import annotations

import os
from dataclasses import replace

from foothold_lab.harness.guests.base import Guest, Support
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.facts import Facts, parse_facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import Limits

# what moves the kernel's own choices, or its promises; the others the oracle can add up by itself
_MOVING = frozenset(
    {"rlimit_stack", "overcommit", "max_map_count", "no_aslr", "legacy_layout", "ceiling"}
)
# whose calls can be bent: images/agent/syscall_regs.h
_BENT = ("x86_64", "aarch64", "riscv64", "i386")
_OTHER_GUEST = "take a guest with a kernel of its own: UML or QEMU"


def support_for(guest: Guest, facts: Facts, limits: Limits, machine: str = "") -> Support:
    """Say whether a subject can run there under these limits; if not, why, and the remedy.

    `machine` is the subject's, if it has another than its guest.
    """
    for name in limits.named:
        if name in guest.unable:
            return Support(False, guest.unable[name], _OTHER_GUEST)
    if limits.memory is not None and not facts.cgroup.version:
        return Support(False, "its kernel has no memory cgroup", "take another guest")
    if (limits.no_aslr or limits.legacy_layout) and (error := facts.tools.personality):
        return Support(
            False,
            f"personality(2) is refused here: {os.strerror(error)}",
            "in a container: allow it in the engine's seccomp profile; else take UML or QEMU",
        )
    return _faults(facts, limits, machine) if limits.faults else Support(True)


def measure_under(guest: Guest, facts: Facts, limits: Limits, deadline: Deadline) -> Facts:
    """Return the guest's facts as they are under these limits, faults but a ceiling left aside.

    Measured again only where a limit moves what was measured. Raises GuestError.
    """
    if not _MOVING & set(limits.named):
        return facts
    moving = replace(
        limits.without_faults, rlimit_as=None, rlimit_data=None, memory=None, ceiling=limits.ceiling
    )
    found = parse_facts(guest.run([guest.agent, "facts"], moving, deadline).stdout)
    return replace(found, tools=facts.tools)  # a program that is traced cannot trace its own


def facts_under(guest: Guest, facts: Facts, limits: Limits, deadline: Deadline) -> Facts:
    """Return the facts under limits. Raises UnsupportedError if the guest cannot do one of them."""
    if not (support := support_for(guest, facts, limits)).ok:
        raise UnsupportedError(support.reason, support.remedy, code=Code.UNSUPPORTED_LIMIT)
    return measure_under(guest, facts, limits, deadline)


def _faults(facts: Facts, limits: Limits, machine: str) -> Support:
    own = facts.machine if facts.pointer_size == 8 else "i386"
    machine = machine or own
    if machine not in _BENT or machine != own:
        return Support(
            False,
            f"faults are for programs of a guest's own machine, {own}; this is {machine}",
            f"take a guest and a program of {', '.join(_BENT)}",
        )
    for what, error in (("ptrace", facts.tools.ptrace), ("seccomp", facts.tools.seccomp)):
        if error:
            return Support(
                False,
                f"faults need {what}, which is refused here: {os.strerror(error)}",
                "in a container: allow it in the engine's seccomp profile; else take UML or QEMU",
            )
    end = facts.task_size if limits.ceiling is None else limits.ceiling
    if end > facts.task_size:
        return Support(
            False,
            f"a ceiling at {end:#x} is none: the address space ends at {facts.task_size:#x}",
            "give a lower one, or take a guest with more",
        )
    for each in limits.occupied:
        if each.end > end:
            return Support(
                False,
                f"{each} cannot be occupied: the address space ends at {end:#x}",
                "give a range below that",
            )
        if each.start < facts.lowest:
            return Support(
                False,
                f"{each} cannot be occupied: the lowest address is {facts.lowest:#x}",
                "give a range above that",
            )
    taken = sum(each.length for each in limits.occupied)
    if limits.rlimit_as is not None and taken >= limits.rlimit_as:
        return Support(
            False,
            "the occupied ranges count for RLIMIT_AS, and are more than it",
            "occupy less, or allow more",
        )
    return Support(True)
