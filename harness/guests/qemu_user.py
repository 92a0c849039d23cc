"""qemu-user: programs of another machine on the host's own kernel, their system calls translated.

Native's sibling: our agent supervises the emulator, which is one process with the program in it.
The emulator plays the kernel: where a mapping goes is decided by it and by the host's kernel
together, and what became of it is known to it alone. So it writes a log of both, which comes to us
in the place of a trace; see harness/evidence/emulator.py.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.guests.architectures import Emulation
from foothold_lab.harness.guests.base import HOSTS_OWN, BootRecord, GuestConfig, Support, Tracer
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Record, Supervision
from foothold_lab.harness.transport.frames import LostContactError
from foothold_lab.harness.transport.stream import PipeStream, Stream
from foothold_lab.harness.transport.supervised import agent_argv, measured, supervise
from foothold_lab.images import apt, elf
from foothold_lab.images.rootfs import EMULATORS

_LOG = 100  # the descriptor that the emulator writes its log to
_OF_EMULATOR = "it would count what the emulator itself maps"
_PLACES = "the emulator places a program's memory, not the kernel"


class QemuUser:
    """An emulator as a guest: nothing to boot."""

    shares_live = True
    root = ""  # the host's is there for what its own root does not have
    tracer: Tracer = "emulator"
    unable: Mapping[str, str] = {
        **HOSTS_OWN,
        "memory": "the host's cgroups are not ours to change",
        "rlimit_as": _OF_EMULATOR,
        "rlimit_data": _OF_EMULATOR,
        "rlimit_stack": "the emulator makes a program's stack by itself",
        "no_aslr": _PLACES,
        "legacy_layout": _PLACES,
    }

    def __init__(self, name: str, emulation: Emulation, workplace: GuestConfig) -> None:
        self.name = name
        self.scale = emulation.scale
        self.boot_record = BootRecord()
        self.share = str(workplace.share.absolute())
        self.python = ""
        self.agent = ""
        self._emulation = emulation
        self._place = workplace
        self._start: tuple[str, ...] = ()
        self._supervisor = ""

    def supported(self) -> Support:
        """An emulator needs its images, or the means to make them."""
        ready = all(map(self._place.builder.ready, self._emulation.images))
        if not ready and (why := apt.unavailable_reason()):
            return Support(
                False,
                f"its images are not built yet, and cannot be: {why}",
                "build the images on a Debian machine, or install apt",
            )
        return Support(True)

    def boot(self, deadline: Deadline) -> Facts:
        """Measure the address space that the emulator gives to a program; see `Guest.boot`."""
        builder, port = self._place.builder, self._emulation.port
        tool, root = builder.image(EMULATORS), builder.image(port.image("root"))
        agent = builder.image(port.image("agent"))
        self._supervisor = str(builder.image("agent") / "agent")
        self.agent = str(agent / "agent")
        self.python = str(root / "usr/bin/python3")
        size = self._emulation.reserved
        reserve = ("-R", f"{size:#x}") if size else ()
        self._start = (str(tool / "usr/bin" / port.emulator), *reserve, "-L", str(root))
        self.boot_record.argv = (*self._start, self.agent, "facts", *self._start, self.agent)
        self.boot_record.provenance.update(
            {"qemu": tool.name, "root": root.name, "agent": agent.name}
        )
        self.boot_record.notes.append("calls and pages are told by the emulator, not by a kernel")
        stream = PipeStream(self.boot_record.argv)
        try:
            return measured(stream, deadline)
        finally:
            stream.close()

    def run(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        on_checkpoint: Callable[[str], None] = lambda _: None,
        how: Supervision = UNTRACED,
    ) -> Record:
        """See `Guest.run`. UnsupportedError for what is no program of this machine: there is no
        kernel that would look for a script's interpreter.
        """
        with self.open(argv, limits, deadline, replace(how, trace=True)) as stream:
            record = supervise(stream, argv, deadline, on_checkpoint=on_checkpoint, how=how)
        return replace(
            record, trace=record.trace if how.trace else None, emulator=record.trace or b""
        )

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`."""
        program, machine = Path(how.directory, argv[0]), self._emulation.port.machine
        if program.is_file() and elf.machine(program) != machine:
            raise UnsupportedError(
                f"{self.name} runs ELF programs of {machine} alone, {program.name} is none",
                "give such a program; of a script, its interpreter with the script as its argument",
                code=Code.UNSUPPORTED_SUBJECT,
            )
        words = [word for pair in how.environment.items() for word in ("-E", "=".join(pair))]
        log = ("-strace", "-d", "page", "-D", f"/proc/self/fd/{_LOG}") if how.trace else ()
        command = [*self._start, *words, *log, *argv]
        logged = replace(how, environment={})
        stream = PipeStream(agent_argv(self._supervisor, limits, command, logged, f"fd:{_LOG}"))
        try:
            yield stream
        except LostContactError as error:
            what = f"the agent was killed under the subject: {error}"
            raise GuestError(what, code=Code.GUEST_DIED) from error
        finally:
            stream.close()

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        shutil.copy2(source, target)

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        shutil.copy2(source, target)

    def diagnose(self) -> str:
        """An emulator's complaints are the program's standard error."""
        return ""

    def stop(self) -> None:
        """Nothing was started that still runs."""
