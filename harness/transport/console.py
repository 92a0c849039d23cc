"""The console of a guest: recorded up to a bound, and searched for signs of death.

A guest may print without end, in one line, in binary. Memory holds the last TAIL bytes, the disk the
first MOST bytes. A thread reads, through pexpect.
"""

from __future__ import annotations

import os
import re
import select
import termios
import threading
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pexpect
from pexpect import fdpexpect

from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.kernel_log import PANIC, excerpt

MOST = 16 << 20  # bytes of a console that are recorded; a guest that prints more is stopped
TAIL = 8192  # bytes kept in memory, for messages
LONGEST = 4096  # bytes of a line that are searched
LINES = 50  # of the tail that are shown: a panic with its trace has about 30
KERNEL_PANIC = "kernel panic"  # the meaning of the line after which a kernel ends


@dataclass(frozen=True, kw_only=True)
class Death:
    """A line of the console that means that a guest has failed: why, and the remedy.

    needle: text that every such line has. Output without any needle is not split into lines.
    """

    pattern: re.Pattern[str]
    needle: bytes
    meaning: str
    remedy: str
    code: Code


def _death(pattern: str, meaning: str, remedy: str = "", code: Code = Code.GUEST_BOOT) -> Death:
    literals = re.split(r"\\.|[^A-Za-z /-]", pattern)
    return Death(
        pattern=re.compile(pattern), needle=max(literals, key=len).encode(), meaning=meaning,
        remedy=remedy, code=code,
    )  # fmt: skip


# tests/data/consoles has a recorded console for each.
DEATHS = (
    _death(
        r"ptrace set fp regs failed, errno = 14",
        "this UML kernel cannot restore the floating-point state on this host (AMX)",
        "UML before 6.13 needs the xstate shim here; it must not be switched off",
    ),
    _death(
        r"UML ran out of memory on the host side",
        "the UML kernel ran out of mappings or memory on the host",
        "raise vm.max_map_count, or free memory; the guest must not be used further",
        Code.GUEST_DIED,
    ),
    _death(
        r"Bus error - the host /dev/shm or /tmp mount likely just ran out of space",
        "the file system that holds the memory of the UML kernel is full (/dev/shm)",
        "as root: mount -o remount,size=4G /dev/shm; for a container: docker run --shm-size 4g",
        Code.GUEST_DIED,
    ),
    _death(
        r"SECCOMP userspace requested but not functional",
        "this machine refuses the seccomp filters by which the UML kernel runs its processes",
        "run it by ptrace: --guest uml-7.2-ptrace, for a kernel of your own --uml-mode ptrace",
    ),
    _death(r"VFS: Unable to mount root fs", "the kernel found no root file system"),
    _death(rf"{PANIC}: (?P<why>.*)", KERNEL_PANIC, code=Code.GUEST_PANIC),
    _death(r"KVM internal error\. Suberror: (?P<why>.*)", "KVM is there but does not work"),
    _death(r"KVM: entry failed", "KVM is there but does not work"),
    _death(r"BUG: unable to handle (?P<why>.*)", "kernel bug", code=Code.GUEST_PANIC),
    _death(r"^(?:\[[ .\d]+\] )?Oops: (?P<why>.*)", "kernel oops", code=Code.GUEST_PANIC),
    _death(
        r"foothold: guest cannot go on: cannot open /dev/vport",
        "the kernel has no device for the line to us",
        "it needs virtio-pci and virtio-console, built in, or as modules in an --initrd",
    ),
    _death(
        r"foothold: (?P<why>a program in the guest has killed the SSH server: signal \d+)",
        "the guest was lost",
        "the subject did, such as by `kill -9 -1`: nothing else runs in the guest",
        Code.GUEST_KILLED,
    ),
    _death(r"foothold: guest cannot go on: (?P<why>.*)", "the guest's agent gave up"),
    _death(r"qemu-system-\w{1,20}: (?P<why>(?!warning:).*)", "QEMU refused"),
    _death(r"error while loading shared libraries: (?P<why>.*)", "a library is missing"),
)


