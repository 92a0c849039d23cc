"""User-Mode Linux: a kernel that is a process, with a directory of the host as its root."""

from __future__ import annotations

import os
import platform
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.guests import host_root
from foothold_lab.harness.guests.base import (
    HOST_DIRECTORY,
    LEAVE_ROOT,
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
    image_support,
)
from foothold_lab.harness.guests.custom_kernels import SECCOMP, Mode
from foothold_lab.harness.guests.host_probe import Host, probe_host
from foothold_lab.harness.guests.virtual_machine import Start
from foothold_lab.harness.guests.vm_process import IMAGE_LIST, Launch, VmProcess
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.transport.supervised import supervise
from foothold_lab.images import elf
from foothold_lab.images.elf_file import read_elf
from foothold_lab.images.errors import ImageError
from foothold_lab.images.library_search import SearchRoot, find_libraries

# bytes that a kernel before 6.13 exchanges with a tracer (HOST_FP_SIZE, arch/x86/um/user-offsets.c)
XSTATE_BUFFER = 2696
REGSET_SINCE = (6, 13)  # 3f17fed21491: the whole area of the host is saved
RANDOM_SINCE = (6, 0)  # "um: seed rng using host OS rng": it takes random numbers of the host
SECCOMP_SINCE = (6, 16)  # b1e1bd2e6943
MEMORY = 128  # MiB
SEED = "random-seed"  # the file of the share that seeds a kernel: images/agent/init.c
UNCONFINED = "FOOTHOLD_UNCONFINED"  # environment: `1` accepts guests that are not confined
ALLOW_NAMESPACES = (
    "allow user namespaces (docs/guests.md says how); or accept that root in the guest can do with "
    f"your files what you can: {UNCONFINED}=1"
)
EXECUTABLE_TMPFS = (
    "start a container with `--tmpfs /dev/shm:exec`, else as root: mount -o remount,exec /dev/shm"
)
_NO_TMPFS = "/dev/shm is not executable, and UML maps its memory from there"

_SPARE = 16  # MiB of /dev/shm beside the memory; guests without free memory use 112 of 128 MiB
_RUNTIME = 1 << 18  # bytes of the directory with its pid file
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

# Without these, stock Debian kernels need one more second: the RAID6 benchmark (0.85 s), the delay
# calibration (0.1 s) and 256 legacy pseudo-terminals. Measured; see docs/guests.md.
_QUICK = (
    "quiet",
    "lpj=33562624",
    "initcall_blacklist=raid6_select_algo,raid6_init",
    "pty.legacy_count=0",
)
CAPABILITIES = Capabilities(own_kernel=True, shares_live=True)


def has_seccomp(release: str) -> bool:
    """Return whether a UML kernel of this release (`6.12`) can run its processes by seccomp."""
    return _number(release) >= SECCOMP_SINCE


def unconfined_allowed() -> bool:
    """Return whether the user accepts guests that are not confined."""
    return os.environ.get(UNCONFINED) == "1"


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


@dataclass(frozen=True, kw_only=True)
class UmlKernel:
    """A UML kernel.

    release: such as `6.12`.
    image: the name of its image; or else
    custom: a kernel of the user, started in its own directory.
    append: words at the end of its command line.
    mode: how it runs its processes; a kernel without seccomp mode uses ptrace.
    shim: whether the work-around for AMX is preloaded; None: if this host needs it.
    """

    release: str
    image: str = ""
    custom: Path | None = None
    append: tuple[str, ...] = ()
    mode: Mode = SECCOMP
    shim: bool | None = None

    @property
    def actual_mode(self) -> Mode:
        """The mode that this release has."""
        return self.mode if has_seccomp(self.release) else "ptrace"

    def needs_shim(self) -> bool:
        """Return whether the host saves more floating-point state than this kernel restores."""
        if self.shim is not None:
            return self.shim
        return _number(self.release) < REGSET_SINCE and probe_host().xstate > XSTATE_BUFFER


