"""Subjects: what is under test, what of it is deployed, and how it is started in a guest."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from allocator import bundle
from harness.cells import Cell, Limits
from harness.deadline import Deadline
from harness.errors import GuestError, UsageError
from harness.guests.guest import Guest
from harness.record import Supervision
from images import elf

FILE = "allocator.pyz"
PLACE = "subject"  # the directory of the share that has a directory of each subject's files
SHARE = "{share}"  # stands in a subject's words for where the share is in the guest
PATIENCE = 10.0  # seconds after which a program that reports nothing counts as running
Root = Literal["image", "host"]

# e_machine: elf(5), include/uapi/linux/elf-em.h
_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64", 21: "ppc64le",
             22: "s390x", 258: "loongarch64", 8: "mips"}  # fmt: skip
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
    its `interpreter`, by its path or, behind env(1), by its name.
    """

    name: str
    argv: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    root: Root = "image"
    reports: bool = False
    patience: float = PATIENCE
    image: str = ""
    directory: str = ""
    says: str = ""
    ends: bool = False
    interpreter: str = ""

    @property
    def place(self) -> str:
        """The directory of its files, in the share."""
        return f"{PLACE}/{self.name}"


ALLOCATOR = Subject("allocator", reports=True)


def deploy(share: Path, subjects: Iterable[Subject] = (ALLOCATOR,)) -> None:
    """Put the files of subjects into the directory that a guest will see.

    Raises UsageError if one of them cannot be read.
    """
    bundle.write(share / FILE)
    for subject in subjects:
        for name, source in subject.files.items():
            target = share / subject.place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(source, target)
            except OSError as error:
                raise UsageError(f"{source} cannot be read: {error.strerror}") from error


def digest(subject: Subject) -> str:
    """Hash all that a subject is: its words, its environment, its files."""
    words = [subject.argv, sorted(subject.environment.items()), subject.root, subject.patience]
    files = {name: hash_of(path) for name, path in sorted(subject.files.items())}
    if subject.argv and subject.root == "host":  # it is where it is, and is not brought
        files["argv"] = hash_of(Path(subject.argv[0]))
    return hashlib.sha256(repr((words, files)).encode()).hexdigest()[:16]


def hash_of(path: Path) -> str:
    """Hash a file; empty if it cannot be read, which is told where it is needed."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""


def hand_in(guest: Guest, share: Path, subject: Subject, deadline: Deadline) -> None:
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
        raise GuestError(f"a file cannot be handed in: {' '.join(argv)}: {why}")


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
        return Supervision(trace)
    return Supervision(
        trace,
        subject.environment,
        subject.directory or (f"{guest.share}/{subject.place}" if subject.files else ""),
        guest.root,
        subject.patience * guest.scale,
        says="" if subject.ends else subject.says,
    )


def of_program(
    program: str,
    arguments: Sequence[str] = (),
    *,
    name: str = "",
    files: Sequence[str] = (),
    environment: Sequence[str] = (),
    root: Root = "image",
    patience: float = PATIENCE,
    says: str = "",
) -> Subject:
    """Make a subject of any program of this machine, with what it needs to run in a guest. It is
    called as its file, if no name is given.

    A dynamically linked program brings its loader and libraries, as its own loader finds them here;
    with `root="host"` nothing is brought but what the guest covers. Raises UsageError for what
    cannot run: another machine's, another libc's, a script without interpreter.
    """
    path = _find(program)
    brought = {Path(each).name: _readable(each) for each in files}
    subject = Subject(
        name or called(path.name), (), brought, dict(_assignment(each) for each in environment),
        root, False, patience, says=says,
    )  # fmt: skip
    loader = _check(path)
    if loader is None and elf.machine(path) is None:
        subject = replace(subject, interpreter=_interpreter(path))
    if root == "host" and not is_covered(path):
        return replace(subject, argv=(str(path), *arguments))
    here = f"{SHARE}/{subject.place}"
    own = {**brought, path.name: path}
    if root == "host" or loader is None:
        return replace(subject, argv=(f"{here}/{path.name}", *arguments), files=own)
    libraries = _libraries(path, loader)
    own.update({f"lib/{name}": library for name, library in libraries.items()})
    start = (f"{here}/lib/{loader.name}", "--library-path", f"{here}/lib")
    return replace(subject, argv=(*start, f"{here}/{path.name}", *arguments), files=own)


def called(program: str) -> str:
    """Return the name of a program's file, without what cannot stand in the name of a subject."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", Path(program).name).strip(".") or "program"


def _find(program: str) -> Path:
    """Find it as a shell would, and by its real name if its directory is of no meaning to it."""
    found = shutil.which(program)
    if not found:
        there = Path(program).exists()
        why = "is there but may not be executed" if there else "is no program of this machine"
        raise UsageError(f"{program} {why}", "give the path of one, for example ./server")
    return Path(found).absolute()


def _readable(name: str) -> Path:
    path = Path(name).absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise UsageError(f"--file {name}: there is no such file that can be read")
    return path


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"--env {text}: this is no assignment", "write NAME=VALUE")
    return name, value


def is_covered(path: Path) -> bool:
    """Has a guest with the host's root a file system of its own there?"""
    return any(path.is_relative_to(each) for each in _COVERED)


def _check(path: Path) -> Path | None:
    """Return the loader of a dynamically linked program, None if it needs none, or complain."""
    machine = elf.machine(path)
    if machine is None:
        return None
    here = platform.machine()
    if _MACHINES.get(machine) != here:
        name = _MACHINES.get(machine, f"ELF machine {machine}")
        raise UsageError(f"{path} is for {name}; the guests here are {here}",
                         f"build it for {here}")  # fmt: skip
    loader = elf.interpreter(path)
    if loader is None:
        return None
    if not Path(loader).exists():
        libc = "musl" if "musl" in loader else "another libc"
        raise UsageError(
            f"{path} is made for {libc}: its loader {loader} is not on this machine",
            "link it statically, or run Foothold where it runs",
        )
    return Path(loader)


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


def lacks(subject: Subject, root: Path) -> str:
    """Say that a root file system of ours has no interpreter for a script; empty if it has."""
    name = subject.interpreter
    if not name or subject.root == "host":
        return ""
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in _PATH.split(":")]
    if any((root / each.lstrip("/")).is_file() for each in places):
        return ""
    return f"the guests' root has no {name}, which this script names as its interpreter"


def _libraries(path: Path, loader: Path) -> dict[str, Path]:
    """Ask the program's own loader which libraries it would take; nothing of it is executed."""
    argv = [str(loader), "--list", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    found = {loader.name: loader}
    for line in done.stdout.splitlines():
        name, arrow, place = line.strip().partition(" => ")
        if arrow and place.startswith("not found"):
            raise UsageError(
                f"{path} needs {name}, which is not on this machine",
                "install it, or name its directory in LD_LIBRARY_PATH",
            )
        if arrow and place.startswith("/"):
            found[Path(name).name] = Path(place.rpartition(" (")[0])
    if done.returncode:
        raise UsageError(f"{path} cannot be loaded: {done.stderr.strip() or done.stdout.strip()}")
    return found