def diagnose(line: str) -> GuestError | None:
    """Return what a console line means, if it means that the guest will not go on."""
    for death in DEATHS:
        if match := death.pattern.search(line):
            why = (match.groupdict().get("why") or "").strip()
            what = f"{death.meaning}: {why}" if why else death.meaning
            return GuestError(what, death.remedy, code=death.code)
    return None


class Console:
    """The console of one guest, on a pseudo-terminal whose other end the guest's process gets.

    `on_death(error)` is called at most once, from a thread that reads.
    """

    def __init__(self, log: Path, on_death: Callable[[GuestError], None]) -> None:
        master, self.guest_end = os.openpty()
        tty.setraw(self.guest_end, termios.TCSANOW)
        self._master = master
        self._on_death = on_death
        self._log = log.open("wb", buffering=0)
        self._written = 0
        self._tail = bytearray()
        self._line = bytearray()
        self._told = False
        self._guard = threading.Lock()
        self._reading = threading.Lock()
        self._ended = False
        self._child = fdpexpect.fdspawn(master, timeout=None, maxread=65536)
        self._thread = threading.Thread(target=self._follow, name=f"console {log}", daemon=True)

    def start(self) -> None:
        """Start to read. The end of the guest was inherited by its process, and is closed here."""
        os.close(self.guest_end)
        self._thread.start()

    @property
    def tail(self) -> str:
        """The last lines, as text; the first ones of these if they show a fault of the kernel."""
        return "\n".join(excerpt([line.rstrip() for line in self.text.splitlines()], LINES))

    @property
    def text(self) -> str:
        """The last TAIL bytes, as text."""
        with self._guard:
            return bytes(self._tail).decode(errors="replace")

    def send(self, data: bytes) -> None:
        """Type on the console."""
        self._child.send(data)

    def drain(self) -> None:
        """Read what the guest has printed until now, so that the log and the tail have it."""
        while self._read():
            pass

    def join(self, seconds: float) -> None:
        """Wait until the console has ended, at most that long."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def close(self) -> None:
        """Stop reading; the log is complete."""
        self.join(2)
        with self._reading:
            self._ended = True
            self._log.close()
            os.close(self._master)

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _follow(self) -> None:
        while self._is_readable(None):
            self._read()

    def _is_readable(self, timeout: int | None) -> bool:
        """Wait at most `timeout` milliseconds for output or its end."""
        if self._ended:
            return False
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return bool(poll.poll(timeout))

    def _read(self) -> bool:
        """Read and record what is there. Return whether there was something."""
        with self._reading:
            if not self._is_readable(0):  # another thread has read it
                return False
            try:
                data: bytes = self._child.read_nonblocking(65536, timeout=0)  # type: ignore[assignment]
            except (pexpect.EOF, OSError):
                self._ended = True
                return False
            self._record(data)
        return True

    def _record(self, data: bytes) -> None:
        room = MOST - self._written
        if room > 0:
            self._log.write(data[:room])
        self._written += len(data)
        with self._guard:
            self._tail += data
            del self._tail[:-TAIL]
        if self._written > MOST:
            what = f"the guest flooded its console: more than {MOST >> 20} MiB"
            self._die(GuestError(what, code=Code.GUEST_CONSOLE))
        self._line += data
        whole, _, rest = self._line.rpartition(b"\n")
        self._line = rest[-LONGEST:]
        if any(death.needle in whole for death in DEATHS):
            self._search(whole)

    def _search(self, whole: bytearray) -> None:
        """Search complete lines for a sign of death."""
        lines = whole.split(b"\n")
        for line in lines[-500:] if self._written > MOST else lines:
            found = diagnose(line[:LONGEST].decode(errors="replace").rstrip())
            if found:
                self._die(found)

    def _die(self, error: GuestError) -> None:
        if not self._told:
            self._told = True
            self._on_death(error)
