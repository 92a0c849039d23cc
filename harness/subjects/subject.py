"""Subjects: programs under test, how they are deployed, and how they start in a guest."""

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
from foothold_lab.harness.guests.base import Guest, GuestPaths, Support
from foothold_lab.harness.guests.host_root import is_covered
from foothold_lab.harness.model.cells import OF_GUEST, Cell
from foothold_lab.harness.model.container_name import parse_container
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.limits import parse_user
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.model.secret_values import mask_environment, unmask_environment
from foothold_lab.harness.run_directory import DAMAGED, RunFiles, decode, write_private
from foothold_lab.harness.subjects.overlay import ROOT, STDIN, WORK, Overlay, is_of_system
from foothold_lab.harness.subjects.program_file import program_file
from foothold_lab.images.debian_arch import PORTS
from foothold_lab.images.elf_file import ElfFile
from foothold_lab.images.regular_file import is_directory, open_regular

FILE = f"{bundle.PACKAGE}/{bundle.SCRIPT}"
_DEPLOYED = "subjects.json"  # in the directory of a boot
PLACE = "subject"  # directory of the share, with a directory for the files of each subject
IDLE = 0.15  # seconds for which all threads of a program wait before it counts as idle
MIB = 1 << 20
MOST_STDIN = 64 * MIB  # bytes: a guest may have the file in its memory
ENTRYPOINT = "entrypoint"
TIMEOUT = 10.0  # seconds after which a program that reports nothing counts as running
Root = Literal["image", "host"]

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # images/agent/init.c


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A program under test.

    argv: its command line; it starts with an absolute path, which is the same in every guest.
    files: files and directories of this machine, by the name in its directory of the share, `place`:
        of a directory the name and the mode, not what is in it. What is below
        ROOT is laid over the root of the guest, what is below WORK is copied into its working
        directory (overlay.py).
    links: targets of symbolic links, likewise.
    reports: whether it prints the report of the allocator.
    timeout: seconds after which it counts as running, if it does not report.
    image: an image that contains it; guests show it at the path that it has on this machine,
        `image_directory`.
    directory: where it starts; empty: in a fresh directory.
    ready_pattern: a regular expression; it is ready when a line of its output matches.
    ends: whether it ends by itself; otherwise it is ended when it is ready.
    interpreter: of a script, a path or, after env(1), a name.
    machine: the only one that runs it; empty: any.
    user: name or number of the user that it runs as; empty: that of the agent.
    refuses_root: whether any user but root will do instead of `user`.
    keep_secrets: whether secrets of its environment are recorded (model/secret_values.py).
    sysroot: whether its loader and libraries are those of another root file system.
    linked: whether it takes libraries of the root file system of its guest.
    of_guest: whether it is a program of its guest, and nothing is copied. Its `argv` begins with a
        path in the guest, or with ENTRYPOINT: what the image of a container starts by default.
    """

    name: str
    argv: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    keep_secrets: bool = False
    root: Root = "image"
    reports: bool = False
    timeout: float = TIMEOUT
    image: str = ""
    image_directory: str = ""
    directory: str = ""
    ready_pattern: str = ""
    ready_port: int = 0
    ready_file: str = ""
    ready_notify: bool = False
    ends: bool = False
    interpreter: str = ""
    machine: str = ""
    linked: bool = False
    user: str = ""
    refuses_root: bool = False
    sysroot: bool = False
    of_guest: bool = False

    @property
    def ready_condition(self) -> bool:
        """Must the agent see that it is ready?"""
        return bool(self.ready_port or self.ready_file or self.ready_notify)

    @property
    def place(self) -> str:
        """The directory of its files, in the share."""
        return f"{PLACE}/{self.name}"


ALLOCATOR = Subject(name="allocator", reports=True)


def deploy(
    share: Path,
    subjects: Iterable[Subject] = (ALLOCATOR,),
    bytecode: Iterable[Path] = (),
    *,
    sources: bool = True,
) -> None:
    """Copy the allocator and the files of subjects into a share.

    `bytecode` is that of the allocator (`harness.subjects.bytecode`); `sources` adds its sources,
    for Pythons without bytecode. Raises UsageError for a file that cannot be read.
    """
    if not (share / FILE).exists():
        bundle.write((share / FILE).parent, bytecode, sources=sources)
    for subject in subjects:
        for name, source in subject.files.items():
            try:
                _copy(source, share / subject.place / name, shared=name.startswith(f"{ROOT}/"))
            except OSError as error:
                raise UsageError(f"{source} cannot be read: {error.strerror}") from error
        for name, leads_to in subject.links.items():
            link = share / subject.place / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(leads_to)


def _copy(source: Path, target: Path, *, shared: bool) -> None:
    """Copy a file, or make a directory like that one, with its mode.

    The owner of the copy is another: what is `shared` is readable by all users.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = source.stat().st_mode & 0o7777
    if source.is_dir():
        target.mkdir(exist_ok=True)
        target.chmod(mode | (0o755 if shared else 0o700))
        return
    target.unlink(missing_ok=True)  # an earlier copy cannot be written, and may still be mapped
    shutil.copy2(source, target)
    if shared:
        target.chmod(mode | (0o555 if mode & 0o100 else 0o444))


