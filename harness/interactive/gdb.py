"""gdb on the process that is a UML guest's kernel."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from foothold_lab.harness.guests.base import Guest, run_program
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.interactive.shell import START_SECONDS, ProgramRequest, supervise
from foothold_lab.harness.interactive.symbols import has_symbols, parse_kallsyms, symbol_file
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, SubjectError, UnsupportedError, UsageError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.conversation import Conversation, Output
from foothold_lab.harness.transport.frames import LostContactError

# what a UML kernel lives by: faults of its processes, its clock, its devices, its threads
_SIGNALS = (
    "SIGSEGV SIGBUS SIGFPE SIGILL SIGSYS SIGUSR1 SIGUSR2 SIGALRM SIGVTALRM SIGPROF SIGIO SIGCHLD "
    "SIGWINCH SIG32 SIG33 SIG34"
)
_PARTING = 10.0  # seconds for a program to end in a batch
_LONG = 86400.0  # seconds that a person may spend at a breakpoint


def debug_kernel(
    guest: Guest,
    facts: Facts,
    directory: Path,
    commands: Sequence[str],
    program: Sequence[str],
    *,
    batch: bool,
) -> int:
    """Run gdb on a guest's kernel, and return its exit status.

    The kernel is stopped when gdb takes its `commands`. `program` is started in the guest as soon
    as it goes on. With `batch` gdb ends when its commands are done. Raises UsageError for a guest
    other than UML, UnsupportedError without gdb.
    """
    kernel = guest.boot_record.kernel_program
    if not isinstance(guest, VirtualMachine) or not kernel:
        raise UsageError(
            f"{guest.name} has no kernel that is a process of this machine",
            "take a UML guest: `foothold gdb uml-6.1`",
        )
    if not (program_path := shutil.which("gdb")):
        what = "there is no gdb on this machine"
        raise UnsupportedError(what, "apt-get install gdb", code=Code.UNSUPPORTED_TOOL)
    script = directory / "attach.gdb"
    attached = directory / "attached"
    os.mkfifo(attached, 0o600)
    script.write_text(_script(guest, kernel, directory, attached))
    argv = [program_path, "-q", *(["-batch"] if batch else []), "-x", str(script)]
    for command in commands:
        argv += ["-ex", command]
    with contextlib.ExitStack() as stack:
        if program:
            stack.enter_context(_held_program(guest, facts, program, attached, batch=batch))
        else:
            attached.unlink()
        stack.enter_context(_ignored_interrupts())
        return subprocess.run(argv, check=False).returncode


def _script(guest: VirtualMachine, kernel: Path, directory: Path, attached: Path) -> str:
    """What gdb reads first: names, the process, and that its signals are its own."""
    lines = ["set confirm off", "set auto-solib-add off", "set auto-load libthread-db off"]
    if (kernel.parent / "lib").is_dir():  # its libraries lie beside it
        lines += [f"set sysroot {kernel.parent}", f"set solib-search-path {kernel.parent}/lib"]
    lines.append(f"file {kernel}")
    if not has_symbols(kernel):
        done = run_program(
            guest, ("cat", "/proc/kallsyms"), Limits(), Deadline.after(START_SECONDS)
        )
        if found := parse_kallsyms(done.stdout.decode(errors="replace")):
            names = directory / "kallsyms.elf"
            names.write_bytes(symbol_file(found))
            lines.append(f"symbol-file {names}")
    lines += [
        f"attach {guest.process_id}",
        f"handle {_SIGNALS} pass nostop noprint",
        f"shell test ! -p {shlex.quote(str(attached))} || : > {shlex.quote(str(attached))}",
    ]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def _held_program(
    guest: Guest, facts: Facts, program: Sequence[str], go: Path, *, batch: bool
) -> Iterator[None]:
    """Start a program that waits in the guest until a FIFO was opened and closed. It ends with the
    debugger; in a batch it has some seconds more, since gdb may just have let it continue.

    It starts before gdb, because the guest stands still from gdb's start until `continue`.
    """
    held = ("/bin/sh", "-c", 'read go; exec "$@" </dev/null', "held", *program)
    argv, limits, how = supervise(guest, facts, ProgramRequest(argv=held))
    with guest.open(argv, limits, Deadline.after(START_SECONDS), how) as stream:
        conversation = Conversation(stream)
        threads = [
            threading.Thread(target=_release_when_attached, args=(conversation, go), daemon=True),
            threading.Thread(target=_show, args=(conversation,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        yield
        if batch:
            threads[1].join(_PARTING)


def _release_when_attached(conversation: Conversation, go: Path) -> None:
    with go.open("rb") as file:
        file.read()
    conversation.send(b"\n")


def _show(conversation: Conversation) -> None:
    """Show what the program says, as a debugger's inferior does."""
    with contextlib.suppress(LostContactError, SubjectError, GuestError):
        while isinstance(heard := conversation.receive(Deadline.after(_LONG)), Output):
            os.write(1 if heard.stream == "out" else 2, heard.data)


@contextlib.contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Ctrl-C stops the kernel under gdb, and does not end us."""
    # a handler, for a signal that is ignored is so in gdb as well
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
