"""Limits in a guest: whether it supports them, and its facts under them."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from foothold_lab.harness.guests.base import Guest, Support, run_program
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.facts import Facts, parse_facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import Limits
from foothold_lab.harness.model.sizes import format_size

# these change what the kernel chooses or promises; the oracle computes the effect of the others
_MOVING = frozenset(
    {
        "rlimit_stack",
        "overcommit",
        "max_map_count",
        "mmap_rnd_bits",
        "mmap_rnd_compat_bits",
        "hugepages",
        "thp",
        "no_aslr",
        "legacy_layout",
        "ceiling",
    }
)
# limits from which capabilities exempt root: CAP_IPC_LOCK (do_mlock in mm/mlock.c); CAP_SYS_RESOURCE
# or CAP_SYS_ADMIN (copy_process in kernel/fork.c)
_EXEMPT = frozenset({"rlimit_memlock", "rlimit_nproc"})
# machines whose system calls the agent can change: images/agent/syscall_regs.h
_FAULT_MACHINES = (
    "x86_64", "aarch64", "riscv64", "i386", "ppc64le", "loongarch64", "mips64", "arm", "s390x",
)  # fmt: skip
# 32-bit programs whose calls the agent of a machine can change as well: images/agent/syscall_regs.c
_COMPAT = {"i386": "x86_64", "arm": "aarch64"}
_COMPAT_END = 1 << 32
_OTHER_GUEST = "take a guest with a kernel of its own: UML or QEMU"


def _where_allowed(error: int) -> str:
    """Return the remedy for a call that is refused. EPERM is the answer of an engine's seccomp profile;
    with other errors the kernel does not have the call, as gVisor.
    """
    if error == errno.EPERM:
        return "in a container: allow it in the engine's seccomp profile; else take UML or QEMU"
    return _OTHER_GUEST


def support_for(
    guest: Guest, facts: Facts, limits: Limits, machine: str = "", user: str = ""
) -> Support:
    """Say whether a subject can run in a guest under these limits, and note how they are applied.

    `machine` is that of the subject, if the guest is of another; `user` the one that runs it, if
    that is not the user of the agent.
    """
    for name in limits.named:
        if reason := guest.capabilities.unsupported_limits.get(name):
            return Support(False, reason, _OTHER_GUEST)
    if limits.memory is not None and not facts.cgroup.version:
        return Support(False, "the kernel of the guest has no memory cgroup", "take another guest")
    if (limits.no_aslr or limits.legacy_layout) and (error := facts.tools.personality):
        return Support(
            False,
            f"personality(2) is refused here: {os.strerror(error)}",
            _where_allowed(error),
        )
    if (exempt := _EXEMPT & set(limits.named)) and has_capabilities(guest, limits.user or user):
        return Support(
            False,
            f"the subject is root here, to which the kernel does not apply {min(exempt)}",
            "run it as another user: add +user=nobody to the limit",
        )
    if limits.hugepages and (pages := limits.hugepages * facts.huge_page_size) > facts.memory // 2:
        return Support(
            False,
            f"{limits.hugepages} huge pages are {format_size(pages)}, of the "
            f"{format_size(facts.memory >> 20 << 20)} that this guest has",
            "give fewer, or more memory to the guest: half of it must stay",
        )
    if limits.seccomp and (error := facts.tools.seccomp):
        return Support(
            False, f"seccomp is refused here: {os.strerror(error)}", "take another guest"
        )
    applied = _write_execute(facts) if limits.wx_refused else Support(True)
    if not applied.ok:
        return applied
    faults = _faults(facts, limits, machine) if limits.faults else Support(True)
    return replace(faults, notes=applied.notes) if faults.ok else faults


def measure_under(guest: Guest, facts: Facts, limits: Limits, deadline: Deadline) -> Facts:
    """Return the facts of a guest under these limits, of the faults only under a ceiling.

    Measures only if a limit changes what was measured. Raises GuestError.
    """
    if not _MOVING & set(limits.named):
        return facts
    moving = Limits(**{name: getattr(limits, name) for name in _MOVING})
    found = parse_facts(run_program(guest, [guest.paths.agent, "facts"], moving, deadline).stdout)
    return replace(found, tools=facts.tools)  # a traced program cannot trace its children


def facts_under(guest: Guest, facts: Facts, limits: Limits, deadline: Deadline) -> Facts:
    """Return the facts under limits. Raises UnsupportedError for a limit that is not supported."""
    if not (support := support_for(guest, facts, limits)).ok:
        raise UnsupportedError(support.reason, support.remedy, code=Code.UNSUPPORTED_LIMIT)
    return measure_under(guest, facts, limits, deadline)


def has_capabilities(guest: Guest, user: str) -> bool:
    """Does a program of this user have the capabilities of root? In a container none has."""
    if user:
        return user in ("root", "0")
    own = guest.capabilities
    return own.own_kernel or (own.host_paths and os.geteuid() == 0)


def _write_execute(facts: Facts) -> Support:
    """Say how W^X is enforced: images/agent/write_execute.c does it."""
    if not facts.tools.mdwe:
        return Support(True, notes=("wx=refused: the kernel does it (PR_SET_MDWE), with EACCES",))
    if not facts.tools.seccomp:
        return Support(True, notes=("wx=refused: a seccomp filter does it, with EPERM",))
    return Support(
        False,
        f"the kernel lacks PR_SET_MDWE, and seccomp is refused here: "
        f"{os.strerror(facts.tools.seccomp)}",
        "take a guest with Linux 6.3 or newer, or with seccomp filters",
    )


def _machine_for_faults(own: str, machine: str) -> Support:
    """Say whether the agent can change the calls of programs of a machine in a guest of `own`."""
    if machine not in _FAULT_MACHINES or own not in (machine, _COMPAT.get(machine)):
        return Support(
            False,
            f"faults do not work for programs for {machine} in a guest of {own}",
            f"take a guest and a program of {', '.join(_FAULT_MACHINES)}",
        )
    return Support(True)


def _faults(facts: Facts, limits: Limits, machine: str) -> Support:
    own = facts.program_machine
    if not (support := _machine_for_faults(own, machine or own)).ok:
        return support
    for what, error in (("ptrace", facts.tools.ptrace), ("seccomp", facts.tools.seccomp)):
        if error:
            return Support(
                False,
                f"faults need {what}, which is refused here: {os.strerror(error)}",
                _where_allowed(error),
            )
    if misaligned := limits.misaligned(facts.page_size):
        page = format_size(facts.page_size)
        return Support(
            False,
            f"{misaligned} is not a multiple of the page of this guest, {page}",
            f"give multiples of {page}, or take a guest with smaller pages",
        )
    space = facts.task_size if machine in ("", own) else _COMPAT_END
    end = space if limits.ceiling is None else limits.ceiling
    if end > space:
        return Support(
            False,
            f"a ceiling at {end:#x} has no effect: the address space ends at {space:#x}",
            "give a lower ceiling, or take a guest with a larger address space",
        )
    for each in limits.occupied:
        if each.end > end:
            return Support(
                False,
                f"{each} cannot be occupied: the address space ends at {end:#x}",
                "give a lower range",
            )
        if each.start < facts.lowest:
            return Support(
                False,
                f"{each} cannot be occupied: the lowest address is {facts.lowest:#x}",
                "give a higher range",
            )
    taken = sum(each.length for each in limits.occupied)
    if limits.rlimit_as is not None and taken >= limits.rlimit_as:
        return Support(
            False,
            "the occupied ranges count for RLIMIT_AS, and exceed it",
            "occupy less, or raise rlimit_as",
        )
    return Support(True)
