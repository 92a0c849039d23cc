"""UML kernels from Debian's linux-source packages or a tree of the user's, with a minimal
configuration for guests.

The compiler and the build tools come from packages. The host provides a shell, tar and perl, which
every Debian has. ccache keeps the object files of all builds, so that the second build of similar
sources compiles only what has changed.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from foothold_lab.images import elf, processes, recipes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from foothold_lab.images.progress import Progress
from foothold_lab.images.recipes import MIB, Materials, Recipe, make_tool

SUITES: Mapping[str, str] = {
    "5.10": "bullseye",
    "6.1": "bookworm",
    "6.12": "trixie",
    "7.2": "forky",
}  # by release: the suite that has its source
CONFIG = Path(__file__).with_name("uml.config")
OBJECTS = "ccache"  # directory of the cache with object files
TREES = "trees"  # directory of the cache with the builds of trees of users
_TOOLS = "kernel-toolchain"
_OPTIONAL = "# optional"  # before the last lines of CONFIG
_USER = "# of the user\n"  # after them
_TAIL = 20  # lines of make's output that an error shows
# not needed for a kernel without devices, and most of the source's gigabyte; a * matches any number
# of directories
_EXCLUDED = (
    "*/Documentation/*/*", "*/tools/testing/*", "*/tools/perf/*", "*/drivers/gpu/*.[ch]",
    "*/drivers/net/*/*.[ch]", "*/drivers/media/*.[ch]", "*/drivers/staging/*.[ch]",
    "*/drivers/accel/*.[ch]", "*/drivers/clk/*.[ch]", "*/drivers/infiniband/*.[ch]",
    "*/drivers/pinctrl/*.[ch]", "*/drivers/scsi/*/*.[ch]", "*/sound/*.[ch]",
    "*/arch/[!ux]*/*.[chS]", "*/arch/[!ux]*/boot/dts/*",
)  # fmt: skip
# recipes.py is not among them: a kernel takes minutes to build, and must not be built again because
# another recipe has changed
_SOURCES = (Path(__file__), CONFIG)
# the compiler has its path in every object file of ccache: a new configuration must not change it
_TOOL_SOURCES = (Path(elf.__file__),)


class TreeBuilder(Protocol):
    """What `build_tree` needs of a Builder, which imports this module."""

    cache: Cache

    def image(self, name: str) -> Path:
        """Return the directory of an image."""

    def progress(self, what: str, /, *, transient: bool = False) -> None:
        """Report progress."""


def recipe(release: str, config: Path | None = None) -> Recipe:
    """Return the recipe of a kernel. `config` is a file with additional lines for the .config.

    Raises ImageError for a release without a source package.
    """
    if release not in SUITES:
        raise ImageError(f"no source package of {release}", f"releases are: {', '.join(SUITES)}")
    package = f"linux-source-{release}"

    def make(materials: Materials, out: Path) -> None:
        _make(materials, out, _configuration(config))

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
                packages=("gcc-12", "libc6-dev", "make", "flex", "bison", "bc", "ccache"),
            ),
            sources=_TOOL_SOURCES,
            space=700 * MIB,
        ),
        *(recipe(release) for release in SUITES),
    )
}


def build_tree(tree: Path, config: Path | None, builder: TreeBuilder) -> Path:
    """Build the UML kernel of a source tree, and return the path of the program.

    The tree is not written to. The object files stay in the cache, in a directory for each tree, so
    that the next build compiles what has changed. Raises ImageError if `tree` is not a kernel source,
    or does not compile.
    """
    tree = tree.resolve()
    if not (tree / "arch/um/Kconfig").is_file():
        raise ImageError(f"{tree} has no arch/um/Kconfig", "give a source tree of Linux")
    tools = builder.image(_TOOLS)
    cache = builder.cache
    name = f"tree-{hashlib.sha256(os.fsencode(tree)).hexdigest()[:16]}"
    directory = cache.root / TREES / name
    with cache.locked(name, progress=builder.progress):
        (directory / "build").mkdir(parents=True, exist_ok=True)
        make = _Make(
            tools=tools,
            tree=tree,
            build=directory / "build",
            objects=cache.root / OBJECTS,
            name=tree.name,
            progress=builder.progress,
        )
        _compile(make, directory / "fragment", _configuration(config))
        shutil.rmtree(directory / "kernel", ignore_errors=True)
        (directory / "kernel").mkdir()
        _install(make, directory / "kernel")
    return directory / "kernel/linux"


def _configuration(config: Path | None) -> str:
    return CONFIG.read_text() + _USER + (config.read_text() if config else "")


def _required(config: str) -> str:
    """Return the lines of a configuration that the source must not ignore."""
    ours, _, users = config.partition(_USER)
    return ours.partition(_OPTIONAL)[0] + users


def _make(materials: Materials, out: Path, config: str) -> None:
    """Unpack, configure and compile, and put the libc that it was linked with beside the kernel."""
    tree, build = materials.packages / "tree", materials.packages / "build"
    [archive] = (materials.packages / "usr/src").glob("linux-source-*.tar.xz")
    _unpack(archive, tree)
    make = _Make(
        tools=materials.images[_TOOLS],
        tree=tree,
        build=build,
        objects=materials.target.parent.parent / OBJECTS,
        name=materials.target.name.rpartition("-")[0],
        progress=materials.progress,
    )
    _compile(make, materials.packages / "fragment", config)
    _install(make, out)


def _compile(make: _Make, fragment: Path, config: str) -> None:
    make.build.mkdir(exist_ok=True)
    fragment.write_text(config if _mounts_any_root(make.tree) else f"CONFIG_BLOCK=y\n{config}")
    make("allnoconfig", KCONFIG_ALLCONFIG=str(fragment))
    _check(_required(config), (make.build / ".config").read_text())
    make("linux")


def _mounts_any_root(tree: Path) -> bool:
    """Say whether a kernel without the block layer mounts a root; before 5.15 it does not."""
    return b"mount_nodev_root" in (tree / "init/do_mounts.c").read_bytes()


def _install(make: _Make, out: Path) -> None:
    """Copy the kernel, and put the libc that it was linked with beside it."""
    shutil.copy2(make.build / "linux", out / "linux")
    shutil.copy2(make.build / ".config", out / "config")
    recipes.with_libc(out / "linux", make.tools)


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


@dataclass(frozen=True, kw_only=True)
class _Make:
    """Runs the kernel's make with our tools and a fixed environment.

    tree: the source. build: where files are written. objects: the directory of ccache.
    """

    tools: Path
    tree: Path
    build: Path
    objects: Path
    name: str
    progress: Progress

    def _argv(self, target: str) -> list[str]:
        tools = self.tools
        compiler = f"x86_64-linux-gnu-gcc-12 --sysroot={tools} -B{tools}/usr/bin"
        return [
            str(tools / "usr/bin/make"), "-C", str(self.tree), f"O={self.build}",
            f"-j{len(os.sched_getaffinity(0))}", "ARCH=um", "SUBARCH=x86_64",
            f"CC={tools}/usr/bin/ccache {compiler}", f"HOSTCC={compiler}",
            # programs that run during the build must not depend on this machine's libc
            "HOSTLDFLAGS=-static",
            target,
        ]  # fmt: skip

    @property
    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": f"{self.tools}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C",
            "M4": f"{self.tools}/usr/bin/m4", "BISON_PKGDATADIR": f"{self.tools}/usr/share/bison",
            "KBUILD_BUILD_TIMESTAMP": "@0", "KBUILD_BUILD_USER": "foothold",
            "KBUILD_BUILD_HOST": "foothold",
            # a compiler that is killed leaves its temporary files, which go with this directory
            "TMPDIR": str(self.build),
            # each build is in another directory: paths below it do not matter
            "CCACHE_DIR": str(self.objects), "CCACHE_BASEDIR": str(self.build.parent),
            "CCACHE_NOHASHDIR": "1", "CCACHE_MAXSIZE": "1G",
            # find object files by the headers that the compiler read: no file is preprocessed twice. But
            # all read autoconf.h, so another .config compiles all files
            "CCACHE_DEPEND": "1",
        }  # fmt: skip

    def __call__(self, target: str, **environment: str) -> None:
        last: deque[str] = deque(maxlen=_TAIL)
        errors: list[
            str
        ] = []  # the last lines may belong to other files, which are compiled in parallel
        compiled = 0
        with processes.started(
            self._argv(target),
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
                    self.progress(f"{self.name}: {compiled} files compiled", transient=True)
        if process.returncode:
            if any("is not clean" in line for line in errors):
                raise ImageError(
                    f"{self.tree} was built in before",
                    f"run `make -C {self.tree} ARCH=um mrproper`, which removes its .config, or "
                    "give a clean tree: `git worktree add ../clean`",
                )
            raise ImageError(
                f"`make {target}` failed: {''.join(errors[:_TAIL] or last)}",
                "correct the error above, and check that the disk is not full",
            )