def write_deployed(directory: Path, subjects: Sequence[Subject]) -> None:
    """Record in the directory of a boot which subjects were deployed for it."""
    recorded = [
        each if each.keep_secrets else replace(each, environment=mask_environment(each.environment))
        for each in subjects
    ]
    write_private(directory / _DEPLOYED, msgspec.json.encode(recorded, enc_hook=str))


def read_deployed(files: RunFiles) -> dict[str, Subject]:
    """Return the subjects that were deployed for a boot, by name. `files` are those of the boot.

    Raises UsageError if they were not recorded.
    """
    where = f"{files.directory}/{files.folder}/{_DEPLOYED}"
    try:
        data = files.read(_DEPLOYED)
    except OSError as error:
        raise UsageError(f"{where} has no record of the subjects: {error}", DAMAGED) from error
    found: list[Subject] = decode(data, list[Subject], where, convert=_as_path)
    for subject in found:
        if subject.name != subject_name(subject.name):
            raise UsageError(f"{where}: {subject.name[:200]!r} is not a name", DAMAGED)
    return {subject.name: subject for subject in found}


def _as_path(kind: type, value: object) -> object:
    return kind(value)


def digest(subject: Subject) -> str:
    """Hash the command line, environment, and files of a subject."""
    environment, links = sorted(subject.environment.items()), sorted(subject.links.items())
    settings = [subject.argv, environment, links, subject.root, subject.timeout, subject.user]
    files = {name: hash_of(path) for name, path in sorted(subject.files.items())}
    if subject.argv and subject.root == "host":  # it runs from its path, and is not copied
        files["argv"] = hash_of(Path(subject.argv[0]))
    return hashlib.sha256(repr((settings, files)).encode()).hexdigest()[:16]


def hash_of(path: Path) -> str:
    """Hash a file; empty if it cannot be read, which is reported where it is used."""
    try:
        with open_regular(path) as file:  # a FIFO or a device would not end
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except (OSError, ValueError):  # ValueError: the path has a NUL
        return ""


def content(subject: Subject) -> Mapping[str, str]:
    """Return what identifies each file and link of a subject, by its name in the share."""
    files = {
        name: f"{hash_of(path)} {path.stat().st_mode:o}" if path.exists() else ""
        for name, path in subject.files.items()
    }
    return {**files, **subject.links}


def _mode(one: str) -> str:
    """Return the mode of a file in a content."""
    return one.rpartition(" ")[2]


