"""Programs as subjects: the files that they bring, and errors for programs that cannot run."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.base import GuestPaths
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.subjects.subject import (
    ALLOCATOR,
    MOST_STDIN,
    ProgramOptions,
    Subject,
    can_run,
    command,
    deploy,
    missing_interpreter,
    of_program,
    supervision,
)
from foothold_lab.images.elf import interpreter

CELL = Cell(guest="docker:server", limits=Limits(), policy="", subject="node")


def program(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755)
    return str(path)


def elf(machine: int, interpreter: bytes = b"") -> bytes:
    """Make the smallest ELF file for a machine, with an interpreter or without."""
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, bool(interpreter), 0, 0, 0
    )
    entry = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(interpreter), 0, 1)
    return head + entry + interpreter


def test_brings_a_dynamic_program_at_its_own_paths() -> None:
    ls = Path("/bin/ls")
    if "ld-linux" not in (interpreter(ls) or ""):
        pytest.skip("ls is not linked with glibc here")
    subject = of_program("/bin/ls", ["-l", "{x}"], options=ProgramOptions(environment=["A=b=c"]))
    names = {*subject.files, *subject.links}
    assert {"root/bin/ls", f"root{ls.resolve()}", "root/lib64/ld-linux-x86-64.so.2"} <= names
    assert any(name.endswith("/libc.so.6") for name in names)
    assert subject.argv == ("/bin/ls", "-l", "{x}")
    assert all(path.is_file() for path in subject.files.values())
    assert subject.environment["A"] == "b=c"


def test_brings_the_loader_of_this_python() -> None:
    """Also where it is that of musl."""
    python = Path(sys.executable).resolve()
    loader = interpreter(python)
    if not loader:
        pytest.skip("this Python is static")
    subject = of_program(str(python))
    assert {f"root{python}", f"root{loader}"} <= {*subject.files, *subject.links}


def test_deploys_both_names_of_a_linked_program(tmp_path: Path) -> None:
    real = Path(program(tmp_path / "real" / "tool-1.2", elf(62)))
    link = tmp_path / "bin" / "tool"
    link.parent.mkdir()
    link.symlink_to("../real/tool-1.2")
    subject = of_program(str(link))
    deploy(tmp_path / "share", [subject])
    deployed = tmp_path / "share" / subject.place / f"root{link}"
    assert subject.argv == (str(link),)
    assert deployed.is_symlink()
    assert deployed.resolve() == tmp_path / "share" / subject.place / f"root{real}"
    assert deployed.read_bytes() == real.read_bytes()


def test_resolves_the_parent_directories_of_a_program(tmp_path: Path) -> None:
    program(tmp_path / "x", b"#!/bin/sh\n")
    (tmp_path / "below").mkdir()
    assert of_program(f"{tmp_path}/below/../x").argv == (str(tmp_path / "x"),)


def test_with_the_root_of_the_host_copies_only_hidden_files(tmp_path: Path) -> None:
    assert of_program("ls", options=ProgramOptions(root="host")).argv == (shutil.which("ls"),)
    script = program(tmp_path / "run", b"#!/bin/sh\nexit 0\n")
    covered = str(tmp_path).startswith("/tmp/")
    brought = of_program(script, options=ProgramOptions(root="host"))
    assert brought.argv == (script,)
    assert set(brought.files) == ({f"root{script}"} if covered else set())


def test_copies_a_static_program_and_a_script(tmp_path: Path) -> None:
    static = of_program(program(tmp_path / "static", elf(62)))
    assert set(static.files) == {f"root{tmp_path}/static"}
    config = tmp_path / "config.toml"
    config.touch()
    script = of_program(
        program(tmp_path / "s.py", b"#!/usr/bin/python3\n"),
        options=ProgramOptions(files=[str(config)]),
    )
    assert set(script.files) == {f"root{tmp_path}/s.py", "work/config.toml", f"root{config}"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (elf(43), "is for sparc64, and no guest has this machine"),
        (elf(4242), "is for ELF machine 4242, and no guest has this machine"),
        (elf(62, b"/lib/ld-musl-nowhere.so.1\0"), "is made for musl: its loader /lib/ld-musl-"),
        (elf(62, b"/lib/ld-uclibc.so.0\0"), "is made for another libc"),
        (b"echo hello\n", "neither an ELF program nor a script"),
        (b"", "neither an ELF program nor a script"),
        (elf(62, b"/lib/ld.so\0")[:64], "is a damaged ELF file"),
        (elf(62, b"/lib/ld.so\0")[:30], "is a damaged ELF file"),
        (elf(62, b"/lib/ld.so\0")[:-11], "is a damaged ELF file"),
    ],
)
def test_rejects_a_program_that_cannot_run(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        of_program(program(tmp_path / "x", data))
    assert caught.value.remedy


def test_rejects_files_that_are_missing_or_not_executable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a program of this machine"):
        of_program("./nothing-of-this-name")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(UsageError, match="is not a program of this machine"):
        of_program(str(tmp_path / "text"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="is not a program of this machine"):
        of_program(str(tmp_path / "fifo"))
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="is not executable") as caught:
        of_program(str(tmp_path / "script"))
    assert caught.value.remedy == f"chmod +x {tmp_path / 'script'}"
    with pytest.raises(UsageError, match="is a directory"):
        of_program(str(tmp_path))
    with pytest.raises(UsageError, match="absent is not a readable file"):
        of_program("ls", options=ProgramOptions(files=["absent"]))
    with pytest.raises(UsageError, match="--env NAME: this is not an assignment"):
        of_program("ls", options=ProgramOptions(environment=["NAME"]))


@pytest.mark.parametrize(
    ("first", "interpreter"),
    [
        ("#!/bin/sh", "/bin/sh"),
        ("#! /usr/bin/python3 -I", "/usr/bin/python3"),
        ("#!/usr/bin/env python3", "python3"),
        ("#!/usr/bin/env -S A=b perl -w", "perl"),
        ("#!/usr/bin/env", "/usr/bin/env"),
    ],
)
def test_finds_the_interpreter_of_a_script(tmp_path: Path, first: str, interpreter: str) -> None:
    script = of_program(program(tmp_path / "x", f"{first}\n".encode()))
    assert script.interpreter == interpreter
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    assert "has no" in missing_interpreter(script, root)
    place = interpreter if "/" in interpreter else f"/usr/bin/{interpreter}"
    (root / place.lstrip("/")).touch()
    assert missing_interpreter(script, root) == ""
    assert missing_interpreter(replace(script, root="host"), tmp_path) == ""


def test_a_program_has_no_interpreter() -> None:
    assert of_program("/bin/ls").interpreter == ""
    assert missing_interpreter(of_program("/bin/ls"), Path("/nowhere")) == ""


def test_reads_the_machine_of_a_program(tmp_path: Path) -> None:
    foreign = of_program(program(tmp_path / "static", elf(183)))
    assert (foreign.machine, foreign.linked) == ("aarch64", False)
    linked = of_program(program(tmp_path / "linked", elf(183, b"/lib/ld-linux-aarch64.so.1\0")))
    assert (linked.argv, linked.linked) == ((str(tmp_path / "linked"),), True)
    assert of_program(program(tmp_path / "s.sh", b"#!/bin/sh\n")).machine == ""
    assert ALLOCATOR.machine == ""


def test_native_rejects_the_libraries_of_another_root() -> None:
    subject = Subject(name="p", machine="x86_64", sysroot=True)
    assert "not with those of --sysroot" in can_run(subject, "native", ("x86_64",), []).reason
    assert can_run(subject, "uml-6.1", ("x86_64",), []).ok


@pytest.mark.parametrize(
    ("machine", "linked", "machines", "why", "remedy"),
    [
        ("", False, ("riscv64",), "", ""),
        ("i386", True, ("i386",), "", ""),
        ("i386", False, ("x86_64", "i386"), "", ""),
        (
            "i386",
            True,
            ("x86_64", "i386"),
            "g has no libraries for programs for i386",
            "give them by --sysroot, or link it statically",
        ),
        (
            "riscv64",
            False,
            ("x86_64", "i386"),
            "p is for riscv64, g runs programs for x86_64 and i386",
            "take qemu-a or qemu-b, or build it for x86_64",
        ),
    ],
)
def test_which_guests_can_run_a_program(
    machine: str, linked: bool, machines: tuple[str, ...], why: str, remedy: str
) -> None:
    subject = Subject(name="p", machine=machine, linked=linked)
    support = can_run(subject, "g", machines, ["qemu-a", "qemu-b"])
    assert (support.ok, support.reason, support.remedy) == (not why, why, remedy)


def test_rejects_a_standard_input_that_is_too_large(tmp_path: Path) -> None:
    words = tmp_path / "words"
    with words.open("wb") as file:
        file.truncate(MOST_STDIN)
    assert of_program("/bin/cat", (), ProgramOptions(stdin=str(words))).files["stdin"] == words
    with words.open("ab") as file:
        file.write(b"x" * (1 << 20))
    with pytest.raises(
        UsageError, match=r"--stdin .*words has 65.0 MiB, more than 64 MiB"
    ) as error:
        of_program("/bin/cat", (), ProgramOptions(stdin=str(words)))
    assert f"--file {words}" in error.value.remedy


def test_rejects_a_sysroot_with_the_root_of_the_host(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--sysroot brings libraries, and --root host"):
        of_program("/bin/ls", (), ProgramOptions(sysroot=tmp_path, root="host"))


def test_deploys_directories_with_their_modes(tmp_path: Path) -> None:
    """Also empty ones. In the root of the program, where they have another owner, all can read."""
    data = tmp_path / "data"
    (data / "empty").mkdir(parents=True)
    (data / "file").write_text("content")
    (data / "file").chmod(0o600)
    data.chmod(0o700)
    subject = of_program("/bin/ls", (), ProgramOptions(files=[str(data)]))
    deploy(tmp_path / "share", [subject])
    place = tmp_path / "share" / subject.place
    for copy, modes in (
        (place / "work/data", (0o700, 0o755, 0o600)),
        (place / f"root{data}", (0o755, 0o755, 0o644)),
    ):
        found = [(copy / name).stat().st_mode & 0o777 for name in (".", "empty", "file")]
        assert tuple(found) == modes


def test_a_program_of_the_guest() -> None:
    subject = of_program("guest:/usr/bin/node", ["-e", "1"], ProgramOptions(environment=["A=b"]))
    assert subject.of_guest
    assert (subject.name, subject.argv) == ("node", ("/usr/bin/node", "-e", "1"))
    assert (subject.environment, subject.files) == ({"A": "b"}, {})
    image = GuestPaths(start_directory="/app", entrypoint=("./run",), arguments=("a",))
    assert command(subject, CELL, image, trace=True) == subject.argv
    assert supervision(subject, image, 1.0, trace=True).directory == "/app"
    assert supervision(subject, GuestPaths(), 1.0, trace=True).fresh_directory


def test_the_entrypoint_of_an_image() -> None:
    image = GuestPaths(entrypoint=("./run", "--"), arguments=("a", "b"))
    started = of_program("guest:entrypoint")
    assert command(started, CELL, image, trace=True) == ("./run", "--", "a", "b")
    with_arguments = of_program("guest:entrypoint", ["c"])
    assert command(with_arguments, CELL, image, trace=True) == ("./run", "--", "c")
    with pytest.raises(UnsupportedError, match="neither ENTRYPOINT nor CMD"):
        command(started, CELL, GuestPaths(), trace=True)


@pytest.mark.parametrize(
    ("program", "guest", "reason"),
    [
        ("guest:entrypoint", "docker", "only the image of a container has an entrypoint"),
        ("guest:/bin/ls", "qemu-user-arm64", "has no programs of its own"),
        ("guest:/bin/ls", "uml-6.1", ""),
        ("guest:entrypoint", "docker:alpine", ""),
    ],
)
def test_guests_with_programs(program: str, guest: str, reason: str) -> None:
    support = can_run(of_program(program), guest, ("x86_64",), ())
    assert support.ok is not bool(reason)
    assert reason in support.reason


def test_rejects_a_relative_program_of_the_guest() -> None:
    with pytest.raises(UsageError, match="guest:bin/ls is not a program of a guest"):
        of_program("guest:bin/ls")
    with pytest.raises(UsageError, match="a program of the guest has its own"):
        of_program("guest:/bin/ls", options=ProgramOptions(sysroot=Path("/")))
