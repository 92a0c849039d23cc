"""Subjects: what is under test, what of it is deployed, and how it is started in a guest."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from foothold_lab.allocator import bundle
from foothold_lab.harness.guests.base import Guest, Support
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError, UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.subjects import libraries
from foothold_lab.images import elf
from foothold_lab.images.debian_arch import PORTS
from foothold_lab.images.errors import ImageError

FILE = f"{bundle.PACKAGE}/{bundle.SCRIPT}"
_REMEMBERED = "subjects.json"  # in the directory of a boot
PLACE = "subject"  # the directory of the share that has a directory of each subject's files
SHARE = "{share}"  # stands in a subject's words for where the share is in the guest
TIMEOUT = 10.0  # seconds after which a program that reports nothing counts as running
Root = Literal["image", "host"]

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # images/agent/init.c
# where a guest with the host's root has a file system of its own (images/agent/init.c)
_COVERED = ("/tmp", "/root", "/run", "/proc", "/sys", "/dev", "/var/tmp")


@dataclass(frozen=True)
class Subject:
    """A program under test. `argv` may speak of SHARE; `files` are its names in its directory of
    the share, `place`, with where they are on this machine; or it lies in an `image`, which guests
    show at its own place, and starts in a `directory` of that. A subject that `reports` speaks the
    allocator's language.

    Of another one it can be known what it `says` when it has started, a regular expression that is
    found on a line of its output; and whether it `ends` by itself, or is ended then. A script names
    its `interpreter`, by its path or, behind env(1), by its name. `machine` is the only one that
    runs it, empty for any; `linked` says that it takes libraries of the guest's root.
    """

    name: str
    argv: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    root: Root = "image"
    reports: bool = False
    timeout: float = TIMEOUT
    image: str = ""
    directory: str = ""
    ready_pattern: str = ""
    ends: bool = False
    interpreter: str = ""
    machine: str = ""
    linked: bool = False

    @property
    def place(self) -> str:
        """The directory of its files, in the share."""
        return f"{PLACE}/{self.name}"


ALLOCATOR = Subject("allocator", reports=True)


def deploy(
    share: Path,
    subjects: Iterable[Subject] = (ALLOCATOR,),
    bytecode: Iterable[Path] = (),
    *,
    sources: bool = True,
) -> None:
    """Put the files of subjects into the directory that a guest will see, and the allocator, with
    its bytecode (`harness.subjects.bytecode`), and with its sources for Pythons that have none.

    Raises UsageError if one of them cannot be read.
    """
    if not (share / FILE).exists():
        bundle.write((share / FILE).parent, bytecode, sources=sources)
    for subject in subjects:
        for name, source in subject.files.items():
            target = share / subject.place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(source, target)
            except OSError as error:
                raise UsageError(f"{source} cannot be read: {error.strerror}") from error


def write_deployed(directory: Path, subjects: Sequence[Subject]) -> None:
    """Write down what was deployed for a boot, in its directory."""
    (directory / _REMEMBERED).write_bytes(msgspec.json.encode(subjects, enc_hook=str))


def read_deployed(directory: Path) -> dict[str, Subject]:
    """Return what was deployed for a boot, by name. Raises UsageError if it was not recorded."""
    file = directory / _REMEMBERED
    try:
        found = msgspec.json.decode(file.read_bytes(), type=list[Subject], dec_hook=_as_path)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{file} does not say what ran there: {error}") from error
    return {subject.name: subject for subject in found}


def _as_path(kind: type, value: object) -> object:
    return kind(value)


def digest(subject: Subject) -> str:
    """Hash all that a subject is: its words, its environment, its files."""
    words = [subject.argv, sorted(subject.environment.items()), subject.root, subject.timeout]
    files = {name: hash_of(path) for name, path in sorted(subject.files.items())}
    if subject.argv and subject.root == "host":  # it is where it is, and is not brought
        files["argv"] = hash_of(Path(subject.argv[0]))
    return hashlib.sha256(repr((words, files)).encode()).hexdigest()[:16]


def hash_of(path: Path) -> str:
    """Hash a file; empty if it cannot be read; its user reports that."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""