def copy_into_guest(
    guest: Guest, share: Path, subject: Subject, known: Mapping[str, str] | None = None
) -> None:
    """Copy the files of a subject into a guest that has booted.

    `share` is the directory that the guest was given. `known` is the `content` that the guest has:
    then only files that differ are copied, if no name was added and no mode has changed. Raises
    UsageError for a file that cannot be read, GuestError if the guest refuses it.
    """
    new, known = content(subject), known or {}
    changed = {name for name in new if known.get(name) != new[name]}
    # one file is copied without its mode
    has_modes = all(_mode(known.get(name, "")) == _mode(new[name]) for name in changed)
    alone = changed if new.keys() <= known.keys() and has_modes else None
    subject = for_guest(subject, guest.paths)
    if alone is not None:
        kept = {name: path for name, path in subject.files.items() if name in alone}
        subject = replace(subject, files=kept, links={})
    deploy(share, (subject,))
    place = share / subject.place
    if guest.capabilities.shares_live or not place.exists():
        return
    for name in subject.files if alone is not None else ("",):
        guest.push(place / name, f"{guest.paths.share}/{subject.place}/{name}".rstrip("/"))


def command(subject: Subject, cell: Cell, paths: GuestPaths, *, trace: bool) -> tuple[str, ...]:
    """Return the command line of a subject in a guest. Raises UnsupportedError for the entrypoint of
    an image that has none.

    The allocator starts with -I and -S, so that the configuration and the site packages of the
    guest have no effect. With `trace` it reports its calls, to be compared with the trace.
    """
    if subject.of_guest and subject.argv[0] == ENTRYPOINT:
        return _entrypoint(subject, paths)
    if not subject.reports:
        if paths.placement == "uploaded" and not (subject.of_guest or subject.image):
            return (_uploaded(subject, paths), *subject.argv[1:])
        return tuple(_in_image(word, subject, paths) for word in subject.argv)
    return (
        paths.python, "-I", "-S", f"{paths.share}/{FILE}",
        "--policy", cell.policy, "--workload", cell.workload, "--hold",
        *(("--trace",) if trace else ()),
    )  # fmt: skip


def _entrypoint(subject: Subject, paths: GuestPaths) -> tuple[str, ...]:
    """Return what an image starts: its ENTRYPOINT, with the arguments of the subject or else its CMD."""
    argv = (*paths.entrypoint, *(subject.argv[1:] or paths.arguments))
    if not argv:
        raise UnsupportedError(
            "the image of the guest has neither ENTRYPOINT nor CMD",
            f"name a program of the image: --subject {OF_GUEST}/PATH",
            code=Code.UNSUPPORTED_SUBJECT,
        )
    return argv


def supervision(subject: Subject, paths: GuestPaths, scale: float, *, trace: bool) -> Supervision:
    """Return how a subject is watched in a guest, which is `scale` times slower than native."""
    if subject.reports:
        return Supervision(trace=trace)
    work_files = _deployed(subject, paths, WORK)
    directory = subject.directory
    if subject.of_guest and not work_files:
        directory = directory or paths.start_directory
    return Supervision(
        trace=trace,
        environment={
            name: _in_image(value, subject, paths) for name, value in subject.environment.items()
        },
        directory=_in_image(directory, subject, paths),
        fresh_directory=not directory,
        work_files=work_files,
        own_root=paths.placement == "merged" and not directory,
        image=subject.image_directory,
        overlay=_deployed(subject, paths, ROOT),
        stdin=f"{paths.share}/{subject.place}/{STDIN}" if STDIN in subject.files else os.devnull,
        user=subject.user,
        refuses_root=subject.refuses_root,
        root=paths.root,
        timeout=subject.timeout * scale,
        ready_pattern="" if subject.ends else subject.ready_pattern,
        ready_port=subject.ready_port,
        ready_file=subject.ready_file,
        ready_notify=subject.ready_notify,
        ready_idle=IDLE * scale if _may_be_idle(subject) else 0.0,
        exit_maps=True,
    )


def _in_image(word: str, subject: Subject, paths: GuestPaths) -> str:
    """Return a word with the path of the image of a subject in its guest."""
    if not (paths.images and subject.image):
        return word
    place = f"{paths.images}/{Path(subject.image_directory).name}"
    return word.replace(subject.image_directory, place)


def _uploaded(subject: Subject, paths: GuestPaths) -> str:
    """Return the path of a program that stays below the share of its guest."""
    return f"{paths.share}/{subject.place}/{ROOT}{subject.argv[0]}"


def for_guest(subject: Subject, paths: GuestPaths) -> Subject:
    """Return a subject with the files that its guest needs."""
    return _without_libraries(subject) if paths.placement == "uploaded" else subject


