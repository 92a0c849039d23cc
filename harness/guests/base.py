"""What every guest is given, what it can do, and the seven operations that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import UNTRACED, Record, Supervision
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.harness.transport.supervised import supervise
from foothold_lab.images import apt
from foothold_lab.images.builder import Builder

NO_HOST_ROOT = "only native and UML guests can use the root file system of this machine"
LEAVE_ROOT = "leave --root host: the program then brings its own libraries"
HOST_LIMITS: Mapping[str, str] = {
    "overcommit": "vm.overcommit_memory belongs to the whole host and is not changed",
    "max_map_count": "vm.max_map_count belongs to the whole host and is not changed",
    "mmap_rnd_bits": "vm.mmap_rnd_bits belongs to the whole host and is not changed",
    "mmap_rnd_compat_bits": "vm.mmap_rnd_compat_bits belongs to the whole host and is not changed",
    "hugepages": "vm.nr_hugepages belongs to the whole host and is not changed",
    "thp": "the mode of transparent huge pages belongs to the whole host and is not changed",
    "exec_refused": "the mounts of the host are not changed",
}  # limits that a guest on the host's own kernel does not support, and why
HOST_LIMITS_AND_CGROUPS: Mapping[str, str] = {
    **HOST_LIMITS,
    "memory": "the cgroups of the host are not changed",
}  # the same for a guest that gets no cgroup of its own

AGENT = "/init"  # path of the agent in every root file system of ours
PYTHON = "/usr/bin/python3"  # path of the interpreter there
HOST_DIRECTORY = "/host"  # path in a guest of the directory of the host that it shows
Tracer = Literal["strace", "agent", "emulator"]
Placement = Literal["host", "merged", "copied", "bound", "uploaded"]

BOOT_SECONDS = 20.0  # of a guest of ordinary speed; one booted in 1.2 s at its slowest (measured)


@dataclass(frozen=True)
class Support:
    """Whether this machine supports something. If not: why, and the remedy."""

    ok: bool
    reason: str = ""
    remedy: str = ""
    notes: tuple[str, ...] = ()


def image_support(builder: Builder, images: Iterable[str]) -> Support:
    """Return whether these images are in the store, or can be built. Needs no network."""
    if all(map(builder.ready, images)) or not (why := apt.obstacle()):
        return Support(True)
    return Support(False, f"its images are not built, and cannot be built: {why}", why.remedy)


@dataclass(frozen=True, kw_only=True)
class GuestConfig:
    """What a guest is given.

    directory: for its console and its command line.
    share: its files appear in the guest, read-only.
    cpu: the processor that it is pinned to; None: any.
    root: the root file system of subjects, that of the images or this machine's, read-only.
    memory: in MiB, of a guest with memory of its own; None: what the allocator needs.
    host_directory: a directory of the host that the guest shows, read-only, at HOST_DIRECTORY.
    snapshots: False: always boot without a snapshot.
    images: names of images that the guest shows, read-only, at the path that they have on the host.
    pull: the container engine may download the image of a guest that it does not have.
    """

    directory: Path
    share: Path
    builder: Builder
    cpu: int | None = None
    root: Literal["image", "host"] = "image"
    memory: int | None = None
    host_directory: Path | None = None
    snapshots: bool = True
    images: tuple[str, ...] = ()
    pull: bool = False

    def image_paths(self) -> tuple[Path, ...]:
        """Return the paths of the images that the guest shows: the same on the host and in it."""
        return tuple(self.builder.image(name) for name in self.images)


@dataclass(frozen=True, kw_only=True)
class GuestPaths:
    """Where things are in a guest.

    share: the files of `GuestConfig.share`. root: the root directory of subjects; empty: that of
    the guest. python: the interpreter; agent: our agent; both empty before the boot if they are
    files of images on the host. placement: how the files of a subject get to their own paths. On
    the host they are there; the agent merges them with the root for each run of the subject; they
    are copied into the root of the guest; or they are mounted in the sandbox of each run.
    Those that are `uploaded` stay below the share instead, and use the libraries of the guest.

    images: a directory with images of runtimes, each under its name in the cache; empty: they have the
    path that they have on the host.

    Of the image of a container: `start_directory` is where its programs start (empty: in a fresh
    directory), `entrypoint` and `arguments` are its ENTRYPOINT and CMD.
    """

    share: str = "/share"
    root: str = ""
    python: str = PYTHON
    agent: str = AGENT
    placement: Placement = "merged"
    images: str = ""
    start_directory: str = ""
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a type of guest can do, whatever machine it runs on.

    own_kernel: it runs a kernel of its own, not that of the host.
    host_paths: files of the host have the same path in the guest.
    fresh: each program gets a new one, so nothing of a cell stays for the next.
    shares_live: files that are added to the share after the boot appear in the guest.
    shows_directories: it can show a directory of the host.
    tracer: what records the system calls of a subject. An emulator records them always. In a virtual
        machine with `strace` the agent records them, and strace if the agent cannot.
    unsupported_limits: fields of Limits that it never supports, each with the reason.
    """

    own_kernel: bool
    host_paths: bool = False
    fresh: bool = False
    shares_live: bool = False
    shows_directories: bool = True
    tracer: Tracer = "strace"
    unsupported_limits: Mapping[str, str] = field(default_factory=dict)


