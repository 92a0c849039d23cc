"""Runtimes from Debian packages. Their programs use the loader and the libraries of the image, so
they run on this machine and in every guest that has the image at the same path.

The programs that they run are in images/hello. Programs in compiled languages are compiled when the
image is built: for another machine by a cross-compiler, or by the compiler of that machine under
qemu-user. To add a runtime, write a function that fills an image from unpacked packages, and add a
line to `_runtimes`; see docs/runtimes.md.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from foothold_lab.images import elf, processes, recipes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.debian_arch import AMD64, ARM64, RISCV64, Port
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import MIB, Materials, Recipe, library_directories, make_tool

HELLO = Path(__file__).with_name("hello")
SUITE = "trixie"
PORTS = (AMD64, ARM64, RISCV64)
COMPILER = f"toolchain-{SUITE}"
SCRATCH = "{scratch}"  # in the arguments of a tool
GCC = "14"
GO = "1.24"
JAVA = "25"
# trixie's index for riscv64 is broken (docs/guests.md)
_SUITES = {RISCV64.name: RISCV64.suite}
_C = ("libc6", "libgcc-s1", r"libstdc\+\+6", "libatomic1")


def install(
    materials: Materials,
    out: Path,
    programs: Iterable[str],
    trees: Iterable[str] = (),
    *,
    opened: Iterable[str] = (),
    libraries: str = "lib",
) -> None:
    """Fill an image with programs and directories of the packages, and with all libraries that they
    need or open by name (`opened`), in the directory `libraries`. The programs use these libraries.

    A program that is already in the image, because it was compiled, is not copied.
    """
    for tree in trees:
        copy_tree(materials.packages, tree, out)
    for program in programs:
        if not (out / program).exists():
            (out / program).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(materials.packages / program, out / program)
    port, loader = materials.port, _loader(materials.port)
    roots = [materials.packages, *materials.images.values()]
    places = [
        root / folder for root in roots for folder in (*library_directories(port), _cross(port))
    ]
    users = [out / program for program in programs]
    users += [path for path in out.rglob("*.so*") if path.is_file() and elf.is_elf(path)]
    by_name = [_find(name, places) for name in (loader, *opened)]
    beside = out / libraries
    beside.mkdir(parents=True, exist_ok=True)
    for library in {*by_name, *elf.closure([*users, *by_name[1:]], places)}:
        shutil.copy2(library.resolve(), beside / library.name)
    run_path = materials.target / libraries
    for program in programs:
        elf.relocate(out / program, str(run_path / loader), str(run_path))


def _loader(port: Port) -> str:
    return Path(port.loader).name


def _cross(port: Port) -> str:
    """Return the directory of the target's libraries in the packages of a cross-compiler."""
    return f"usr/{port.libraries}/lib"


def _find(name: str, places: Iterable[Path]) -> Path:
    for place in places:
        if (place / name).exists():
            return place / name
    raise ImageError(f"none of the packages has {name}", "report this")


def copy_tree(packages: Path, tree: str, out: Path) -> None:
    """Copy a directory. A link out of it (to /etc) becomes a copy of its target in the packages, or
    is removed: it must not lead to a file of this machine.
    """
    shutil.copytree(packages / tree, out / tree, symlinks=True, dirs_exist_ok=True)
    for path in (out / tree).rglob("*"):
        if not path.is_symlink():
            continue
        link = path.readlink()
        if not link.is_absolute() and path.exists():
            continue
        named = packages / path.parent.relative_to(out) / link
        target = packages / str(link).lstrip("/") if link.is_absolute() else named
        path.unlink()
        if target.is_file():
            shutil.copy2(target, path)


def run_tool(
    argv: Iterable[str | Path],
    what: str,
    *,
    directory: Path | None = None,
    **environment: str | Path,
) -> None:
    """Run a compiler or another tool of an image, without the environment of this process.

    It starts in `directory`, else in a new one, whose path takes the place of SCRATCH in its
    arguments.
    """
    with tempfile.TemporaryDirectory(prefix="foothold-") as scratch:
        done = processes.run(
            [str(word).replace(SCRATCH, scratch) for word in argv],
            cwd=directory or scratch,
            env={"HOME": scratch, "TMPDIR": scratch, **{k: str(v) for k, v in environment.items()}},
        )
    if done.returncode:
        raise ImageError(f"{what}: {(done.stderr or done.stdout).strip()[-800:]}", "report this")


