"""qemu-user: programs of another machine on the host's kernel; system calls are translated.

The agent supervises the emulator, which is one process with the program in it. Emulator and host
kernel together decide where a mapping goes, and only the emulator knows the result. It therefore
logs calls and pages, and the log takes the place of a trace; see harness/evidence/emulator.py.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness.guests.architectures import Emulation
from foothold_lab.harness.guests.base import (
    HOST_LIMITS_AND_CGROUPS,
    PYTHON,
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
    image_support,
)
from foothold_lab.harness.guests.host_copy import copy_on_host
from foothold_lab.harness.guests.host_process import keep_supervisor
from foothold_lab.harness.guests.working_directory import check_user, working_directory
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Supervision
from foothold_lab.harness.transport.stream import PipeStream, Stream
from foothold_lab.harness.transport.supervised import OWN_TRACE, agent_arguments, measured
from foothold_lab.images.elf_file import ElfError, ElfFile, read_elf

_OF_EMULATOR = "the limit would also count the mappings of the emulator"
_PLACES = "the emulator, not the kernel, chooses addresses for a program"


CAPABILITIES = Capabilities(
    own_kernel=False,
    host_paths=True,  # for what the root of the emulated machine does not have
    shares_live=True,
    tracer="emulator",
    unsupported_limits={
        **HOST_LIMITS_AND_CGROUPS,
        "rlimit_as": _OF_EMULATOR,
        "rlimit_data": _OF_EMULATOR,
        "rlimit_stack": "the emulator makes the stack of a program",
        "wx_refused": "the emulator itself writes code and executes it",
        "seccomp": "the filter would see the system calls of the emulator",
        "no_aslr": _PLACES,
        "legacy_layout": _PLACES,
    },
)


class QemuUser:
    """An emulator of single programs as a guest: nothing boots."""

    capabilities = CAPABILITIES

    def __init__(self, name: str, emulation: Emulation, config: GuestConfig) -> None:
        self.name = name
        self.scale = emulation.scale
        self.boot_record = BootRecord()
        self.paths = GuestPaths(
            share=str(config.share.absolute()), python="", agent="", placement="host"
        )
        self._emulation = emulation
        self._config = config
        self._start: tuple[str, ...] = ()
        self._supervisor = ""

    def supported(self) -> Support:
        """An emulator needs its images, or what it takes to build them."""
        return image_support(self._config.builder, self._emulation.images)

    def boot(self, deadline: Deadline) -> Facts:
        """Measure the address space that the emulator gives a program; see `Guest.boot`."""
        builder, port = self._config.builder, self._emulation.port
        tool, root = builder.image(self._emulation.tool), builder.image(port.image("root"))
        agent = builder.image(port.image("agent"))
        self._supervisor = str(builder.image("agent") / "agent")
        self.paths = replace(self.paths, agent=str(agent / "agent"), python=f"{root}{PYTHON}")
        self._start = (
            str(tool / "usr/bin" / port.emulator), *_options(self._emulation), "-L", str(root),
        )  # fmt: skip
        measure = (*self._start, self.paths.agent)
        self.boot_record.argv = (*measure, "facts", *measure)
        self.boot_record.provenance.update(
            {"qemu": tool.name, "root": root.name, "agent": agent.name}
        )
        self.boot_record.notes.append(
            "calls and pages are those that the emulator logs; the program runs in the same process "
            "and, if it is hostile, can forge them"
        )
        if self._emulation.page:
            self.boot_record.notes.append(
                "the size of a page is emulated: calls for parts of a page succeed that a kernel "
                "with such pages refuses"
            )
        stream = PipeStream(self.boot_record.argv)
        try:
            facts = measured(stream, deadline)
        finally:
            stream.close()
        self.boot_record.emulated_page = facts.page_size
        # huge pages are those of the host, which has smaller pages
        return replace(facts, huge_page_size=-1) if self._emulation.page else facts

    @contextlib.contextmanager
    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> Iterator[Stream]:
        """See `Guest.open`. Raises UnsupportedError for a file that is not a program of this machine:
        no kernel is there that would find the interpreter of a script.
        """
        how = how.started_by(os.geteuid())
        check_user(self.name, how.user, *self._start[:1], *argv[:1], self._config.directory)
        program, machine = Path(how.directory, argv[0]), self._emulation.port.machine
        if program.is_file() and _headers(program).machine != machine:
            raise UnsupportedError(
                f"{self.name} runs only ELF programs for {machine}, and {program.name} is not one",
                "give such a program; for a script, its interpreter with the script as argument",
                code=Code.UNSUPPORTED_SUBJECT,
            )
        words = [word for pair in how.environment.items() for word in ("-E", "=".join(pair))]
        fifo = self._config.directory.absolute() / f"log-{secrets.token_hex(8)}"
        log = ("-strace", "-d", "page", "-D", str(fifo)) if how.trace else ()
        prefix = ("-L", how.overlay) if self._brings_loader(program, how) else ()
        command = [*self._start, *prefix, *words, *log, *argv]
        with working_directory(self._config.directory, replace(how, environment={})) as placed:
            arguments = agent_arguments(limits, command, placed, f"{OWN_TRACE}{fifo}")
            try:
                run = (self._supervisor, "run")
                with keep_supervisor(self._supervisor, run, arguments) as stream:
                    yield stream
            finally:
                fifo.unlink(missing_ok=True)  # the agent may have been killed

    def _brings_loader(self, program: Path, how: Supervision) -> bool:
        """Return whether the loader of a program is among the files of the subject."""
        if not how.overlay or not program.is_file():
            return False
        loader = _headers(program).interpreter
        return bool(loader) and Path(f"{how.overlay}{loader}").exists()

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        copy_on_host(source, target)

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        shutil.copy2(source, target)

    def diagnose(self) -> str:
        """It has no console: the emulator writes its errors to the standard error of the program."""
        return ""

    def stop(self) -> None:
        """No process of it runs."""


def _options(emulation: Emulation) -> Iterator[str]:
    if emulation.reserved:
        yield from ("-R", f"{emulation.reserved:#x}")
    if emulation.page:
        yield from ("-p", str(emulation.page))


def _headers(program: Path) -> ElfFile:
    """Read the ELF headers of a program. Return an empty ElfFile if they cannot be read."""
    with contextlib.suppress(OSError, ElfError):
        return read_elf(program) or ElfFile(machine="")
    return ElfFile(machine="")
