"""UML kernels from Debian's linux-source packages, with the little that a guest needs.

What they are built with is unpacked from packages, as the agent's compiler is; the host gives a
shell, tar and perl, which every Debian has. A kernel takes two to four minutes on two processors,
once: it is kept in the cache by all that went into it, its configuration included.
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

from foothold_lab.images import recipes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import MIB, Materials, Recipe, make_tool

SUITES: Mapping[str, str] = {"6.12": "trixie", "7.2": "forky"}  # a release -> who has its source
CONFIG = Path(__file__).with_name("uml.config")
_TOOLS = "kernel-toolchain"
_TAIL = 20  # lines of what make printed last, for an error
# nothing of it is compiled into a kernel without devices, and it is most of the source's gigabyte;
# a * stands for any number of directories
_LEFT_OUT = (
    "*/Documentation/*/*", "*/tools/testing/*", "*/drivers/gpu/*.[ch]", "*/drivers/net/*/*.c",
    "*/drivers/media/*.[ch]", "*/drivers/staging/*.[ch]", "*/sound/*.c", "*/arch/[!ux]*/*.[chS]",
)  # fmt: skip
# what its key is made of, beside packages. Not recipes.py, by which only files are moved about: a
# kernel takes minutes, and is not to be built again because another recipe has changed
_SOURCES = (Path(__file__), CONFIG)


def recipe(release: str, config: Path | None = None) -> Recipe:
    """Return the recipe of a kernel; `config` has more lines of a .config, which count last.

    Raises ImageError for a release whose source no suite has.
    """
    if release not in SUITES:
        raise ImageError(f"there is no source of {release}", f"releases are: {', '.join(SUITES)}")
    package = f"linux-source-{release}"

    def make(materials: Materials, out: Path) -> None:
        lines = CONFIG.read_text() + (config.read_text() if config else "")
        _make(materials, out, lines)

    return Recipe(
        f"uml-{release}-source",
        make,
        PackageSet(SUITES[release], (package,), only=(package,)),
        needs=(_TOOLS,),
        sources=(*_SOURCES, *([config] if config else [])),
        space=2500 * MIB,
    )


RECIPES: Mapping[str, Recipe] = {
    each.name: each
    for each in (
        Recipe(
            _TOOLS,
            make_tool,
            PackageSet("bookworm", ("gcc-12", "libc6-dev", "make", "flex", "bison", "bc")),
            sources=_SOURCES,
            space=700 * MIB,
        ),
        *(recipe(release) for release in SUITES),
    )
}


def _make(materials: Materials, out: Path, config: str) -> None:
    """Unpack, configure, compile, and let the kernel run with the libc that it was linked with."""
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
    """Unpack the source. Not every Debian has xz as a program."""
    tree.mkdir()
    argv = ["tar", "-x", "-C", str(tree), "--strip-components=1"]
    argv += [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as tar, lzma.open(archive) as file:
        assert tar.stdin
        shutil.copyfileobj(file, tar.stdin, MIB)
        tar.stdin.close()
    if tar.returncode:
        raise ImageError(f"{archive.name} cannot be unpacked", "is the disk full?")


def _check(wanted: str, given: str) -> None:
    """Raise ImageError if the source does not know what was asked for, or wants more for it."""
    have = set(given.splitlines())
    asked: dict[str, str] = {}
    for line in wanted.splitlines():
        if match := re.match(r"(?:# )?(CONFIG_\w+)(?:=| is not set)", line):
            asked[match[1]] = line
    # what is off is not always written down
    lost = [
        line
        for name, line in asked.items()
        if line not in have and not (_is_off(line) and not _is_on(name, have))
    ]
    if lost:
        raise ImageError(
            f"this source cannot be configured so: {', '.join(lost[:5])}",
            "is it called otherwise in that release, or does it depend on something?",
        )


def _is_off(line: str) -> bool:
    return line.endswith(("=n", " is not set"))


def _is_on(name: str, have: set[str]) -> bool:
    return any(line.startswith(f"{name}=") for line in have)


class _Make:
    """The kernel's own make, with our tools and in an environment of its own."""

    def __init__(self, materials: Materials, tree: Path, build: Path) -> None:
        self._say = materials.say
        self._name = materials.target.name.rpartition("-")[0]
        tools = materials.images[_TOOLS]
        compiler = f"x86_64-linux-gnu-gcc-12 --sysroot={tools} -B{tools}/usr/bin"
        jobs = len(os.sched_getaffinity(0))
        self._argv = [
            str(tools / "usr/bin/make"), "-C", str(tree), f"O={build}", f"-j{jobs}",
            "ARCH=um", "SUBARCH=x86_64", f"CC={compiler}", f"HOSTCC={compiler}",
            # what is compiled to run on the way is not to depend on this machine's libc
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
        errors: list[str] = []  # several at once are compiled: the last lines may be of others
        compiled = 0
        with subprocess.Popen(
            [*self._argv, target],
            env={**self._environment, **environment},
            text=True,
            stdin=subprocess.DEVNULL,
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
                    self._say(f"{self._name}: {compiled} files compiled", passing=True)
        if process.returncode:
            raise ImageError(
                f"`make {target}` failed: {''.join(errors[:_TAIL] or last)}",
                "see above; is the disk full?",
            )
