"""Runtimes of Debian's packages: images that run where they lie, here and in every guest that shows
them at the same place. Their programs name the loader and the libraries that lie beside them.

What a runtime is given to run is ours (images/hello). What needs a compiler is compiled when the
image is made, and the compiler stays behind; for another machine by a cross-compiler, or by that
machine's own under qemu-user. A runtime is added by a function that fills an image out of unpacked
packages, and a line in `_runtimes`; see docs/runtimes.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from foothold_lab.images import elf, recipes
from foothold_lab.images.apt import PackageSet
from foothold_lab.images.debian_arch import AMD64, ARM64, RISCV64, Port
from foothold_lab.images.errors import ImageError
from foothold_lab.images.recipes import MIB, Materials, Recipe, folders, make_tool
from foothold_lab.images.rootfs import EMULATORS

HELLO = Path(__file__).with_name("hello")
SUITE = "trixie"
PORTS = (AMD64, ARM64, RISCV64)
COMPILER = f"toolchain-{SUITE}"
GCC = "14"
GO = "1.24"
JAVA = "25"
# trixie's index for riscv64 was broken, and still is (docs/guests.md)
_SUITES = {RISCV64.name: RISCV64.suite}
_C = ("libc6", "libgcc-s1", r"libstdc\+\+6", "libatomic1")


def _take(
    materials: Materials,
    out: Path,
    programs: Iterable[str],
    trees: Iterable[str] = (),
    *,
    opened: Iterable[str] = (),
    libraries: str = "lib",
) -> None:
    """Fill an image: programs and directories of the packages, and all libraries that they need or
    open by name (`opened`), in the directory `libraries`. The programs then run with these.

    A program that is in the image already, since it was compiled, is taken as it is.
    """
    for tree in trees:
        _copy_tree(materials.packages, tree, out)
    for program in programs:
        if not (out / program).exists():
            (out / program).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(materials.packages / program, out / program)
    port, loader = materials.port, _loader(materials.port)
    roots = [materials.packages, *materials.images.values()]
    places = [root / folder for root in roots for folder in (*folders(port), _cross(port))]
    asking = [out / program for program in programs]
    asking += [path for path in out.rglob("*.so*") if path.is_file() and elf.is_elf(path)]
    by_name = [_found(name, places) for name in (loader, *opened)]
    beside = out / libraries
    beside.mkdir(parents=True, exist_ok=True)
    for library in {*by_name, *elf.closure([*asking, *by_name[1:]], places)}:
        shutil.copy2(library.resolve(), beside / library.name)
    run_path = materials.target / libraries
    for program in programs:
        elf.relocate(out / program, str(run_path / loader), str(run_path))


def _loader(port: Port) -> str:
    return Path(port.loader).name


def _cross(port: Port) -> str:
    """Where the packages of a cross-compiler have the libraries of what they compile for."""
    return f"usr/{port.libraries}/lib"


def _found(name: str, places: Iterable[Path]) -> Path:
    for place in places:
        if (place / name).exists():
            return place / name
    raise ImageError(f"none of the packages has {name}", "report this")


def _copy_tree(packages: Path, tree: str, out: Path) -> None:
    """Copy a directory; a link that leaves it (to /etc) becomes the file that it names, if that is
    in the packages: it must not lead to this machine's.
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


def _run(argv: Iterable[str | Path], what: str, **environment: str | Path) -> None:
    """Run a compiler or another tool of an image, with nothing of this machine's environment."""
    with tempfile.TemporaryDirectory(prefix="foothold-") as scratch:
        done = subprocess.run(
            [str(word) for word in argv],
            capture_output=True,
            text=True,
            check=False,
            cwd=scratch,
            env={"HOME": scratch, "TMPDIR": scratch, **{k: str(v) for k, v in environment.items()}},
        )
    if done.returncode:
        raise ImageError(f"{what}: {(done.stderr or done.stdout).strip()[-800:]}", "report this")


def _start(materials: Materials, program: Path, libraries: Iterable[Path]) -> list[str | Path]:
    """Start a program that is not where it will be: its loader by hand, told where to look; under
    qemu-user if it is another machine's.
    """
    port, beside = materials.port, list(libraries)
    emulator = [materials.images[EMULATORS] / "usr/bin" / port.emulator] if port.foreign else []
    told = ("--library-path", ":".join(map(str, beside)))
    return [*emulator, _found(_loader(port), beside), *told, program]


