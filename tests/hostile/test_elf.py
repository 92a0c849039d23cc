"""Damaged and hostile programs: each is one clear error, and none runs on this machine."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.subjects.subject import can_judge_under, of_program
from foothold_lab.images.elf_file import ElfError, read_elf
from tests.hostile.targets import check_elf

pytestmark = pytest.mark.thorough

TRUE = Path(shutil.which("true") or "/bin/true").resolve()
needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="it compiles a program")


def program(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o755)
    return path


def test_3000_mutations_are_answered_in_words(tmp_path: Path) -> None:
    random = Random(20120210)
    for _ in range(3000):
        check_elf(random, tmp_path)


@pytest.mark.parametrize("length", [4, 5, 16, 19, 20, 40, 63, 64, 100, 700, 5000])
def test_a_cut_program_is_a_damaged_one(tmp_path: Path, length: int) -> None:
    cut = program(tmp_path / "cut", TRUE.read_bytes()[:length])
    with pytest.raises(UsageError, match="is a damaged ELF file") as caught:
        of_program(str(cut))
    assert caught.value.remedy
    assert can_judge_under(of_program(str(TRUE)), 1 << 39).ok


def at_interpreter(data: bytes) -> tuple[int, int]:
    """The place and the size of the loader's name."""
    table, (size, count) = (
        struct.unpack_from("<Q", data, 32)[0],
        struct.unpack_from("<HH", data, 54),
    )
    for at in range(table, table + size * count, size):
        if struct.unpack_from("<I", data, at)[0] == 3:
            return struct.unpack_from("<Q", data, at + 8)[0], struct.unpack_from(
                "<Q", data, at + 32
            )[0]
    pytest.skip(f"{TRUE} is static: it names no loader")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"\xff\xfe/ld.so\0", "is not UTF-8"),
        (b"/lib/\x1b[2Jld\0", "characters that no name has"),
        (b"no end at all" * 3, "is empty or has no end"),
        (b"\0", "is empty or has no end"),
        (b"ld.so\0", "is not on this machine"),
        (b"../../../../../evil\0", "is not on this machine"),
    ],
)
def test_a_name_of_a_loader_may_be_anything(tmp_path: Path, name: bytes, told: str) -> None:
    data = bytearray(TRUE.read_bytes())
    place, size = at_interpreter(data)
    data[place : place + size] = name.ljust(size, b"\0")[:size]
    with pytest.raises(UsageError, match=told):
        of_program(str(program(tmp_path / "prog", bytes(data))))


