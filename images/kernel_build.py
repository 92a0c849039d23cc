"""UML kernels from Debian's linux-source packages, with a minimal configuration for guests.

The compiler and the build tools come from packages. The host provides a shell, tar and perl, which
every Debian has. A build takes two to four minutes on two processors, once for each configuration.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from foothold_lab.images import processes, recipes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import MIB, Materials, Recipe, make_tool

SUITES: Mapping[str, str] = {
    "6.12": "trixie",
    "7.2": "forky",
}  # by release: the suite that has its source
CONFIG = Path(__file__).with_name("uml.config")
_TOOLS = "kernel-toolchain"
_TAIL = 20  # lines of make's output that an error shows
# not needed for a kernel without devices, and most of the source's gigabyte; a * matches any number
# of directories
_EXCLUDED = (
    "*/Documentation/*/*", "*/tools/testing/*", "*/drivers/gpu/*.[ch]", "*/drivers/net/*/*.c",
    "*/drivers/media/*.[ch]", "*/drivers/staging/*.[ch]", "*/sound/*.c", "*/arch/[!ux]*/*.[chS]",
)  # fmt: skip
# recipes.py is not among them: a kernel takes minutes to build, and must not be built again because
# another recipe has changed
_SOURCES = (Path(__file__), CONFIG)


def recipe(release: str, config: Path | None = None) -> Recipe:
    """Return the recipe of a kernel. `config` is a file with additional lines for the .config.

    Raises ImageError for a release without a source package.
    """
    if release not in SUITES:
        raise ImageError(f"no source package of {release}", f"releases are: {', '.join(SUITES)}")
    package = f"linux-source-{release}"

    def make(materials: Materials, out: Path) -> None:
        lines = CONFIG.read_text() + (config.read_text() if config else "")
        _make(materials, out, lines)

    return Recipe(
        name=f"uml-{release}-source",
        make=make,
        packages=PackageSet(suite=SUITES[release], packages=(package,), only=(package,)),
        needs=(_TOOLS,),
        sources=(*_SOURCES, *([config] if config else [])),
        space=2500 * MIB,
    )


RECIPES: Mapping[str, Recipe] = {
    each.name: each
    for each in (
        Recipe(
            name=_TOOLS,
            make=make_tool,
            packages=PackageSet(
                suite="bookworm",
                packages=("gcc-12", "libc6-dev", "make", "flex", "bison", "bc"),
            ),
            sources=_SOURCES,
            space=700 * MIB,
        ),
        *(recipe(release) for release in SUITES),
    )
}


def _make(materials: Materials, out: Path, config: str) -> None:
    """Unpack, configure and compile, and put the libc that it was linked with beside the kernel."""
    tree, build = materials.packages / "tree", materials.packages / "build"
    [archive] = (materials.packages / "usr/src").glob("linux-source-*.tar.xz")
    _unpack(archive, tree)
    fragment = materials.packages / "fragment"
    fragment.write_text(config)
    make = _Make(materials, tree, build)
    make("allnoconfig", KCONFIG_ALLCONFIG=str(fragment))
    _check(config, (build / ".config").read_text())
    make("linux")
    tools = materials.images[_TOOLS]
    shutil.copy2(build / "linux", out / "linux")
    shutil.copy2(build / ".config", out / "config")
    recipes.with_libc(out / "linux", tools)


def _unpack(archive: Path, tree: Path) -> None:
    """Unpack the source. Not every Debian has the program xz."""
    tree.mkdir()
    argv = ["tar", "-x", "-C", str(tree), "--strip-components=1"]
    argv += [f"--exclude={pattern}" for pattern in _EXCLUDED]
    with processes.started(argv, stdin=subprocess.PIPE) as tar, lzma.open(archive) as file:
        assert tar.stdin
        shutil.copyfileobj(file, tar.stdin, MIB)
        tar.stdin.close()
    if tar.returncode:
        raise ImageError(f"{archive.name} cannot be unpacked", "check that the disk is not full")


def _check(wanted: str, given: str) -> None:
    """Raise ImageError if the source ignored an option of the configuration."""
    have = set(given.splitlines())
    asked: dict[str, str] = {}
    for line in wanted.splitlines():
        if match := re.match(r"(?:# )?(CONFIG_\w+)(?:=| is not set)", line):
            asked[match[1]] = line
    # an option that is off may be missing
    lost = [
        line
        for name, line in asked.items()
        if line not in have and not (_is_off(line) and not _is_on(name, have))
    ]
    if lost:
        raise ImageError(
            f"the kernel source ignored: {', '.join(lost[:5])}",
            "check the names of the options in this release, and the options that they depend on",
        )


def _is_off(line: str) -> bool:
    return line.endswith(("=n", " is not set"))


def _is_on(name: str, have: set[str]) -> bool:
    return any(line.startswith(f"{name}=") for line in have)


class _Make:
    """Runs the kernel's make with our tools and a fixed environment."""

    def __init__(self, materials: Materials, tree: Path, build: Path) -> None:
        self._progress = materials.progress
        self._name = materials.target.name.rpartition("-")[0]
        tools = materials.images[_TOOLS]
        compiler = f"x86_64-linux-gnu-gcc-12 --sysroot={tools} -B{tools}/usr/bin"
        jobs = len(os.sched_getaffinity(0))
        self._argv = [
            str(tools / "usr/bin/make"), "-C", str(tree), f"O={build}", f"-j{jobs}",
            "ARCH=um", "SUBARCH=x86_64", f"CC={compiler}", f"HOSTCC={compiler}",
            # programs that run during the build must not depend on this machine's libc
            "HOSTLDFLAGS=-static",
        ]  # fmt: skip
        self._environment = {
            "PATH": f"{tools}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C",
            "M4": f"{tools}/usr/bin/m4", "BISON_PKGDATADIR": f"{tools}/usr/share/bison",
            "KBUILD_BUILD_TIMESTAMP": "@0", "KBUILD_BUILD_USER": "foothold",
            "KBUILD_BUILD_HOST": "foothold",
        }  # fmt: skip

    def __call__(self, target: str, **environment: str) -> None:
        last: deque[str] = deque(maxlen=_TAIL)
        errors: list[
            str
        ] = []  # the last lines may belong to other files, which are compiled in parallel
        compiled = 0
        with processes.started(
            [*self._argv, target],
            env={**self._environment, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdout
            for line in process.stdout:
                last.append(line)
                if re.search(r"error:|\*\*\*", line):
                    errors.append(line)
                if line.startswith("  CC "):
                    compiled += 1
                    self._progress(f"{self._name}: {compiled} files compiled", transient=True)
        if process.returncode:
            raise ImageError(
                f"`make {target}` failed: {''.join(errors[:_TAIL] or last)}",
                "correct the error above, and check that the disk is not full",
            )