class Uml:
    """The hypervisor of UML guests: the kernel itself is the process."""

    scale = 2.0
    capabilities = CAPABILITIES

    def __init__(self, kernel: UmlKernel, config: GuestConfig) -> None:
        self.boot_record = BootRecord()
        host_root = config.root == "host"
        self.paths = GuestPaths(root="/host" if host_root else "")
        self._kernel = kernel
        self._config = config

    def supported(self) -> Support:
        """UML needs x86-64, ptrace (unless it runs its processes by seccomp), an executable tmpfs,
        and images or what it takes to build them.
        """
        host = probe_host()
        for support in self._obstacles(host):
            return support
        notes = []
        if self._kernel.needs_shim():
            notes.append(_shim_note())
        if host.namespaces:
            notes.append(f"not confined: this host refuses namespaces (errno {host.namespaces})")
        return Support(True, notes=tuple(notes))

    def boot(self, start: Start, deadline: Deadline) -> Facts:
        """Boot from the shared root file system, read-only; see `Hypervisor.boot`."""
        builder = self._config.builder
        agent = builder.image("agent") / "agent"
        kernel = self._program()
        share = self._config.share.absolute()
        self._write_image_list(share)
        confined = probe_host().namespaces == 0
        launch = Launch(
            agent=agent,
            argv=lambda line: self._command(kernel, line, confined=confined),
            directory=self._config.directory,
            keep=("--chdir", str(kernel.parent), *self._confinement(kernel), *self._preload()),
            cpu=self._config.cpu,
        )
        launch.keys.install(share)
        if _number(self._kernel.release) < RANDOM_SINCE:
            (share / SEED).write_text(secrets.token_hex(32))
        self.boot_record.kernel_program = kernel
        self.boot_record.provenance.update(
            {
                "kernel": str(kernel) if self._kernel.custom else kernel.parent.name,
                "root": builder.image("root").name,
                "agent": agent.parent.name,
                "mode": self._kernel.actual_mode,
            }
        )
        process = start(launch)
        facts = process.connect(deadline)
        directory = self._config.host_directory
        if directory and not self.paths.root:
            _mount(HOST_DIRECTORY if confined else str(directory), process, deadline)
        return facts

    def _obstacles(self, host: Host) -> Iterator[Support]:
        """Yield what prevents a boot on this machine, the most important first."""
        if platform.machine() != "x86_64":
            yield Support(
                False,
                f"UML kernels are for x86_64, this machine is {platform.machine()}",
                "run on an x86_64 machine",
            )
        if host.ptrace and self._kernel.actual_mode != SECCOMP:
            yield Support(
                False,
                f"this machine refuses ptrace (errno {host.ptrace})",
                "allow it: `--cap-add SYS_PTRACE` in a container, else kernel.yama.ptrace_scope=1; "
                "or use uml-7.2, which runs its processes by seccomp",
            )
        # a guest that is confined has a /dev/shm of its own
        no_tmpfs = bool(host.namespaces) and not host.executable_tmpfs
        if host.namespaces and not unconfined_allowed():
            yield Support(
                False,
                f"this machine refuses namespaces (errno {host.namespaces}), so root in the guest "
                "could read and write your files" + (f"; and {_NO_TMPFS}" if no_tmpfs else ""),
                ALLOW_NAMESPACES + (f", and {EXECUTABLE_TMPFS}" if no_tmpfs else ""),
            )
        if host.namespaces and self._config.root == "host":
            yield Support(
                False,
                f"this machine refuses namespaces (errno {host.namespaces}), so a guest could "
                "write to its root file system",
                LEAVE_ROOT,
            )
        if no_tmpfs:
            yield Support(False, _NO_TMPFS, EXECUTABLE_TMPFS)
        images = () if self._kernel.custom else (self._kernel.image,)
        if not (support := image_support(self._config.builder, (*images, "root"))).ok:
            yield support

    def _program(self) -> Path:
        """Return the file of the kernel. Raises GuestError if it is not a program."""
        kernel = self._kernel.custom or self._config.builder.image(self._kernel.image) / "linux"
        if not kernel.is_file():
            remedy = "give the path of a UML kernel, `linux`"
            raise GuestError(f"{kernel} is not a file", remedy, code=Code.GUEST_BOOT)
        if not elf.is_elf(kernel):
            what = f"{kernel} is not a kernel: it is not an ELF program"
            raise GuestError(what, "is it a UML kernel?", code=Code.GUEST_BOOT)
        return kernel

    def _write_image_list(self, share: Path) -> None:
        """List the images that the guest mounts: images/agent/bind_images.c."""
        if paths := self._config.image_paths():
            lines = "".join(f"hostfs none {path}\n" for path in paths)
            (share / IMAGE_LIST).write_text(lines)

    def _confinement(self, kernel: Path) -> Iterator[str]:
        """Yield options of `agent keep` that confine the process to the files that it needs."""
        config, notes = self._config, self.boot_record.notes
        if errno := probe_host().namespaces:
            notes.append(f"not confined (errno {errno})")
            return
        readable = [Path("/proc/cpuinfo"), config.builder.image("root"), config.share.absolute()]
        readable += config.image_paths()
        readable += self._files_of_kernel(kernel)
        if self._kernel.needs_shim():
            readable.append(config.builder.image("shim"))
        for path in readable:
            yield from ("--ro", str(path))
        if self.paths.root:
            yield from ("--tree", "/", self.paths.root)
            for path in host_root.hidden():
                yield from ("--mask", f"{self.paths.root}{path}")
        elif config.host_directory:
            yield from ("--tree", str(config.host_directory), HOST_DIRECTORY)
        yield from ("--tmpfs", "/dev/shm", str(self._memory() + (_SPARE << 20)))
        yield from ("--tmpfs", "/run/uml", str(_RUNTIME))
        # procfs is not mounted; the loader finds libraries by this link, and the kernel its own file
        yield from ("--link", str(kernel), "/proc/self/exe")
        notes.append("confined to its root and its share")

    def _files_of_kernel(self, kernel: Path) -> Iterator[Path]:
        """Yield the files that the process of the kernel needs: of the user's kernel, no others."""
        if not self._kernel.custom:
            yield kernel.parent
            return
        yield kernel
        # it was linked with the libraries of this machine, or with libraries that its run path names
        yield from (each for each in map(Path, ("/lib", "/lib64", "/usr/lib")) if each.exists())
        file = read_elf(kernel)
        if file and file.interpreter:
            loader = str(kernel.parent / file.interpreter)
            try:
                found = find_libraries(kernel, SearchRoot(loader=loader))
            except ImageError:  # the loader names a library that is missing on the console
                return
            yield from found.files.values()

    def _memory(self) -> int:
        """Return the bytes of memory that the guest has: the last `mem=` of its command line."""
        size = f"{self._config.memory or MEMORY}M"
        for word in self._kernel.append:
            size = word.removeprefix("mem=") if word.startswith("mem=") else size
        match = re.fullmatch(r"(\d+)([kmg]?)", size.lower())
        if not match:
            what = f"invalid size of memory: mem={size}"
            raise GuestError(what, "--append mem=256M", code=Code.GUEST_BOOT)
        return int(match[1]) * _UNITS.get(match[2], 1)

    def _preload(self) -> Iterator[str]:
        """Yield options of `agent keep` that preload the work-around for AMX, if it is needed."""
        if self._kernel.needs_shim():
            library = self._config.builder.image("shim") / "xstate.so"
            yield from ("--env", f"LD_PRELOAD={library}")
            self.boot_record.notes.append(_shim_note())

    def _command(self, kernel: Path, line: int, *, confined: bool) -> list[str]:
        # the console is stdin and stdout, the connection /dev/ttyS0; hostfs is the root
        config = self._config
        command = [
            f"./{kernel.name}", f"mem={config.memory or MEMORY}M",
            "con=null", "con0=fd:0,fd:1", f"ssl0=fd:{line}",
            "root=/dev/root", "rootfstype=hostfs", f"rootflags={config.builder.image('root')}",
            "ro", "init=/init", f"uml_dir={'/run/uml' if confined else config.directory}/",
            *_QUICK, "foothold.port=/dev/ttyS0", f"foothold.share={config.share.absolute()}",
        ]  # fmt: skip
        if self.paths.root:
            command.append(f"foothold.host={self.paths.root}")
        if self._kernel.actual_mode == SECCOMP:
            command.append("seccomp=on")
        return [*command, *self._kernel.append]


def _mount(directory: str, process: VmProcess, deadline: Deadline) -> None:
    """Mount a directory that the UML process can open on HOST_DIRECTORY."""
    argv = ("mount", "-r", "-t", "hostfs", "-o", directory, "none", HOST_DIRECTORY)
    with process.open(argv, Limits(), deadline) as stream:
        record = supervise(stream, argv, deadline)
    if record.ending.status:
        why = record.stderr.decode(errors="replace").strip()
        what = f"{directory} cannot be mounted: {why}"
        raise GuestError(what, "share another directory", code=Code.GUEST_FILES)


def _shim_note() -> str:
    return (
        f"xstate shim preloaded: the floating-point state of this host has {probe_host().xstate} "
        f"bytes, a UML kernel before 6.13 restores {XSTATE_BUFFER}"
    )