def _without_libraries(subject: Subject) -> Subject:
    """Return a subject without the files that lie in the directories of the system on this machine:
    its libraries and their data. The program itself is kept.
    """
    program = f"{ROOT}{Path(subject.argv[0]).resolve()}" if subject.argv else ""
    files = {
        name: source
        for name, source in subject.files.items()
        if name == program or not is_of_system(name.removeprefix(ROOT))
    }
    kept = {*files, f"{ROOT}{subject.argv[0]}"} if subject.argv else set(files)
    links = {name: target for name, target in subject.links.items() if name in kept}
    return replace(subject, files=files, links=links)


def _deployed(subject: Subject, paths: GuestPaths, tree: str) -> str:
    """Return where a tree of the files of a subject is in a guest; empty if it has no such files."""
    if not any(name.startswith(f"{tree}/") for name in subject.files):
        return ""
    return f"{paths.share}/{subject.place}/{tree}"


def _may_be_idle(subject: Subject) -> bool:
    """A program without a ready condition that has not to end is ready when it is idle."""
    return not (subject.ends or subject.ready_pattern or subject.ready_condition)


@dataclass(frozen=True, kw_only=True)
class ProgramOptions:
    """What a program needs in a guest.

    name: of the subject; empty: that of the file.
    files: paths of more files and directories, which are copied into its working directory, and
        are at their own absolute paths as well.
    environment: assignments, NAME=VALUE.
    keep_secrets: record the values of secrets in it.
    stdin: the file that is its standard input; empty: nothing can be read.
    user: the user that it runs as, a name in the guest or a number; empty: that of the agent.
    root: `host`: it runs from the root of this machine, and only files that the guest hides are
        copied.
    timeout: seconds after which it counts as running.
    ready_pattern: a regular expression; it is ready when a line of its output matches.
    ready_port: a TCP port; it is ready when it listens there. 0: no condition.
    ready_file: a path as the program sees it; it is ready when this file appears.
    ready_notify: it is ready when it sends READY=1 as sd_notify(3) does.
    sysroot: a root file system that has its loader and libraries.
    """

    name: str = ""
    files: Sequence[str] = ()
    environment: Sequence[str] = ()
    keep_secrets: bool = False
    stdin: str = ""
    user: str = ""
    root: Root = "image"
    timeout: float = TIMEOUT
    ready_pattern: str = ""
    ready_port: int = 0
    ready_file: str = ""
    ready_notify: bool = False
    sysroot: Path | None = None


def of_program(
    program: str, arguments: Sequence[str] = (), options: ProgramOptions = ProgramOptions()
) -> Subject:
    """Make a subject of a program: a path, or a name that is searched in PATH.

    A dynamically linked program brings its loader and libraries: those of the sysroot, or those
    that its loader finds on this machine. A program of another machine without a sysroot uses those
    of the root of its guest. Raises UsageError for options that contradict each other, and for a
    program that cannot run: it needs another libc, no guest has its machine, or it is a script that
    does not name its interpreter.
    """
    if program.startswith(OF_GUEST):
        return _of_guest(program, arguments, options)
    if options.sysroot and options.root == "host":
        raise UsageError(
            "--sysroot brings libraries, and --root host uses those of this machine",
            "leave one of them out",
        )
    path = _find(program)
    file = program_file(path)
    machine = _machine(path, file)
    overlay = _given_files(options)
    described = _described(options)
    subject = replace(
        described,
        name=options.name or subject_name(path.name),
        argv=(str(path), *arguments),
        environment={**_search_path(), **described.environment},
        sysroot=options.sysroot is not None,
        machine=machine,
        interpreter="" if machine else _interpreter(path),
    )
    loader = file.interpreter if file else ""
    linked = False
    if options.root == "image" or is_covered(path):
        overlay.add(str(path), path)
    if options.root == "image" and loader:
        if options.sysroot:
            overlay.add_libraries_of(options.sysroot, path, loader, subject.environment)
        elif machine == platform.machine():
            overlay.add_libraries(path, loader, subject.environment)
        else:
            linked = True
    return replace(subject, files=overlay.files, links=overlay.links, linked=linked)