def _command(materials: Materials, program: Path, libraries: Iterable[Path]) -> list[str | Path]:
    """Return the command that starts a program before the image is finished: with its loader and
    the directories of its libraries, and under qemu-user if it is for another machine.
    """
    port, beside = materials.port, list(libraries)
    emulator = (
        [materials.images[port.emulators] / "usr/bin" / port.emulator] if port.foreign else []
    )
    search = ("--library-path", ":".join(map(str, beside)))
    return [*emulator, _find(_loader(port), beside), *search, program]


def _gcc(materials: Materials) -> list[str]:
    compiler = materials.image(COMPILER)
    return [
        f"{compiler}/usr/bin/{materials.port.triplet}-gcc-{GCC}",
        f"--sysroot={compiler}",
        f"-B{compiler}/usr/bin",
    ]


def _compile(materials: Materials, source: str, program: Path, *flags: str) -> None:
    strict = ("-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-rdynamic")
    # names in the program depend neither on chance nor on directories of this machine
    places = (HELLO, materials.image(COMPILER), SCRATCH)
    reproducible = ("-frandom-seed=0", *(f"-ffile-prefix-map={each}=." for each in places))
    program.parent.mkdir(parents=True, exist_ok=True)
    run_tool(
        [*_gcc(materials), *strict, *reproducible, *flags, "-o", program, HELLO / source],
        f"{source} does not compile",
    )


def make_compiler(materials: Materials, out: Path) -> None:
    """Make a C compiler of the runtimes' suite."""
    make_tool(materials, out)
    for folder in ("lib", "lib64"):  # where the linker scripts look
        (out / folder).symlink_to(f"usr/{folder}")
    run_path = materials.target / "usr/lib" / AMD64.libraries
    for program in out.glob(f"usr/libexec/gcc*/*/{GCC}/*"):
        if program.is_file() and elf.is_elf(program) and ".so" not in program.name:
            elf.relocate(program, str(run_path / _loader(AMD64)), str(run_path))


def make_go(materials: Materials, out: Path) -> None:
    """Compile hello.go and server.go with the packaged Go into static programs."""
    root = materials.packages / f"usr/lib/go-{GO}"
    with tempfile.TemporaryDirectory(prefix="foothold-") as cache:
        for name in ("hello", "server"):
            run_tool(
                [root / "bin/go", "build", "-trimpath", "-o", out / name, HELLO / f"{name}.go"],
                f"{name}.go does not compile",
                GOROOT=root, GOCACHE=cache, GO111MODULE="off", GOTOOLCHAIN="local", CGO_ENABLED="0",
                GOARCH=materials.port.name,  # Go and Debian use the same names
                PATH=os.environ.get("PATH", os.defpath),
            )  # fmt: skip


def make_java(materials: Materials, out: Path) -> None:
    """Install the virtual machine, compile the classes, and dump the class archives as Debian's
    package does when it is installed.
    """
    home = f"usr/lib/jvm/java-{JAVA}-openjdk-{materials.port.name}"
    shutil.rmtree(materials.packages / home / "legal")
    install(materials, out, [f"{home}/bin/java"], [home], libraries=f"{home}/lib")
    (out / "jdk").symlink_to(home)
    java = _command(materials, out / "jdk/bin/java", [out / "jdk/lib"])
    compiler = ("-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", out)
    sources = sorted(HELLO.glob("*.java"))
    run_tool([*java, *compiler, *sources], "the classes do not compile", JAVA_HOME=out / "jdk")
    run_tool([*java, "-Xshare:dump"], "the class archive cannot be dumped")