def copy_into_guest(guest: Guest, share: Path, subject: Subject, deadline: Deadline) -> None:
    """Put a subject's files into a guest that has been booted. Raises as `deploy`, or GuestError.

    `share` is the directory that it was given when it was booted.
    """
    deploy(share, (subject,))
    if guest.shares_live:
        return
    for name in subject.files:
        target = f"{guest.share}/{subject.place}/{name}"
        _must(guest, ("/bin/mkdir", "-p", target.rpartition("/")[0]), deadline)
        guest.push(share / subject.place / name, target)
        if os.access(share / subject.place / name, os.X_OK):
            _must(guest, ("/bin/chmod", "755", target), deadline)


def _must(guest: Guest, argv: Sequence[str], deadline: Deadline) -> None:
    record = guest.run(argv, Limits(), deadline)
    if record.ending.status:
        why = record.stderr.decode(errors="replace").strip()
        what = f"a file cannot be copied into the guest: {' '.join(argv)}: {why}"
        raise GuestError(what, code=Code.GUEST_FILES)


def command(
    cell: Cell, guest: Guest, subject: Subject = ALLOCATOR, *, trace: bool
) -> tuple[str, ...]:
    """Return the command line of a cell's subject inside its guest.

    The allocator is started with -I and -S, so that nothing of the guest's own configuration or
    site packages plays a part. With `trace` it reports its calls, for the trace to be held against.
    """
    if not subject.reports:
        return tuple(word.replace(SHARE, guest.share) for word in subject.argv)
    return (
        guest.python, "-I", "-S", f"{guest.share}/{FILE}",
        "--policy", cell.policy, "--workload", cell.workload, "--hold",
        *(("--trace",) if trace else ()),
    )  # fmt: skip


def supervision(subject: Subject, guest: Guest, *, trace: bool) -> Supervision:
    """Say how a subject is watched in a guest."""
    if subject.reports:
        return Supervision(trace=trace)
    return Supervision(
        trace=trace,
        environment=subject.environment,
        directory=subject.directory or (f"{guest.share}/{subject.place}" if subject.files else ""),
        root=guest.root,
        timeout=subject.timeout * guest.scale,
        ready_pattern="" if subject.ends else subject.ready_pattern,
        exit_maps=True,
    )


def of_program(
    program: str,
    arguments: Sequence[str] = (),
    *,
    name: str = "",
    files: Sequence[str] = (),
    environment: Sequence[str] = (),
    root: Root = "image",
    timeout: float = TIMEOUT,
    ready_pattern: str = "",
    sysroot: Path | None = None,
) -> Subject:
    """Make a subject of any program, with what it needs to run in a guest. It is called as its
    file, if no name is given.

    A dynamically linked program brings its loader and libraries: those below `sysroot`, or as its
    own loader finds them here; one of another machine without a sysroot has those of its guest's
    root. With `root="host"` nothing is brought but what the guest covers. Raises UsageError for
    what cannot run: another libc's, a machine's that no guest has, a script without interpreter.
    """
    path = _find(program)
    machine = _machine(path)
    brought = {Path(each).name: _readable(each) for each in files}
    subject = Subject(
        name or subject_name(path.name),
        (),
        brought,
        dict(_assignment(each) for each in environment),
        root,
        False,
        timeout,
        machine=machine,
        ready_pattern=ready_pattern,
    )
    if not machine:
        subject = replace(subject, interpreter=_interpreter(path))
    if root == "host" and not is_covered(path):
        return replace(subject, argv=(str(path), *arguments))
    here = f"{SHARE}/{subject.place}"
    own = {**brought, path.name: path}
    alone = replace(subject, argv=(f"{here}/{path.name}", *arguments), files=own)
    try:
        loader = elf.interpreter(path) if machine else None
    except ImageError as error:
        raise UsageError(str(error), error.remedy) from error
    if root == "host" or loader is None:
        return alone
    if sysroot:
        found = libraries.of_sysroot(path, loader, sysroot)
    elif machine == platform.machine():
        found = libraries.of_host(path, loader)
    else:
        return replace(alone, linked=True)
    own.update({f"lib/{name}": library for name, library in found.items()})
    start = (f"{here}/lib/{Path(loader).name}", "--library-path", f"{here}/lib")
    return replace(alone, argv=(*start, *alone.argv), files=own)