def _described(options: ProgramOptions) -> Subject:
    """Return what options say of any program. Raises UsageError for a wrong assignment."""
    return Subject(
        name=options.name,
        environment=unmask_environment(dict(_assignment(each) for each in options.environment)),
        keep_secrets=options.keep_secrets,
        root=options.root,
        user=parse_user(options.user) if options.user else "",
        timeout=options.timeout,
        ready_pattern=options.ready_pattern,
        ready_port=options.ready_port,
        ready_file=options.ready_file,
        ready_notify=options.ready_notify,
    )


def _of_guest(program: str, arguments: Sequence[str], options: ProgramOptions) -> Subject:
    """Make a subject of a program that is in its guest. Raises UsageError."""
    path = program.removeprefix(OF_GUEST)
    if not path.startswith("/") and path != ENTRYPOINT:
        raise UsageError(
            f"{program} is not a program of a guest",
            f"give its absolute path, {OF_GUEST}/usr/bin/PROGRAM, or {OF_GUEST}{ENTRYPOINT}, what "
            "the image of a container starts",
        )
    if options.sysroot:
        raise UsageError(
            "--sysroot brings libraries for a program of this machine, and a program of the guest "
            "has its own",
            "leave --sysroot out",
        )
    overlay = _given_files(options)
    return replace(
        _described(options),
        name=options.name or subject_name(path),
        argv=(path, *arguments),
        files=overlay.files,
        links=overlay.links,
        of_guest=True,
    )


def can_run(
    subject: Subject, guest: str, machines: Sequence[str], others: Sequence[str]
) -> Support:
    """Return whether a guest that runs programs of these machines, its own first, can run a subject.

    `others` are the guests that can. Without `machines` those of the guest are not known yet.
    """
    image = parse_container(guest)
    if subject.reports and image:
        return Support(
            False,
            "the allocator needs the Python of a root file system of Foothold",
            f"take the guest {image.engine}, or give a program: --subject",
        )
    if (
        subject.of_guest
        and not (support := _can_run_of_guest(subject, guest, image=bool(image))).ok
    ):
        return support
    if not machines:
        return Support(True)
    if subject.sysroot and guest == "native":
        return Support(
            False,
            "native runs programs with the libraries of this machine, not with those of --sysroot",
            "take a UML or QEMU guest",
        )
    if not subject.machine or subject.machine == machines[0]:
        return Support(True)
    if subject.machine in machines and not subject.linked:
        return Support(True)
    remedy = f"build it for {machines[0]}"
    if others:
        remedy = f"take {' or '.join(others)}, or {remedy}"
    if subject.machine in machines:
        why = f"{guest} has no libraries for programs for {subject.machine}"
        return Support(False, why, "give them by --sysroot, or link it statically")
    return Support(
        False,
        f"{subject.name} is for {subject.machine}, {guest} runs programs for "
        f"{' and '.join(machines)}",
        remedy,
    )


def _can_run_of_guest(subject: Subject, guest: str, *, image: bool) -> Support:
    if guest.startswith("qemu-user-"):
        return Support(
            False,
            f"{guest} has no programs of its own: it runs single programs that are given",
            "give the path of a program of this machine, or take another guest",
        )
    if subject.argv[0] == ENTRYPOINT and not image:
        return Support(
            False,
            "only the image of a container has an entrypoint",
            f"take a guest docker:IMAGE or podman:IMAGE, or name a program: --subject {OF_GUEST}/PATH",
        )
    return Support(True)


def can_judge_under(subject: Subject, ceiling: int | None) -> Support:
    """Say whether a ceiling, as the agent imitates it, has the effect of a real one on a subject.

    The kernel maps the program itself before its first instruction, and knows no ceiling. A real
    address space that ends there has no room for a program that is linked, or reaches, above it.
    """
    program = program_source(subject)
    if ceiling is None or program is None or subject.of_guest or not program.is_file():
        return Support(True)
    try:
        file = program_file(program)
    except UsageError:  # it is not readable here, which its deployment reports
        return Support(True)
    end = file.image_end if file else 0
    if end <= ceiling:
        return Support(True)
    return Support(
        False,
        f"the kernel maps {Path(subject.argv[0]).name} up to {end:#x} when it executes it, above the imitated "
        f"ceiling {ceiling:#x}; a real address space that ends there cannot execute it",
        "take a guest whose address space really ends there (`foothold atlas` lists them), or link "
        "the program at lower addresses",
    )