def make_node(materials: Materials, out: Path) -> None:
    """Install Node.js, and the part of its library that Debian keeps outside of it.

    The path /usr/share/nodejs is compiled in. It is made relative to the image, in which every
    subject starts.
    """
    install(materials, out, ["usr/bin/node"], ["usr/share/nodejs"])
    for library in (out / "lib").glob("libnode.so.*"):
        code = library.read_bytes()
        library.write_bytes(code.replace(b"/usr/share/nodejs/", b"usr//share/nodejs/"))


def make_ocaml(materials: Materials, out: Path) -> None:
    """Compile hello.ml with the packaged OCaml."""
    packages, port, compiler = materials.packages, materials.port, materials.image(COMPILER)
    own = packages / "usr/lib" / port.libraries
    [standard] = (own / "ocaml").iterdir()  # its name has the version
    # the output is written beside it, and the program names it as it is named here
    source = Path(shutil.copy2(HELLO / "hello.ml", packages))
    libraries = [own, *(compiler / folder for folder in (*library_directories(port), _cross(port)))]
    ocamlopt = _command(materials, packages / "usr/bin/ocamlopt.opt", libraries)
    run_tool(
        [*ocamlopt, "-cc", " ".join(_gcc(materials)), "-ccopt", f"-L{own}",
         "-o", out / "hello", source.name],
        "hello.ml does not compile", directory=source.parent, OCAMLLIB=standard,
        PATH=f"{compiler}/usr/{port.libraries}/bin:{compiler}/usr/bin:{os.defpath}",
    )  # fmt: skip
    install(materials, out, ["hello"])


def make_python(materials: Materials, out: Path) -> None:
    """Install CPython and its library."""
    [python] = (materials.packages / "usr/bin").glob("python3.*")
    install(materials, out, [f"usr/bin/{python.name}"], [f"usr/lib/{python.name}"])
    (out / "usr/bin/python3").symlink_to(python.name)


def make_sanitizers(materials: Materials, out: Path) -> None:
    """Compile a C program plainly, with AddressSanitizer and with ThreadSanitizer."""
    _compile(materials, "allocate.c", out / "plain")
    for name in ("address", "thread"):
        _compile(materials, "allocate.c", out / name, "-g", f"-fsanitize={name}")
    install(materials, out, ["plain", "address", "thread"])


_ALLOCATORS = ("libjemalloc.so.2", "libmimalloc.so.3", "libtcmalloc_minimal.so.4")


def make_allocators(materials: Materials, out: Path) -> None:
    """Compile a C program, and install the allocators that can be preloaded into it."""
    _compile(materials, "allocate.c", out / "allocate")
    install(materials, out, ["allocate"], opened=_ALLOCATORS)


def make_sbcl(materials: Materials, out: Path) -> None:
    """Install Steel Bank Common Lisp and its core."""
    install(materials, out, ["usr/bin/sbcl"], ["usr/lib/sbcl"])


def make_luajit(materials: Materials, out: Path) -> None:
    """Install LuaJIT."""
    install(materials, out, ["usr/bin/luajit"])


def make_jsc(materials: Materials, out: Path) -> None:
    """Install the shell of JavaScriptCore, the JavaScript engine of WebKit."""
    install(materials, out, ["usr/bin/jsc"])


def make_haskell(materials: Materials, out: Path) -> None:
    """Install a program compiled by GHC, which contains GHC's runtime."""
    install(materials, out, ["usr/bin/alex"])


_ERLANG = ("erlexec", "beam.smp", "erl_child_setup", "inet_gethost")


def make_erlang(materials: Materials, out: Path) -> None:
    """Install Erlang's emulator, its starters, and the two libraries that it boots from."""
    [system] = (materials.packages / "usr/lib/erlang").glob("erts-*")
    own = f"usr/lib/erlang/{system.name}/bin"
    libraries = (materials.packages / "usr/lib/erlang/lib").glob("*")
    trees = [
        f"usr/lib/erlang/lib/{each.name}"
        for each in libraries
        if each.name.startswith(("kernel-", "stdlib-"))
    ]
    programs = [f"{own}/{name}" for name in _ERLANG]
    install(materials, out, programs, [*trees, "usr/lib/erlang/bin"])
    (out / "bin").symlink_to(own)