@dataclass
class BootRecord:
    """What is recorded of a boot: the exact command line, what it was made of, and what is unusual.

    `kernel_program` is the file of a kernel that is a process of the host, which gdb can attach to.
    `emulated_page` is the size in bytes of a page of the programs that an emulator runs; 0: it has none.
    `machines` are those whose programs it runs, its own first, if that was not known before the boot.
    """

    argv: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kernel_program: Path | None = None
    emulated_page: int = 0
    machines: tuple[str, ...] = ()


class Guest(Protocol):
    """An environment with an address space of its own in which programs run.

    It has seven operations: `supported boot open push pull diagnose stop`, and five properties.
    What all guests have in common is written once, above them.
    """

    @property
    def name(self) -> str:
        """The canonical name."""

    @property
    def scale(self) -> float:
        """How many times slower than native it is expected to be: deadlines are multiplied."""

    @property
    def capabilities(self) -> Capabilities:
        """What its type can do."""

    @property
    def paths(self) -> GuestPaths:
        """Where things are in it."""

    @property
    def boot_record(self) -> BootRecord:
        """What was recorded of its boot."""

    def supported(self) -> Support:
        """Say whether this machine can boot it; quick, boots nothing, downloads nothing."""

    def boot(self, deadline: Deadline) -> Facts:
        """Start it, and return its address space as measured. Raises GuestError."""

    def open(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        how: Supervision = UNTRACED,
    ) -> AbstractContextManager[Stream]:
        """Start a program under the agent, and yield the stream of the agent's frames.

        At the end of the context all processes of the program are gone. Raises GuestError.
        """

    def push(self, source: Path, target: str) -> None:
        """Copy a file, or a directory with all below it, into the guest.

        Parents of the directory are made. Links are copied as links.
        """

    def pull(self, source: str, target: Path) -> None:
        """Copy a file out of the guest, to a path that the caller chooses."""

    def diagnose(self) -> str:
        """Return the last lines of its console, also if it is dying or dead."""

    def stop(self) -> None:
        """Stop it; no process of it is left. May be called at any time, and twice."""


def run_program(
    guest: Guest,
    argv: Sequence[str],
    limits: Limits,
    deadline: Deadline,
    *,
    on_checkpoint: Callable[[str], None] = lambda _: None,
    how: Supervision = UNTRACED,
) -> Record:
    """Run a program in a guest to its end, under supervision.

    `on_checkpoint` is called with the name of each checkpoint while the program is stopped there. Raises
    SubjectError if the program cannot be started or outlives the deadline, GuestError if the guest
    ends first.
    """
    how = how.under(limits)
    if guest.capabilities.tracer != "emulator":
        with guest.open(argv, limits, deadline, how) as stream:
            return supervise(stream, argv, deadline, on_checkpoint=on_checkpoint, how=how)
    # the log of an emulator is evidence of a program that is not traced, too
    with guest.open(argv, limits, deadline, replace(how, trace=True)) as stream:
        record = supervise(stream, argv, deadline, on_checkpoint=on_checkpoint, how=how)
    trace = record.trace if how.trace else None
    page_size = guest.boot_record.emulated_page  # the agent reads that of the host
    return replace(record, trace=trace, emulator=record.trace or b"", page_size=page_size)
