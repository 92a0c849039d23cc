"""How images are made: from which packages, from which other images, by which function.

A recipe is a frozen value. Its function gets the unpacked packages and the images that it needs,
and fills an empty directory. Here are the tools, and what is compiled; `roots` and `kernels` have
the rest.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foothold_lab.images import elf
from foothold_lab.images.apt import Deb, PackageSet
from foothold_lab.images.debian_arch import AMD64, Port
from foothold_lab.images.errors import ImageError
from foothold_lab.images.progress import Say, silence

MIB = 1 << 20
AGENT = Path(__file__).with_name("agent")
SHIM = Path(__file__).with_name("shim")


@dataclass(frozen=True)
class Materials:
    """What a recipe's function works with."""

    packages: Path  # the unpacked packages; the function may take them apart
    images: Mapping[str, Path]  # finished images that the recipe names in `needs`
    target: Path  # where the image will be in the end
    port: Port = AMD64
    say: Say = silence  # told what takes long

    def image(self, kind: str) -> Path:
        """Return the needed image of that kind that is for the same port."""
        return self.images[self.port.image(kind)]


@dataclass(frozen=True)
class Recipe:
    """One image, for the machine of a port. `space` is what it takes on disk while it is built, in
    bytes; `sources` are the files that say how it is made.
    """

    name: str
    make: Callable[[Materials, Path], None]
    packages: PackageSet | None = None
    needs: tuple[str, ...] = ()
    port: Port = AMD64
    sources: tuple[Path, ...] = field(default=(Path(__file__), Path(elf.__file__)))
    space: int = 300 * MIB


def release(debs: list[Deb]) -> str:
    """Return a UML package's kernel release, `7.2` of version `7.2um1`."""
    for deb in debs:
        if deb.package == "user-mode-linux" and (match := re.match(r"(\d+\.\d+)", deb.version)):
            return match[1]
    raise ImageError("the package set has no user-mode-linux", "report this")


def folders(port: Port) -> tuple[str, ...]:
    """Where the packages of a port have their libraries; before trixie there are two places."""
    return (f"lib/{port.libraries}", f"usr/lib/{port.libraries}")


def loader(tree: Path, port: Port) -> Path:
    """Return ld.so among unpacked packages (its link in /lib64 points out of the tree)."""
    name = Path(port.loader).name
    for folder in (*folders(port), "lib64", "usr/lib64", "lib", "usr/lib"):
        if (tree / folder / name).is_file():
            return tree / folder / name
    raise ImageError(f"no dynamic loader below {tree}", "report this")


def make_tool(materials: Materials, out: Path) -> None:
    """Move unpacked packages in, and let each of their programs run with their own libraries."""
    shutil.copytree(materials.packages, out, symlinks=True, dirs_exist_ok=True)
    if not any((out / folder).is_dir() for folder in folders(AMD64)):
        return  # static programs, which need nothing
    interpreter = materials.target / loader(out, AMD64).relative_to(out)
    extra = [
        str(materials.target / folder.relative_to(out))
        for folder in (out / folders(AMD64)[1]).glob("*")
        if any(folder.glob("*.so.*"))
    ]
    run_path = ":".join([*(str(materials.target / each) for each in folders(AMD64)), *extra])
    for folder in (out / "usr/bin", out / "usr/libexec", *(out / "usr/lib").glob("gcc*/*/12")):
        for path in folder.glob("*"):
            if path.is_file() and not path.is_symlink() and elf.machine(path) == elf.X86_64:
                try:
                    elf.relocate(path, str(interpreter), run_path)
                except ImageError:
                    continue  # a static program, or a plain object: it needs nothing


def _compile(compiler: Sequence[str | Path], out: Path, folder: Path, *flags: str) -> None:
    """Compile all that a folder has into one file. Files are as large as they are, on any port."""
    argv: list[str | Path] = [
        *compiler, "-O2", "-D_FILE_OFFSET_BITS=64", *flags, "-o", out, *sorted(folder.glob("*.c")),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{out.name} does not compile: {done.stderr.strip()}", "report this")


def _gcc(materials: Materials) -> list[str | Path]:
    toolchain = materials.image("toolchain")
    return [
        toolchain / f"usr/bin/{materials.port.compiler}-gcc-12", f"--sysroot={toolchain}",
        f"-B{toolchain}/usr/bin", "-Wall", "-Wextra", "-Werror",
    ]  # fmt: skip


def make_agent(materials: Materials, out: Path) -> None:
    """Make the agent: one static program."""
    _compile(_gcc(materials), out / "agent", AGENT, "-static")


def compiler_here() -> str | None:
    """Return the C compiler that this machine has, if it has one."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def make_agent_here(_: Materials, out: Path) -> None:
    """Make the agent with this machine's own compiler: it runs here, and perhaps nowhere else."""
    if not (compiler := compiler_here()):
        raise ImageError("there is no C compiler on this machine", "install one: cc, gcc or clang")
    _compile([compiler], out / "agent", AGENT)


def make_shim(materials: Materials, out: Path) -> None:
    """Make the library that mends UML's floating-point state (images/shim)."""
    _compile(_gcc(materials), out / "xstate.so", SHIM, "-shared", "-fPIC")


def make_uml(materials: Materials, out: Path) -> None:
    """Make a UML kernel that runs with its own suite's libc, started from its own directory."""
    shutil.copy2(materials.packages / "usr/bin/linux.uml", out / "linux")
    with_libc(out / "linux", materials.packages)


def with_libc(program: Path, tree: Path) -> None:
    """Put a libc of unpacked packages beside a program, which then runs from its own directory."""
    (program.parent / "lib").mkdir()
    ld = loader(tree, AMD64)
    for name in (ld.name, *elf.needed(program)):
        shutil.copy2((ld.parent / name).resolve(), program.parent / "lib" / name)
    elf.relocate(program, f"lib/{ld.name}", "$ORIGIN/lib")