@pytest.mark.skipif(
    not Path("/etc/ld.so.cache").exists(), reason="a loader elsewhere needs the cache of ldconfig"
)
def test_a_loader_of_the_program_does_not_run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program names what the kernel of a guest runs as its loader."""
    monkeypatch.chdir(tmp_path)
    evil = program(tmp_path / "ld-evil.so", f"#!/bin/sh\ntouch {tmp_path}/ran\n".encode())
    data = bytearray(TRUE.read_bytes())
    place, size = at_interpreter(data)
    for name in (evil.name, f"./{evil.name}"):
        data[place : place + size] = name.encode().ljust(size, b"\0")
        with pytest.raises(UsageError, match="which is not an absolute path") as caught:
            of_program(str(program(tmp_path / "prog", bytes(data))))
        assert "--sysroot" in caught.value.remedy
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="l") as folder:
        short = program(Path(folder, "l"), evil.read_bytes())
        data[place : place + size] = str(short).encode().ljust(size, b"\0")
        subject = of_program(str(program(tmp_path / "prog", bytes(data))))
    assert subject.files[f"root{short}"] == short
    assert not (tmp_path / "ran").exists()


@needs_compiler
@pytest.mark.parametrize("option", ["audit", "depaudit"])
def test_an_audit_library_does_not_run_here(tmp_path: Path, option: str) -> None:
    """Glibc's loader runs the libraries of DT_AUDIT even to list the others: only a guest does."""
    ran = tmp_path / "ran"
    (tmp_path / "evil.c").write_text(
        "#include <fcntl.h>\n"
        f'unsigned la_version(unsigned v) {{ open("{ran}", O_CREAT | O_WRONLY, 0600); return v; }}\n'
    )
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    library, prog = tmp_path / "evil.so", tmp_path / "prog"
    compiled = ["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "evil.c")]
    subprocess.run(compiled, check=True)
    linked = ["gcc", "-o", str(prog), str(tmp_path / "main.c"), f"-Wl,--{option}={library}"]
    subprocess.run(linked, check=True)
    assert of_program(str(prog)).files[f"root{library}"] == library
    assert not ran.exists()


# what Python reports before it starts a program, maps a file or loads a library
WATCH = """
import sys
from foothold_lab.harness.guests.custom_kernels import uml_release
from foothold_lab.harness.subjects.subject import of_program
from pathlib import Path
EVENTS = ("subprocess.", "os.exec", "os.posix_spawn", "os.fork", "mmap.", "ctypes.dlopen")
sys.addaudithook(lambda event, words: event.startswith(EVENTS) and sys.exit(f"{event} {words}"))
for path in sys.argv[1:]:
    of_program(path)
    try:
        uml_release(Path(path))
    except Exception as error:
        print(error)
"""


def test_no_file_of_a_subject_is_mapped_or_executed_here() -> None:
    """A mapped file that becomes shorter ends the process that maps it by SIGBUS."""
    paths = list(filter(None, map(shutil.which, ("ls", "bash", "git"))))
    argv = [sys.executable, "-c", WATCH, *paths]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("is not a UML kernel") == len(paths)


LIST = """
import sys
from foothold_lab.harness.cli import main
EVENTS = ("subprocess.", "os.exec", "os.posix_spawn", "os.fork", "os.system", "mmap.")
def refuse(event, words):
    # a store without images asks apt for the mirror
    if event.startswith(EVENTS) and words[0] != "apt-get":
        sys.exit(f"{event} {words}")
sys.addaudithook(refuse)
sys.exit(main.main(["plan", sys.argv[1]]))
"""


def test_a_plan_that_is_listed_runs_nothing(tmp_path: Path) -> None:
    program(tmp_path / "prog", TRUE.read_bytes())
    (tmp_path / "plan.toml").write_text(
        'schema = 1\nname = "mine"\n[axes]\nguests = ["native", "uml-7.2", "docker"]\n'
        'subjects = ["prog"]\n[subject.prog]\nprogram = "./prog"\n'
    )
    argv = [sys.executable, "-c", LIST, str(tmp_path / "plan.toml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "native/none/prog" in done.stdout


@needs_compiler
def test_a_run_path_brings_shared_objects_only(tmp_path: Path) -> None:
    """A program names the directories: no secret of this machine follows it into a guest."""
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    prog, folder = tmp_path / "prog", tmp_path / "folder"
    folder.mkdir()
    (folder / "id_rsa.solaris").write_text("secret")
    (folder / "libsecret.so").write_text("secret")
    os.mkfifo(folder / "fifo.so")
    library = folder / "libplugin.so.1"
    build = ["gcc", "-shared", "-nostdlib", "-o", str(library), str(tmp_path / "main.c")]
    subprocess.run(build, check=True)
    linked = ["gcc", "-o", str(prog), str(tmp_path / "main.c"), f"-Wl,-rpath,{folder}"]
    subprocess.run(linked, check=True)
    files = of_program(str(prog)).files
    assert [name for name in files if str(folder) in name] == [f"root{library}"]


@needs_compiler
def test_a_path_of_a_library_stays_in_the_sysroot(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    prog, root = tmp_path / "prog", tmp_path / "sysroot"
    secret = tmp_path / "secret.so"
    build = ["gcc", "-shared", "-nostdlib", "-o", str(secret), str(tmp_path / "main.c")]
    subprocess.run(build, check=True)
    subprocess.run(["gcc", "-o", str(prog), str(tmp_path / "main.c"), str(secret)], check=True)
    elf = read_elf(prog)
    assert elf
    (root / "lib").mkdir(parents=True)
    shutil.copy(elf.interpreter, root / "lib" / Path(elf.interpreter).name)
    from foothold_lab.harness.subjects.subject import ProgramOptions

    if any("/" in name for name in elf.needed):
        with pytest.raises(UsageError, match=r"needs .*secret\.so, which is not below"):
            of_program(str(prog), options=ProgramOptions(sysroot=root))


@pytest.mark.timeout(30)
def test_no_program_is_a_fifo_or_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises((ElfError, IsADirectoryError)):
            read_elf(path)


def test_a_path_with_a_bracket_is_a_path(tmp_path: Path) -> None:
    from foothold_lab.harness.cli import main

    for name in ("a[1]", "b*", "c?d"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(TRUE, folder / name)
        assert main.main(["plan", "--subject", str(folder / name), "--guest", "native"]) == 0