def program_source(subject: Subject) -> Path | None:
    """Return the file of this machine that is the program of a subject: where its files come from,
    or its own path. None without a command line.
    """
    if not subject.argv:
        return None
    name = f"{ROOT}{subject.argv[0]}"
    if leads_to := subject.links.get(name):
        name = os.path.normpath(Path(name).parent / leads_to)
    return subject.files.get(name, Path(subject.argv[0]))


def subject_name(program: str) -> str:
    """Return the name of a file, with `_` for characters that the name of a subject cannot have."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", Path(program).name).strip(".") or "program"


def _find(program: str) -> Path:
    """Find a program as a shell does. Raises UsageError."""
    found = shutil.which(program)
    if not found:
        why, remedy = (
            "is not a program of this machine",
            "give the path of one, for example ./server",
        )
        if is_directory(program):
            why = "is a directory"
        elif _begins_as_program(Path(program)):
            why, remedy = "exists but is not executable", escape_shell(("chmod", "+x", program))
        raise UsageError(f"{program} {why}", remedy)
    path = Path(found).absolute()
    return path.parent.resolve() / path.name if ".." in path.parts else path


def _begins_as_program(path: Path) -> bool:
    """Return whether a regular file can be read, and is an ELF file or a script."""
    try:
        with open_regular(path) as file:
            return file.read(4).startswith((b"\x7fELF", b"#!"))
    except (OSError, ValueError):  # ValueError: the path has a NUL
        return False


def _given_files(options: ProgramOptions) -> Overlay:
    """Return the files that the user gives to a program. Raises UsageError."""
    overlay = Overlay()
    for each in options.files:
        path = Path(each).absolute()
        if path.is_dir():
            overlay.add_tree(f"/{path.name}", path, place=WORK)
            overlay.add_tree(os.path.normpath(path), path)
        else:
            overlay.files[f"{WORK}/{path.name}"] = _readable(each)
            overlay.add(os.path.normpath(path), path)
    if options.stdin:
        overlay.files[STDIN] = _standard_input(options.stdin)
    return overlay


def _standard_input(name: str) -> Path:
    path = _readable(name)
    size = path.stat().st_size
    if size > MOST_STDIN:
        raise UsageError(
            f"--stdin {name} has {size / MIB:.1f} MiB, more than {MOST_STDIN // MIB} MiB",
            f"give the program a shorter input, or let it open the file: --file {name}",
        )
    return path


def _readable(name: str) -> Path:
    path = Path(name).absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise UsageError(f"{name} is not a readable file", "give the path of a file")
    return path


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise UsageError(f"--env {text}: this is not an assignment", "write NAME=VALUE")
    return name, value


def _search_path() -> dict[str, str]:
    """Return what the loaders of this machine search first: ld.so(8)."""
    name = "LD_LIBRARY_PATH"
    return {name: os.environ[name]} if os.environ.get(name) else {}


def _machine(path: Path, file: ElfFile | None) -> str:
    """Return the machine that a program is for; empty for a script. Raises UsageError."""
    known = [port.machine for port in PORTS.values()]
    if file and file.machine not in known:
        raise UsageError(
            f"{path} is for {file.machine}, and no guest has this machine",
            f"build it for one of these: {', '.join(known)}",
        )
    return file.machine if file else ""


def _interpreter(path: Path) -> str:
    """Return the interpreter that a script names. Raises UsageError if it names none."""
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
    """Return why a script cannot run in a root file system: its interpreter is missing, else empty."""
    name = subject.interpreter
    if not name or subject.root == "host":
        return ""
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in _PATH.split(":")]
    if any((root / each.lstrip("/")).is_file() for each in places):
        return ""
    return f"the root file system of the guest has no {name}, the interpreter of this script"
