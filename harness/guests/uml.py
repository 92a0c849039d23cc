"""User-Mode Linux: a kernel that is a process, with a directory of the host as its root."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from foothold_lab.harness.guests.base import (
    HOST_DIRECTORY,
    LEAVE_ROOT,
    BootRecord,
    GuestConfig,
    Support,
    Tracer,
)
from foothold_lab.harness.guests.custom_kernels import SECCOMP, Mode
from foothold_lab.harness.guests.host_probe import examine
from foothold_lab.harness.guests.vm_process import AGENT, SHOWN, Launch, Machine
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import UNTRACED, Record, Supervision
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.images import apt, elf

# bytes that a kernel before 6.13 exchanges with a tracer (HOST_FP_SIZE, arch/x86/um/user-offsets.c)
XSTATE_BUFFER = 2696
REGSET_SINCE = (6, 13)  # 3f17fed21491: the host's whole area is saved
SECCOMP_SINCE = (6, 16)  # b1e1bd2e6943
MEMORY = 128  # MiB

# Stock Debian kernels need a second without these: the RAID6 benchmark (0.85 s), the delay
# calibration (0.1 s) and 256 legacy pseudo-terminals. Measured; see docs/guests.md.
_QUICK = (
    "quiet",
    "lpj=33562624",
    "initcall_blacklist=raid6_select_algo,raid6_init",
    "pty.legacy_count=0",
)


def has_seccomp(release: str) -> bool:
    """Can a UML kernel of this release (`6.12`) hold its processes by seccomp?"""
    return _number(release) >= SECCOMP_SINCE


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


class Uml:
    """A UML guest. `release` is its kernel's (`6.12`), `image` the name of its image.

    `shim` decides about the AMX work-around: None asks the host. `kernel` is a kernel of the
    user's own, started in its own directory. `mode` is how it holds its processes; a kernel that
    has no seccomp mode does it by ptrace.
    """

    scale = 2.0
    shares_live = True
    python = "/usr/bin/python3"
    agent = AGENT
    tracer: Tracer = "strace"
    unable: Mapping[str, str] = {}

    def __init__(
        self,
        name: str,
        image: str,
        release: str,
        workplace: GuestConfig,
        *,
        shim: bool | None = None,
        kernel: Path | None = None,
        append: Sequence[str] = (),
        mode: Mode = SECCOMP,
    ) -> None:
        self.name = name
        self.boot_record = BootRecord()
        self._image = image
        self._release = _number(release)
        self._place = workplace
        self.root = "/host" if workplace.root == "host" else ""
        self.share = "/run/share" if self.root else "/share"
        self._shim = shim
        self._kernel = kernel
        self._append = tuple(append)
        self._mode: Mode = mode if has_seccomp(release) else "ptrace"
        self._machine: Machine | None = None

    def supported(self) -> Support:
        """UML needs x86-64, ptrace, an executable tmpfs, its images or the means to make them."""
        host = examine()
        if platform.machine() != "x86_64":
            return Support(
                False,
                f"UML kernels are for x86_64, this is {platform.machine()}",
                "run on an x86_64 machine",
            )
        if host.ptrace:
            return Support(
                False,
                f"this machine refuses ptrace (errno {host.ptrace})",
                "allow it: `--cap-add SYS_PTRACE` in a container, else kernel.yama.ptrace_scope=1",
            )
        if host.namespaces and self._place.root == "host":
            return Support(
                False,
                f"this machine refuses namespaces (errno {host.namespaces}), so its root could not "
                "be handed in read-only",
                LEAVE_ROOT,
            )
        if host.namespaces and not host.executable_tmpfs:
            return Support(
                False,
                "/dev/shm is not executable, and UML maps its memory from there",
                "mount -o remount,exec /dev/shm",
            )
        if not self._ready() and (why := apt.unavailable_reason()):
            return Support(
                False,
                f"the kernel is not built yet, and cannot be: {why}",
                "build the images on a Debian machine, or install apt",
            )
        notes = []
        if self._needs_shim():
            notes.append(self._shim_note())
        if host.namespaces:
            notes.append(f"not confined: this host refuses namespaces (errno {host.namespaces})")
        return Support(True, notes=tuple(notes))

    def boot(self, deadline: Deadline) -> Facts:
        """Boot from the shared root, read-only; see `Guest.boot`."""
        builder = self._place.builder
        root = builder.image("root")
        agent = builder.image("agent") / "agent"
        kernel = self.program
        if not kernel.is_file():
            remedy = "give the path of a UML kernel, `linux`"
            raise GuestError(f"{kernel} is no file", remedy, code=Code.GUEST_BOOT)
        if not elf.is_elf(kernel):
            what = f"{kernel} is no kernel: not an ELF program"
            raise GuestError(what, "is it a UML kernel?", code=Code.GUEST_BOOT)
        share = self._place.share.absolute()
        host = examine()
        keep = ["--chdir", str(kernel.parent)]
        shown = self._place.shown()
        if shown:
            lines = "".join(f"hostfs none {path}\n" for path in shown)
            (share / SHOWN).write_text(lines)
        if host.namespaces == 0:
            for path in ("/proc", root, kernel.parent, share, *shown):
                keep += ["--ro", str(path)]
            if self._kernel:  # it was linked with this machine's libraries
                for folder in ("/lib", "/lib64", "/usr/lib"):
                    keep += ["--ro", folder] if Path(folder).exists() else []
            if self.root:
                keep += ["--tree", "/", self.root]
            elif self._place.host_directory:
                keep += ["--tree", str(self._place.host_directory), HOST_DIRECTORY]
            keep += ["--rw", "/dev/null", "--tmpfs", "/dev/shm", "--tmpfs", "/run/uml"]
            self.boot_record.notes.append("confined to its root and its share")
        else:
            self.boot_record.notes.append(f"not confined (errno {host.namespaces})")
        if self._needs_shim():
            library = builder.image("shim") / "xstate.so"
            keep += ["--env", f"LD_PRELOAD={library}"]
            if host.namespaces == 0:
                keep += ["--ro", str(library.parent)]
            self.boot_record.notes.append(self._shim_note())
        launch = Launch(
            agent,
            lambda line: self._command(kernel, root, share, line, confined=host.namespaces == 0),
            self._place.directory,
            tuple(keep),
            self._place.cpu,
        )
        launch.keys.install(share)
        self.boot_record.provenance.update(
            {
                "kernel": str(kernel) if self._kernel else kernel.parent.name,
                "root": root.name,
                "agent": agent.parent.name,
                "mode": self._mode,
            }
        )
        self._machine = Machine(launch)
        self.boot_record.argv = self._machine.argv
        facts = self._machine.connect(deadline)
        if self._place.host_directory and not self.root:
            here = HOST_DIRECTORY if host.namespaces == 0 else str(self._place.host_directory)
            self._mount(here, deadline)
        return facts

    def _mount(self, directory: str, deadline: Deadline) -> None:
        """Mount a directory that the UML process can open on HOST_DIRECTORY."""
        argv = ("mount", "-r", "-t", "hostfs", "-o", directory, "none", HOST_DIRECTORY)
        done = self.run(argv, Limits(), deadline)
        if done.ending.status:
            why = done.stderr.decode(errors="replace").strip()
            what = f"{directory} cannot be mounted: {why}"
            raise GuestError(what, "share another directory", code=Code.GUEST_FILES)

    def run(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        on_checkpoint: Callable[[str], None] = lambda _: None,
        how: Supervision = UNTRACED,
    ) -> Record:
        """See `Guest.run`."""
        return self._booted().run(argv, limits, deadline, on_checkpoint, how)

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
        return self._machine.diagnose() if self._machine else ""

    def stop(self) -> None:
        """See `Guest.stop`."""
        if self._machine:
            self._machine.stop()

    @property
    def program(self) -> Path:
        """The file that is its kernel."""
        return self._kernel or self._place.builder.image(self._image) / "linux"

    @property
    def process(self) -> int:
        """The process on the host that is its kernel. Raises GuestError if it is gone."""
        return self._booted().process

    def _booted(self) -> Machine:
        assert self._machine, "boot first"
        return self._machine

    def _ready(self) -> bool:
        builder = self._place.builder
        return (self._kernel is not None or builder.ready(self._image)) and builder.ready("root")

    def _needs_shim(self) -> bool:
        if self._shim is not None:
            return self._shim
        return self._release < REGSET_SINCE and examine().xstate > XSTATE_BUFFER

    def _shim_note(self) -> str:
        return (
            f"xstate shim preloaded: this host's floating-point state has {examine().xstate} "
            f"bytes, a UML kernel before 6.13 restores {XSTATE_BUFFER}"
        )

    def _command(
        self, kernel: Path, root: Path, share: Path, line: int, *, confined: bool
    ) -> list[str]:
        # the console is stdin and stdout, the line to us /dev/ttyS0; hostfs is the root
        command = [
            f"./{kernel.name}", f"mem={self._place.memory or MEMORY}M",
            "con=null", "con0=fd:0,fd:1", f"ssl0=fd:{line}",
            "root=/dev/root", "rootfstype=hostfs", f"rootflags={root}", "ro", "init=/init",
            f"uml_dir={'/run/uml' if confined else self._place.directory}/",
            *_QUICK, "foothold.port=/dev/ttyS0", f"foothold.share={share}",
        ]  # fmt: skip
        if self.root:
            command.append(f"foothold.host={self.root}")
        if self._mode == SECCOMP:
            command.append("seccomp=on")
        return [*command, *self._append]
