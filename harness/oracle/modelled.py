"""The allocator on a model of the kernel, under any limits and faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foothold_lab.allocator.kernel import EACCES, ENOMEM, EPERM, MAP_FIXED, PROT_RW, PROT_RWX
from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import predict
from foothold_lab.allocator.width import WIDTHS
from foothold_lab.harness.model.limits import Range
from foothold_lab.harness.model.verdict import Expectation, Outcome, ReservationPath

if TYPE_CHECKING:
    from foothold_lab.allocator.predict import Prediction
    from foothold_lab.harness.model.facts import Facts
    from foothold_lab.harness.model.limits import Limits
    from foothold_lab.harness.oracle import Process

MIB = 1 << 20
PROBE = 64 << 10
WRITABLE = PROT_RW & ~1
EXECUTABLE = PROT_RWX & ~PROT_RW


def low_arena(pointer_size: int) -> Range:
    """Where Go's own program asks for its low arena: behind its image, at one address."""
    want = WIDTHS[pointer_size].end + (1 << 18) + MIB - 1 & ~(MIB - 1)
    return Range(want, want)


def run(
    policy: str, facts: Facts, limits: Limits, process: Process, workload: str = "default"
) -> Prediction:
    """Run a workload in a process of that size, without a guest."""
    return predict(POLICIES[policy], Narrowed(facts, limits, process), workload=workload)


def expectation(modelled: Prediction) -> Expectation:
    """Say it as the oracle says it: a runtime that exits without a throw has printed why."""
    message = f"throw: {modelled.message}" if modelled.message else ""
    if not message and modelled.status and modelled.printed:
        message = modelled.printed[-1]
    return Expectation(
        path=ReservationPath(modelled.path),
        outcome=Outcome(modelled.outcome),
        status=modelled.status,
        message=message,
        reason=modelled.reason,
    )


class Narrowed(ModelKernel):
    """The model with what it has not: RLIMIT_DATA, the modes of overcommit, ignored hints, hints that
    fail.

    What a process has mapped before it reserves is taken off its limits.
    """

    def __init__(self, facts: Facts, limits: Limits, process: Process) -> None:
        self._limits = limits
        self._overcommit = facts.overcommit if limits.overcommit is None else limits.overcommit
        self._at_once = facts.memory
        self._wx_errno = EPERM if facts.tools.mdwe else EACCES
        self._hinted = 0
        self._data = None if limits.rlimit_data is None else limits.rlimit_data - process.data
        self._promises = facts.commit_limit - facts.committed - facts.memory // 32 - process.data
        room = limits.rlimit_as
        top_down = facts.placement == "top-down"
        super().__init__(
            AddressSpace(
                task_size=facts.task_size,
                pointer_size=facts.pointer_size,
                page_size=facts.page_size,
                # `first` is the start of the 64 KiB that the agent mapped
                mmap_base=facts.first + (PROBE if top_down else 0),
                top_down=top_down,
                occupied=[(each.start, each.end) for each in limits.occupied],
                rlimit_as=None if room is None else max(room - process.size, 0),
            )
        )

    def getrlimit(self) -> int:
        """Return the whole RLIMIT_AS: the kernel does not subtract what is mapped."""
        limit = self._limits.rlimit_as
        return self.width.mask if limit is None else limit

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        """Map, unless a limit or a fault prevents it."""
        limits = self._limits
        length = self._ceiling(length)
        if addr and not flags & MAP_FIXED:
            self._hinted += 1
            for each in limits.fail:
                if each.fails(self._hinted):
                    return -each.number
            if limits.hints_ignored and addr in limits.hints_ignored:
                addr = 0
        if limits.wx_refused and prot & WRITABLE and prot & EXECUTABLE:
            return -self._wx_errno
        if prot & WRITABLE:
            used = sum(end - start for start, end, had in self.maps() if had & WRITABLE)
            # mmap_region() subtracts every mapping that MAP_FIXED replaces
            more = length - (self._mapped(addr, addr + length) if flags & MAP_FIXED else 0)
            if self._data is not None and used + more > self._data:
                return -ENOMEM
            if self._overcommit == 2 and used + length > self._promises:
                return -ENOMEM
            # __vm_enough_memory() refuses a single mapping that is larger than the memory
            if self._overcommit == 0 and 0 <= self._at_once < length:
                return -ENOMEM
        return super().mmap(addr, length, prot, flags)
