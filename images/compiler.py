"""The compiler of the agent: one clang for all machines, and the C library of each (a sysroot).

A gcc for another machine is a download of 40 to 60 MB, a sysroot one of 2 to 5 MB. A wheel may bring the
programs that are made here (`PREBUILT`), so that an installed Foothold needs no compiler.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from foothold_lab.images import elf, processes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.debian_arch import Port
from foothold_lab.images.errors import ImageError
from foothold_lab.images.manifest import MANIFEST
from foothold_lab.images.recipes import Materials, library_directories, make_tool

CLANG, HEADERS = "clang", "kernel-headers"  # images for all machines
LINKER = "binutils-loong64"
SYSROOT = "sysroot"  # the kind of image with the C library of a port
AGENT = Path(__file__).with_name("agent")
SHIM = Path(__file__).with_name("shim")
PREBUILT = Path(__file__).with_name("prebuilt")
_SOURCES = "sources"  # the file with the hash of what a prebuilt image was made from
_VERSION = "19"  # of clang: the first with a linker for s390x and loongarch64
CLANG_PACKAGES = PackageSet(
    suite="bookworm",
    packages=(f"clang-{_VERSION}", f"lld-{_VERSION}"),
    # not the headers, tools and libraries for programs of this machine
    only=(
        rf"(clang|lld|libclang-common)-{_VERSION}(-dev)?|(libclang-cpp|libllvm){_VERSION}",
        r"libc6|libgcc-s1|libstdc\+\+6|zlib1g|libzstd1|libffi8|libedit2|libbsd0|libmd0|libtinfo6",
    ),
)
LINKER_PACKAGES = PackageSet(
    suite="trixie",
    packages=("binutils-loongarch64-linux-gnu",),
    only=(
        "binutils-loongarch64-linux-gnu",
        "libc6|libgcc-s1|libstdc\\+\\+6|zlib1g|libzstd1|libjansson4|libsframe1",
    ),
)
# one package for all machines since Linux 6.10
HEADERS_PACKAGES = PackageSet(suite="forky", packages=("linux-libc-dev",), only=("linux-libc-dev",))
# libraries of 18 MB that only clang's static analyzer and the linker for Windows call: functions are
# bound when they are called
_NEVER_CALLED = ("libz3.so.4", "libxml2.so.2")


def make_clang(materials: Materials, out: Path) -> None:
    """Make the compiler and its linker."""
    llvm, clang = (
        _library(materials.packages, pattern) for pattern in ("libLLVM*.so*", "libclang-cpp*.so*")
    )
    elf.forget_libraries(llvm, _NEVER_CALLED)
    for library in (llvm, clang):
        # with a run path of its own, a library would not be searched where the program's are: ld.so(8)
        elf._patchelf("--remove-rpath", str(library))
    make_tool(materials, out)


def _library(packages: Path, pattern: str) -> Path:
    [found] = (
        path for path in (packages / "usr/lib").glob(f"*/{pattern}") if not path.is_symlink()
    )
    return found


def make_headers(materials: Materials, out: Path) -> None:
    """Copy the kernel's headers: usr/include and, below it, a directory for each machine."""
    for folder in ("usr/include", "usr/lib/linux"):
        shutil.copytree(materials.packages / folder, out / folder, symlinks=True)


def sysroot_packages(port: Port) -> PackageSet:
    """Return the packages with the headers and libraries that a program of a port is linked with."""
    gcc = {"bookworm": 12, "trixie": 14}[port.libc_suite]
    names: tuple[str, ...] = ("libc6-dev", f"libgcc-{gcc}-dev")
    if port.foreign:
        names = tuple(f"{name}-{port.name}-cross" for name in names)
    return PackageSet(suite=port.libc_suite, packages=names, only=names)


def make_sysroot(materials: Materials, out: Path) -> None:
    """Make a tree with usr/include, usr/lib and gcc's start files, as clang expects it.

    Programs are linked statically. A dynamic program needs the libraries of the port's root as well.
    """
    packages, port = materials.packages, materials.port
    include, lib = out / "usr/include", out / "usr/lib"
    if port.foreign:
        headers: tuple[Path, ...] = (packages / "usr" / port.triplet / "include",)
        libraries = packages / "usr" / port.triplet / "lib"
    else:
        headers = (packages / "usr/include", packages / "usr/include" / port.triplet)
        libraries = packages / library_directories(port)[1]
    for folder in headers:
        shutil.copytree(folder, include, symlinks=True, dirs_exist_ok=True)
    lib.mkdir(parents=True)
    for path in libraries.iterdir():
        if path.suffix in (".a", ".o"):
            shutil.copy2(path, lib)
    script = (libraries / "libc.so").read_text()  # of the linker, with absolute paths
    (lib / "libc.so").write_text(re.sub(r"/\S*/", "", script.rpartition("*/")[2]))
    [start] = (packages / "usr/lib").glob("gcc*/*/*/crtbegin.o")
    gcc = lib / "gcc" / port.triplet / start.parent.name
    gcc.mkdir(parents=True)
    for path in start.parent.iterdir():
        if path.name.startswith("crt") or path.name in ("libgcc.a", "libgcc_eh.a"):
            shutil.copy2(path, gcc)


