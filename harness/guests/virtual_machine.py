"""A guest with a kernel of its own: what UML and QEMU share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from foothold_lab.harness.guests.base import BootRecord, Capabilities, GuestPaths, Support
from foothold_lab.harness.guests.vm_process import Launch, VmProcess
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.stream import Stream

Start = Callable[[Launch], VmProcess]


class Hypervisor(Protocol):
    """What runs a kernel as a process of this host: UML or QEMU."""

    scale: float
    capabilities: Capabilities
    paths: GuestPaths
    boot_record: BootRecord

    def supported(self) -> Support:
        """See `Guest.supported`."""

    def boot(self, start: Start, deadline: Deadline) -> Facts:
        """Boot a kernel in a process that `start` starts. The last one started is the guest."""


class VirtualMachine:
    """A guest that a hypervisor runs. It talks to the guest through the hypervisor's process."""

    def __init__(self, name: str, hypervisor: Hypervisor) -> None:
        self.name = name
        self.hypervisor = hypervisor
        self._process: VmProcess | None = None

    @property
    def scale(self) -> float:
        """See `Guest.scale`."""
        return self.hypervisor.scale

    @property
    def capabilities(self) -> Capabilities:
        """See `Guest.capabilities`."""
        return self.hypervisor.capabilities

    @property
    def paths(self) -> GuestPaths:
        """See `Guest.paths`."""
        return self.hypervisor.paths

    @property
    def boot_record(self) -> BootRecord:
        """See `Guest.boot_record`."""
        return self.hypervisor.boot_record

    @property
    def process_id(self) -> int:
        """The process of the kernel, or of QEMU, on the host. Raises GuestError if it is gone."""
        return self._booted().process_id

    def supported(self) -> Support:
        """See `Guest.supported`."""
        return self.hypervisor.supported()

    def boot(self, deadline: Deadline) -> Facts:
        """See `Guest.boot`."""
        return self.hypervisor.boot(self._start, deadline)

    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> AbstractContextManager[Stream]:
        """See `Guest.open`."""
        return self._booted().open(argv, limits, deadline, how)

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        self._booted().push(source, target)

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        self._booted().pull(source, target)

    def diagnose(self) -> str:
        """See `Guest.diagnose`."""
        return self._process.diagnose() if self._process else ""

    def stop(self) -> None:
        """See `Guest.stop`."""
        if self._process:
            self._process.stop()

    def _start(self, launch: Launch) -> VmProcess:
        self._process = VmProcess(launch)
        self.boot_record.argv = self._process.argv
        return self._process

    def _booted(self) -> VmProcess:
        assert self._process, "boot first"
        return self._process