def _gcc(materials: Materials) -> list[str]:
    compiler = materials.image(COMPILER)
    return [
        f"{compiler}/usr/bin/{materials.port.compiler}-gcc-{GCC}",
        f"--sysroot={compiler}",
        f"-B{compiler}/usr/bin",
    ]


def _compile(materials: Materials, source: str, program: Path, *flags: str) -> None:
    strict = ("-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-rdynamic")
    program.parent.mkdir(parents=True, exist_ok=True)
    _run(
        [*_gcc(materials), *strict, *flags, "-o", program, HELLO / source],
        f"{source} does not compile",
    )


def make_compiler(materials: Materials, out: Path) -> None:
    """Make a C compiler of the runtimes' suite."""
    make_tool(materials, out)
    for folder in ("lib", "lib64"):  # where the linker's own scripts look
        (out / folder).symlink_to(f"usr/{folder}")
    run_path = materials.target / "usr/lib" / AMD64.libraries
    for program in out.glob(f"usr/libexec/gcc*/*/{GCC}/*"):
        if program.is_file() and elf.is_elf(program) and ".so" not in program.name:
            elf.relocate(program, str(run_path / _loader(AMD64)), str(run_path))


def make_go(materials: Materials, out: Path) -> None:
    """Compile a hello with the packaged Go: one static program."""
    root = materials.packages / f"usr/lib/go-{GO}"
    with tempfile.TemporaryDirectory(prefix="foothold-") as cache:
        _run(
            [root / "bin/go", "build", "-trimpath", "-o", out / "hello", HELLO / "hello.go"],
            "hello.go does not compile",
            GOROOT=root, GOCACHE=cache, GO111MODULE="off", GOTOOLCHAIN="local", CGO_ENABLED="0",
            GOARCH=materials.port.name,  # Go calls them as Debian does
            PATH=os.environ.get("PATH", os.defpath),
        )  # fmt: skip


def make_java(materials: Materials, out: Path) -> None:
    """Take the virtual machine, compile a hello, and dump its class archives as Debian's package
    does when it is installed.
    """
    home = f"usr/lib/jvm/java-{JAVA}-openjdk-{materials.port.name}"
    shutil.rmtree(materials.packages / home / "legal")
    _take(materials, out, [f"{home}/bin/java"], [home], libraries=f"{home}/lib")
    (out / "jdk").symlink_to(home)
    java = _start(materials, out / "jdk/bin/java", [out / "jdk/lib"])
    compiler = ("-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", out, HELLO / "Hello.java")
    _run([*java, *compiler], "Hello.java does not compile", JAVA_HOME=out / "jdk")
    _run([*java, "-Xshare:dump"], "the class archive cannot be dumped")


def make_node(materials: Materials, out: Path) -> None:
    """Take Node.js, and the part of its library that Debian keeps outside of it.

    That is read from /usr/share/nodejs, compiled in: made relative to the image, in which every
    subject starts.
    """
    _take(materials, out, ["usr/bin/node"], ["usr/share/nodejs"])
    for library in (out / "lib").glob("libnode.so.*"):
        code = library.read_bytes()
        library.write_bytes(code.replace(b"/usr/share/nodejs/", b"usr//share/nodejs/"))


def make_ocaml(materials: Materials, out: Path) -> None:
    """Compile a hello with the packaged OCaml."""
    packages, port, compiler = materials.packages, materials.port, materials.image(COMPILER)
    own = packages / "usr/lib" / port.libraries
    [standard] = (own / "ocaml").iterdir()  # named by the version
    source = Path(shutil.copy2(HELLO / "hello.ml", packages))  # what is compiled lands beside it
    libraries = [own, *(compiler / folder for folder in (*folders(port), _cross(port)))]
    ocamlopt = _start(materials, packages / "usr/bin/ocamlopt.opt", libraries)
    _run(
        [*ocamlopt, "-cc", " ".join(_gcc(materials)), "-ccopt", f"-L{own}",
         "-o", out / "hello", source],
        "hello.ml does not compile", OCAMLLIB=standard,
        PATH=f"{compiler}/usr/{port.libraries}/bin:{compiler}/usr/bin:{os.defpath}",
    )  # fmt: skip
    _take(materials, out, ["hello"])