def can_run(
    subject: Subject, guest: str, machines: Sequence[str], others: Sequence[str]
) -> Support:
    """Say whether a guest that runs programs of these machines, its own first, runs the subject.

    `others` are the guests that do.
    """
    if not subject.machine or subject.machine == machines[0]:
        return Support(True)
    if subject.machine in machines and not subject.linked:
        return Support(True)
    remedy = f"build it for {machines[0]}"
    if others:
        remedy = f"take {' or '.join(others)}, or {remedy}"
    if subject.machine in machines:
        why = f"{guest} has no libraries for programs of {subject.machine}"
        return Support(False, why, "give them by --sysroot, or link it statically")
    return Support(
        False,
        f"{subject.name} is for {subject.machine}, {guest} runs programs of "
        f"{' and '.join(machines)}",
        remedy,
    )


def subject_name(program: str) -> str:
    """Return the name of a program's file, without what cannot stand in the name of a subject."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", Path(program).name).strip(".") or "program"


def _find(program: str) -> Path:
    """Find it as a shell would, and by its real name if its directory is of no meaning to it."""
    found = shutil.which(program)
    if not found:
        path = Path(program)
        why, remedy = (
            "is not a program of this machine",
            "give the path of one, for example ./server",
        )
        if path.is_dir():
            why = "is a directory"
        elif path.exists():
            why, remedy = "is there but may not be executed", f"chmod +x {program}"
        raise UsageError(f"{program} {why}", remedy)
    return Path(found).absolute()


def _readable(name: str) -> Path:
    path = Path(name).absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise UsageError(f"{name}: there is no such file that can be read", "give the path of one")
    return path


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"--env {text}: this is not an assignment", "write NAME=VALUE")
    return name, value


def is_covered(path: Path) -> bool:
    """Has a guest with the host's root a file system of its own there?"""
    return any(path.is_relative_to(each) for each in _COVERED)


def _machine(path: Path) -> str:
    """Name the machine that a program is for, empty for a script, or complain."""
    machine = elf.machine(path)
    if machine is None:
        return ""
    known = [port.machine for port in PORTS.values()]
    if machine not in known:
        raise UsageError(
            f"{path} is for {machine}, for which there is no guest",
            f"build it for one of these: {', '.join(known)}",
        )
    return machine


def _interpreter(path: Path) -> str:
    """Return what a script is to be read by. Raises UsageError if it does not say so."""
    with path.open("rb") as file:
        first = file.readline(256)
    words = first[2:].decode(errors="replace").split()
    if not first.startswith(b"#!") or not words:
        raise UsageError(
            f"{path} is neither an ELF program nor a script that names its interpreter",
            "begin it with #!/bin/sh, or what it is written in",
        )
    if Path(words[0]).name != "env":
        return words[0]
    names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return names[0] if names else words[0]


def missing_interpreter(subject: Subject, root: Path) -> str:
    """Say that a root file system of ours has no interpreter for a script; empty if it has."""
    name = subject.interpreter
    if not name or subject.root == "host":
        return ""
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in _PATH.split(":")]
    if any((root / each.lstrip("/")).is_file() for each in places):
        return ""
    return f"the guests' root has no {name}, which this script names as its interpreter"
