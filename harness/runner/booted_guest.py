"""One guest: booted with the subjects that run in it, stopped at the end."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.base import BOOT_SECONDS, Guest, GuestConfig, Support
from foothold_lab.harness.guests.catalogue import GuestType, catalogue, find_guest
from foothold_lab.harness.model import events
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import Blame, InfrastructureError, UnsupportedError
from foothold_lab.harness.model.events import Emit
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.runner.options import PROGRAM_MEMORY, RunOptions
from foothold_lab.harness.subjects import bytecode
from foothold_lab.harness.subjects.subject import Root, Subject

_NOT_UPLOADED = Support(
    False,
    "a program there uses the libraries of that machine, so that it cannot bring a loader of its own",
    "give a program that was made for that machine, one that is linked statically, or one that lies "
    "there: --subject guest:/PATH",
)


def group_name(kind: GuestType, root: Root) -> str:
    """Name the guest of a type whose subjects have this root file system, as a part of a path."""
    return kind.label if root == "image" else f"{kind.label}+{root}"


@dataclass(frozen=True, kw_only=True)
class BootRequest:
    """A guest to boot on a processor, for subjects that share one root file system.

    `boot` names this boot in all events: RUN/guests/BOOT is its directory. `large` gives the guest
    the memory of a guest for programs.
    """

    kind: GuestType
    boot: str
    processor: int
    subjects: Sequence[Subject]
    large: bool = False

    @property
    def group(self) -> str:
        """The name of the guest for these subjects, the same for all of its boots."""
        return group_name(self.kind, self.subjects[0].root)


@dataclass(repr=False, kw_only=True)
class BootedGuest:
    """A guest that runs, booted with `options`.

    directory: that of its boot.
    is_stopping: has the user ended the run?
    verdicts: those of its cells, in the order in which they ran.
    deployed: what was copied into the guest since it booted, by its place: its content.
    missing_files: those of a subject, by its name, once they were looked for.
    unsound: it must not be used again, although no verdict blames it.
    state: what cells may change of it, as it was after the last one.
    replaces: why the guest before it was given up; the next cell notes it.
    """

    kind: GuestType
    guest: Guest
    facts: Facts
    directory: Path
    options: RunOptions
    is_stopping: Callable[[], bool] = lambda: False
    verdicts: list[Verdict] = field(default_factory=list)
    deployed: dict[str, Mapping[str, str]] = field(default_factory=dict)
    missing_files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsound: bool = False
    state: str = ""
    replaces: str = ""

    @property
    def name(self) -> str:
        """The canonical name of the guest."""
        return self.kind.name

    @property
    def damaged(self) -> bool:
        """Did the guest fail under one of its cells? Then it must not be used again."""
        return self.unsound or any(verdict.blame is Blame.GUEST for verdict in self.verdicts)

    def deploy(self, subject: Subject) -> None:
        """Copy the files of one more subject into the guest.

        Raises UsageError if a file cannot be read, GuestError if the guest refuses it.
        """
        content, known = subjects.content(subject), self.deployed.get(subject.place)
        if known != content:
            subjects.copy_into_guest(self.guest, self.directory / "share", subject, known)
            self.deployed[subject.place] = content

    def __repr__(self) -> str:
        return f"BootedGuest({self.name})"


class LiveGuests:
    """The guests that run now. Another thread may stop all of them."""

    def __init__(self) -> None:
        self._guests: set[Guest] = set()
        self._guard = threading.Lock()
        self._stopping = threading.Event()

    def is_stopping(self) -> bool:
        """Say whether further guests are refused."""
        return self._stopping.is_set()

    def add(self, guest: Guest) -> None:
        """Add a guest that is about to boot. Raises InfrastructureError after `stop_starting`."""
        with self._guard:
            if self._stopping.is_set():
                raise InfrastructureError(
                    "the run is being stopped", code=Code.INFRASTRUCTURE_STOPPED
                )
            self._guests.add(guest)

    def discard(self, guest: Guest) -> None:
        """Remove a guest that was stopped."""
        with self._guard:
            self._guests.discard(guest)

    def stop_starting(self) -> None:
        """Refuse all further guests."""
        self._stopping.set()

    def stop_all(self) -> None:
        """Stop all guests, and refuse further ones."""
        self._stopping.set()
        with self._guard:
            guests = list(self._guests)
        for guest in guests:
            guest.stop()


@contextlib.contextmanager
def open_guest(name: str, options: RunOptions, emit: Emit) -> Iterator[BootedGuest]:
    """Boot one guest, by canonical name, with all subjects of the options; stop it at the end.

    Raises UnsupportedError if this machine cannot boot it, GuestError if it does not come up.
    """
    kind = find_guest(catalogue(options.builder, options.custom_kernels), name, options.machines)
    request = BootRequest(
        kind=kind,
        boot=kind.label,
        processor=options.processors[0],
        subjects=list(options.subjects.values()),
    )
    with boot_guest(request, options, emit, LiveGuests()) as booted:
        yield booted


@contextlib.contextmanager
def boot_guest(
    request: BootRequest, options: RunOptions, emit: Emit, live: LiveGuests
) -> Iterator[BootedGuest]:
    """Boot a guest with the files of its subjects; stop it at the end of the context.

    Raises UnsupportedError if this machine cannot boot it, GuestError if it does not come up,
    ImageError if an image cannot be built.
    """
    kind = request.kind
    config = _config(request, options)
    guest = kind.make(config)
    support = guest.supported()
    if not support.ok:
        raise UnsupportedError(support.reason, support.remedy)
    # images are built and files copied before the deadline of the boot begins
    images = {name: options.builder.image(name).name for name in kind.images_to_boot(config.images)}
    packages = {entry: options.builder.versions(name) for name, entry in images.items()}
    images |= {str(path): subjects.hash_of(path) for path in kind.files}
    _deploy(request, options, guest, config.share)
    started = time.monotonic()
    live.add(guest)
    try:
        emit(
            events.GuestBooting(
                guest=kind.name, boot=request.boot, images=images, packages=packages
            )
        )
        facts = guest.boot(Deadline.after(BOOT_SECONDS * max(1.0, guest.scale / 3)))
        record = guest.boot_record
        emit(
            events.GuestReady(
                guest=kind.name,
                seconds=time.monotonic() - started,
                facts=facts,
                argv=record.argv,
                provenance=record.provenance,
                notes=tuple(record.notes),
                boot=request.boot,
                own_kernel=guest.capabilities.own_kernel,
            )
        )
        yield BootedGuest(
            kind=kind,
            guest=guest,
            facts=facts,
            directory=config.directory,
            options=options,
            is_stopping=live.is_stopping,
        )
    finally:
        guest.stop()
        live.discard(guest)
        emit(events.GuestStopped(guest=kind.name, boot=request.boot))


def subject_support(
    subject: Subject, kind: GuestType, options: RunOptions, machines: Sequence[str] = ()
) -> Support:
    """Say whether a guest can run a subject: machine, libraries, and the interpreter of a script.

    `machines` are those of a guest that has booted, if they were not known before. Raises ImageError if the root file system, in which the interpreter is looked for, cannot be
    built.
    """
    guests = catalogue(options.builder, options.custom_kernels).values()
    others = [each.name for each in guests if subject.machine in each.machines]
    if subject.interpreter and kind.port:
        root = options.builder.image(kind.port.image("root"))
        if missing := subjects.missing_interpreter(subject, root):
            return Support(False, missing, "take --root host, /bin/sh or the root's Python")
    if kind.remote and subject.sysroot:
        return _NOT_UPLOADED
    return subjects.can_run(subject, kind.name, machines or kind.machines, others)


def _config(request: BootRequest, options: RunOptions) -> GuestConfig:
    directory = options.directory / "guests" / request.boot
    share = directory / "share"
    share.mkdir(parents=True, exist_ok=True)
    memory = options.memory
    programs = not all(each.reports for each in request.subjects)
    if memory is None and (request.large or programs):
        memory = PROGRAM_MEMORY
    return GuestConfig(
        directory=directory,
        share=share,
        builder=options.builder,
        cpu=request.processor,
        root=request.subjects[0].root,
        memory=memory,
        host_directory=options.host_directory,
        pull=options.pull,
        images=tuple(dict.fromkeys(each.image for each in request.subjects if each.image)),
    )


def _deploy(request: BootRequest, options: RunOptions, guest: Guest, share: Path) -> None:
    """Fill the share of a guest with the files of its subjects, and record what they are."""
    if options.recorded_share:
        shutil.copytree(options.recorded_share, share, symlinks=True, dirs_exist_ok=True)
    else:
        compiled = bytecode.for_guest(request.kind.port, options.builder)
        # a guest that gets a copy of the share gets only what its Python needs
        deployed = [subjects.for_guest(each, guest.paths) for each in request.subjects]
        subjects.deploy(share, deployed, compiled, sources=guest.capabilities.shares_live)
    subjects.write_deployed(share.parent, request.subjects)