def command(images: Callable[[str], Path], port: Port) -> list[str | Path]:
    """Return the start of a command line that compiles and links C programs of a port. `images`
    returns the path of an image: `Builder.image`.
    """
    clang, headers = images(CLANG), images(HEADERS) / "usr/include"
    sysroot = images(port.image(SYSROOT))
    [gcc] = (sysroot / "usr/lib/gcc" / port.triplet).iterdir()
    linker = f"--ld-path={images(LINKER)}/usr/bin/{port.linker}" if port.linker else "-fuse-ld=lld"
    return [
        clang / f"usr/lib/llvm-{_VERSION}/bin/clang", f"--target={port.triplet}", linker,
        f"--sysroot={sysroot}", f"--gcc-install-dir={gcc}",
        "-idirafter", headers / port.libraries, "-idirafter", headers,
    ]  # fmt: skip


def needs(port: Port) -> tuple[str, ...]:
    """Return the images that `command` uses."""
    return (CLANG, HEADERS, port.image(SYSROOT), *((LINKER,) if port.linker else ()))


def make_agent(materials: Materials, out: Path) -> None:
    """Build the agent, a static program."""
    _compile(_strict(materials), out / "agent", AGENT, "-static")


def make_shim(materials: Materials, out: Path) -> None:
    """Build the library that corrects UML's floating-point state (images/shim). The program into
    which it is loaded has a C library.
    """
    _compile(_strict(materials), out / "xstate.so", SHIM, "-shared", "-fPIC", "-nostdlib")


def host_compiler() -> str | None:
    """Return the C compiler of this machine, None if it has none."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def make_host_agent(_: Materials, out: Path) -> None:
    """Build the agent with the compiler of this machine, for use on this machine."""
    if not (compiler := host_compiler()):
        raise ImageError("this machine has no C compiler", "install gcc or clang")
    _compile([compiler], out / "agent", AGENT)


def _strict(materials: Materials) -> list[str | Path]:
    argv = command(materials.images.__getitem__, materials.port)
    return [*argv, "-Wall", "-Wextra", "-Werror"]


def _compile(compiler: Sequence[str | Path], out: Path, folder: Path, *flags: str) -> None:
    """Compile all C files of a folder into one program, with 64-bit file offsets on any port."""
    argv: list[str | Path] = [
        *compiler, "-O2", "-D_FILE_OFFSET_BITS=64", *flags, "-o", out, *sorted(folder.glob("*.c")),
    ]  # fmt: skip
    done = processes.run(argv, scratch=out.parent.parent)
    if done.returncode:
        raise ImageError(f"{out.name} does not compile: {done.stderr.strip()}", "report this")


def sources_of(folder: Path) -> tuple[Path, ...]:
    """Return the files that define a program of a folder: a change of one of them rebuilds it."""
    return (Path(__file__), *sorted(folder.glob("*.[ch]")))


def prebuilt(image: str, folder: Path) -> Path | None:
    """Return the directory of an image that was brought by a wheel and made from the sources that
    are in `folder`, None without such a directory.
    """
    directory = PREBUILT / image
    try:
        made_from = (directory / _SOURCES).read_text()
    except OSError:
        return None
    return directory if made_from == _hash(sources_of(folder)) else None


def copy_prebuilt(directory: Path, out: Path) -> None:
    """Make an image of a directory that `prebuilt` found."""
    for path in directory.iterdir():
        if path.name != _SOURCES:
            shutil.copy2(path, out)


def export_prebuilt(image: str, built: Path, folder: Path, into: Path = PREBUILT) -> None:
    """Copy a built image to a directory from which a wheel brings it."""
    directory = into / image
    directory.mkdir(parents=True, exist_ok=True)
    for path in built.iterdir():
        if path.name != MANIFEST:
            shutil.copy2(path, directory)
    (directory / _SOURCES).write_text(_hash(sources_of(folder)))


def _hash(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