def make_python(materials: Materials, out: Path) -> None:
    """Take CPython and its library."""
    [python] = (materials.packages / "usr/bin").glob("python3.*")
    _take(materials, out, [f"usr/bin/{python.name}"], [f"usr/lib/{python.name}"])
    (out / "usr/bin/python3").symlink_to(python.name)


def make_sanitizers(materials: Materials, out: Path) -> None:
    """Compile a C program as it is, under AddressSanitizer and under ThreadSanitizer."""
    _compile(materials, "allocate.c", out / "plain")
    for name in ("address", "thread"):
        _compile(materials, "allocate.c", out / name, "-g", f"-fsanitize={name}")
    _take(materials, out, ["plain", "address", "thread"])


_ALLOCATORS = ("libjemalloc.so.2", "libmimalloc.so.3", "libtcmalloc_minimal.so.4")


def make_allocators(materials: Materials, out: Path) -> None:
    """Compile a C program, and take the allocators that may be preloaded into it."""
    _compile(materials, "allocate.c", out / "allocate")
    _take(materials, out, ["allocate"], opened=_ALLOCATORS)


def make_sbcl(materials: Materials, out: Path) -> None:
    """Take Steel Bank Common Lisp and its core."""
    _take(materials, out, ["usr/bin/sbcl"], ["usr/lib/sbcl"])


def make_luajit(materials: Materials, out: Path) -> None:
    """Take LuaJIT."""
    _take(materials, out, ["usr/bin/luajit"])


def make_jsc(materials: Materials, out: Path) -> None:
    """Take JavaScriptCore's shell, the JavaScript of WebKit."""
    _take(materials, out, ["usr/bin/jsc"])


def make_haskell(materials: Materials, out: Path) -> None:
    """Take a program that GHC has compiled; it brings GHC's runtime inside."""
    _take(materials, out, ["usr/bin/alex"])


_ERLANG = ("erlexec", "beam.smp", "erl_child_setup", "inet_gethost")


def make_erlang(materials: Materials, out: Path) -> None:
    """Take Erlang's emulator, what starts it, and the two libraries that it boots from."""
    [system] = (materials.packages / "usr/lib/erlang").glob("erts-*")
    own = f"usr/lib/erlang/{system.name}/bin"
    libraries = (materials.packages / "usr/lib/erlang/lib").glob("*")
    trees = [
        f"usr/lib/erlang/lib/{each.name}"
        for each in libraries
        if each.name.startswith(("kernel-", "stdlib-"))
    ]
    programs = [f"{own}/{name}" for name in _ERLANG]
    _take(materials, out, programs, [*trees, "usr/lib/erlang/bin"])
    (out / "bin").symlink_to(own)


_SOURCES = (
    Path(__file__),
    Path(elf.__file__),
    Path(recipes.__file__),
    *sorted(path for path in HELLO.iterdir() if path.is_file()),
)


def _compiler(port: Port) -> Recipe:
    """A compiler for a port: it runs here."""
    names = tuple(name.replace("gcc-12", f"gcc-{GCC}") for name in port.compilers)
    packages = PackageSet(SUITE, names)
    return Recipe(port.image(COMPILER), make_compiler, packages, sources=_SOURCES, space=900 * MIB)


def _sanitizers(port: Port) -> PackageSet:
    """The sanitizers' libraries, which have to be of the compiler's version. The port's own where
    there are such: in the cross-compiler's libasan for arm64 a variable lies among code, which
    kills whatever is linked with it.
    """
    names = ("libasan8", "libtsan2")
    if port.name not in _SUITES:
        return PackageSet(SUITE, names, architecture=port.name)
    return PackageSet(SUITE, tuple(f"{name}-{port.name}-cross" for name in names))


def _runtimes(port: Port) -> Iterator[Recipe]:
    """What there is for a port."""
    compiler = (port.image(COMPILER),)
    emulator = (EMULATORS,) if port.foreign else ()

    def packages(*names: str, only: tuple[str, ...] = ()) -> PackageSet:
        return PackageSet(_SUITES.get(port.name, SUITE), names, only, port.name)

    def recipe(
        kind: str,
        make: Callable[[Materials, Path], None],
        taken: PackageSet | None = None,
        needs: tuple[str, ...] = (),
        space: int = 200 * MIB,
    ) -> Recipe:
        return Recipe(port.image(kind), make, taken, needs, port, _SOURCES, space)

    yield recipe("go", make_go, PackageSet(SUITE, (f"golang-{GO}-go",)), space=500 * MIB)
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