_SOURCES = (
    Path(__file__),
    Path(elf.__file__),
    Path(recipes.__file__),
    *sorted(path for path in HELLO.iterdir() if path.is_file()),
)


def _compiler(port: Port) -> Recipe:
    """Return the recipe of a compiler for a port, which runs on this machine."""
    names = (f"gcc-{GCC}", "libc6-dev")
    if port.foreign:
        names = (f"gcc-{GCC}-{port.triplet}", f"libc6-dev-{port.name}-cross")
    packages = PackageSet(suite=SUITE, packages=names)
    return Recipe(
        name=port.image(COMPILER),
        make=make_compiler,
        packages=packages,
        sources=_SOURCES,
        space=900 * MIB,
    )


def _sanitizers(port: Port) -> PackageSet:
    """Return the packages of the sanitizers' libraries, which must have the compiler's version.

    The port's own libraries are preferred: the cross-compiler's libasan for arm64 has a variable
    in a code segment, which kills every program linked with it.
    """
    names = ("libasan8", "libtsan2")
    if port.name not in _SUITES:
        return PackageSet(suite=SUITE, packages=names, architecture=port.name)
    return PackageSet(suite=SUITE, packages=tuple(f"{name}-{port.name}-cross" for name in names))


def _runtimes(port: Port) -> Iterator[Recipe]:
    """Yield the recipes of all runtimes for a port."""
    compiler = (port.image(COMPILER),)
    emulator = (port.emulators,) if port.foreign else ()

    def packages(*names: str, only: tuple[str, ...] = ()) -> PackageSet:
        return PackageSet(
            suite=_SUITES.get(port.name, SUITE),
            packages=names,
            only=only,
            architecture=port.name,
        )

    def recipe(
        kind: str,
        make: Callable[[Materials, Path], None],
        packages: PackageSet | None = None,
        needs: tuple[str, ...] = (),
        space: int = 200 * MIB,
    ) -> Recipe:
        return Recipe(
            name=port.image(kind),
            make=make,
            packages=packages,
            needs=needs,
            port=port,
            sources=_SOURCES,
            space=space,
        )

    yield recipe(
        "go", make_go, PackageSet(suite=SUITE, packages=(f"golang-{GO}-go",)), space=500 * MIB
    )
    jre = f"openjdk-{JAVA}-jre-headless"
    yield recipe("java", make_java, packages(jre, only=(*_C, "zlib1g", jre)), emulator, 700 * MIB)
    yield recipe("node", make_node, packages("nodejs"), space=400 * MIB)
    yield recipe(
        "ocaml",
        make_ocaml,
        packages("ocaml", only=("ocaml", "ocaml-base", "libstdlib-ocaml.*", "libzstd.*", "libc6")),
        (*compiler, *emulator),
        300 * MIB,
    )
    yield recipe("python", make_python, packages("python3-minimal", "libpython3-stdlib"))
    yield recipe("sanitizers", make_sanitizers, _sanitizers(port), compiler)
    allocators = packages("libjemalloc2", "libmimalloc3", "libtcmalloc-minimal4t64")
    yield recipe("allocators", make_allocators, allocators, compiler)
    yield recipe("sbcl", make_sbcl, packages("sbcl"))
    yield recipe("luajit", make_luajit, packages("luajit"))
    yield recipe("jsc", make_jsc, packages("libjavascriptcoregtk-bin"), space=300 * MIB)
    yield recipe("haskell", make_haskell, packages("alex"))
    erlang = packages("erlang-base", only=(*_C, "zlib1g", "libtinfo6", "erlang-base"))
    yield recipe("erlang", make_erlang, erlang)


RUNTIMES: tuple[Recipe, ...] = tuple(each for port in PORTS for each in _runtimes(port))
RECIPES: Mapping[str, Recipe] = {each.name: each for each in (*map(_compiler, PORTS), *RUNTIMES)}
