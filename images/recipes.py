"""How each image is made: from which packages, from which other images, by which function.

A recipe is a frozen value. Its function gets the unpacked packages and the images that it needs,
and fills an empty directory.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images import elf, initramfs
from images.apt import Deb, PackageSet
from images.errors import ImageError
from images.progress import Say, silence

MIB = 1 << 20
AGENT = Path(__file__).with_name("agent")
SHIM = Path(__file__).with_name("shim")
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class Materials:
    """What a recipe's function works with."""

    packages: Path  # the unpacked packages; the function may take them apart
    images: Mapping[str, Path]  # finished images that the recipe names in `needs`
    target: Path  # where the image will be in the end
    say: Say = silence  # told what takes long


@dataclass(frozen=True)
class Recipe:
    """One image. `space` is what it takes on disk while it is built, in bytes."""

    name: str
    make: Callable[[Materials, Path], None]
    packages: PackageSet | None = None
    needs: tuple[str, ...] = ()
    sources: tuple[Path, ...] = field(default=(Path(__file__), Path(elf.__file__)))
    space: int = 300 * MIB


def release(debs: list[Deb]) -> str:
    """Return a UML package's kernel release, `7.2` of version `7.2um1`."""
    for deb in debs:
        if deb.package == "user-mode-linux" and (match := re.match(r"(\d+\.\d+)", deb.version)):
            return match[1]
    raise ImageError("the package set has no user-mode-linux", "report this")


def _loader(tree: Path) -> Path:
    """Return ld.so among unpacked packages (its link in /lib64 points out of the tree)."""
    for folder in (*_LIBRARIES, "lib64", "usr/lib64"):
        if (tree / folder / "ld-linux-x86-64.so.2").is_file():
            return tree / folder / "ld-linux-x86-64.so.2"
    raise ImageError(f"no dynamic loader below {tree}", "report this")


def make_tool(materials: Materials, out: Path) -> None:
    """Move unpacked packages in, and let each of their programs run with their own libraries."""
    shutil.copytree(materials.packages, out, symlinks=True, dirs_exist_ok=True)
    loader = materials.target / _loader(out).relative_to(out)
    extra = [
        str(materials.target / folder.relative_to(out))
        for folder in (out / _LIBRARIES[1]).glob("*") if any(folder.glob("*.so.*"))
    ]  # fmt: skip
    run_path = ":".join([*(str(materials.target / each) for each in _LIBRARIES), *extra])
    for folder in ("usr/bin", "usr/lib/gcc/x86_64-linux-gnu/12"):
        for path in (out / folder).glob("*") if (out / folder).is_dir() else ():
            if path.is_file() and not path.is_symlink() and elf.is_elf(path):
                try:
                    elf.relocate(path, str(loader), run_path)
                except ImageError:
                    continue  # a static program, or a plain object: it needs nothing


def _compile(toolchain: Path, out: Path, sources: list[Path], *flags: str) -> None:
    argv: list[str | Path] = [
        toolchain / "usr/bin/x86_64-linux-gnu-gcc-12", f"--sysroot={toolchain}",
        f"-B{toolchain}/usr/bin", "-O2", "-Wall", "-Wextra", "-Werror", *flags,
        "-o", out, *sorted(sources),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{out.name} does not compile: {done.stderr.strip()}", "report this")


def make_agent(materials: Materials, out: Path) -> None:
    """Make the agent: one static program."""
    _compile(materials.images["toolchain"], out / "agent", list(AGENT.glob("*.c")), "-static")


def make_shim(materials: Materials, out: Path) -> None:
    """Make the library that mends UML's floating-point state (images/shim)."""
    _compile(
        materials.images["toolchain"], out / "xstate.so", list(SHIM.glob("*.c")), "-shared", "-fPIC"
    )


def make_uml(materials: Materials, out: Path) -> None:
    """Make a UML kernel that runs with its own suite's libc, started from its own directory."""
    shutil.copy2(materials.packages / "usr/bin/linux.uml", out / "linux")
    with_libc(out / "linux", materials.packages)


def with_libc(program: Path, tree: Path) -> None:
    """Put a libc of unpacked packages beside a program, which then runs from its own directory."""
    (program.parent / "lib").mkdir()
    loader = _loader(tree)
    for name in (loader.name, *elf.needed(program)):
        shutil.copy2((loader.parent / name).resolve(), program.parent / "lib" / name)
    elf.relocate(program, f"lib/{loader.name}", "$ORIGIN/lib")


# what a guest's Python can do without: tests, other user interfaces, the network's ciphers
_STDLIB_LEFT_OUT = (
    "test", "idlelib", "lib2to3", "ensurepip", "distutils", "pydoc_data", "tkinter", "turtledemo",
    "turtle.py", "sqlite3", "curses", "dbm", "venv", "config-3.11-x86_64-linux-gnu", "__pycache__",
)  # fmt: skip
_MODULES_LEFT_OUT = (
    "_ssl",
    "_hashlib",
    "_sqlite3",
    "_curses",
    "_dbm",
    "readline",
    "nis",
    "_tkinter",
)
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "shells": "/bin/sh\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def make_root(materials: Materials, out: Path) -> None:
    """Make a small root file system: Python with ctypes, dropbear, SFTP, busybox, strace, agent."""
    packages = materials.packages
    for folder in ("bin", "dev", "etc", "host", "modules", "proc", "root", "run", "sbin", "share",
                   "sys", "tmp", "usr/bin", "usr/lib", "usr/sbin", "usr/lib/x86_64-linux-gnu",
                   "lib/x86_64-linux-gnu", "lib64"):  # fmt: skip
        (out / folder).mkdir(parents=True, exist_ok=True)
    programs = {
        "usr/bin/python3.11": packages / "usr/bin/python3.11",
        "usr/sbin/dropbear": packages / "usr/sbin/dropbear",
        "usr/lib/sftp-server": packages / "usr/lib/openssh/sftp-server",
        "usr/bin/strace": packages / "usr/bin/strace",
        "bin/busybox": packages / "bin/busybox",
    }
    for place, program in programs.items():
        shutil.copy2(program, out / place)
    (out / "usr/bin/python3").symlink_to("python3.11")
    shutil.copytree(
        packages / "usr/lib/python3.11", out / "usr/lib/python3.11",
        ignore=lambda _, names: [
            name for name in names
            if name in _STDLIB_LEFT_OUT or name.partition(".")[0] in _MODULES_LEFT_OUT
        ],
    )  # fmt: skip
    shutil.copy2(materials.images["agent"] / "agent", out / "init")
    loader = _loader(packages)
    (out / "lib64" / loader.name).symlink_to(f"../lib/x86_64-linux-gnu/{loader.name}")
    shutil.copy2(loader.resolve(), out / "lib/x86_64-linux-gnu" / loader.name)
    dynamic = [program for place, program in programs.items() if place != "bin/busybox"]
    dynamic += (out / "usr/lib/python3.11/lib-dynload").glob("*.so")
    for library in elf.closure(dynamic, [packages / folder for folder in _LIBRARIES]):
        shutil.copy2(library.resolve(), out / "lib/x86_64-linux-gnu" / library.name)
    for name, text in _ETC.items():
        (out / "etc" / name).write_text(text)
    _link_applets(out)
    _compile_stdlib(out)


def _link_applets(root: Path) -> None:
    listed = subprocess.run(
        [root / "bin/busybox", "--list"], capture_output=True, text=True, check=True
    )
    for applet in listed.stdout.split():
        if applet != "busybox" and not (root / "usr/bin" / applet).exists():
            (root / "bin" / applet).symlink_to("busybox")


def _compile_stdlib(root: Path) -> None:
    """Compile the library by the guest's own Python: no package was configured, so nobody has.

    The sources go: a .pyc in the place of its source (-b) is found with fewer system calls, and
    what QEMU has to load at boot is half as large. unchecked-hash: nobody looks for a source.
    """
    argv: list[str | Path] = [
        root / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "--library-path", root / "lib/x86_64-linux-gnu",
        root / "usr/bin/python3.11", "-S", "-m", "compileall", "-b", "-qq", "-j", "0",
        "--invalidation-mode", "unchecked-hash", "-s", root, root / "usr/lib/python3.11",
    ]  # fmt: skip
    environment = {
        "PYTHONHOME": str(root / "usr"), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"
    }  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise ImageError(
            f"the guest's library does not compile: {done.stdout[-500:]}", "report this"
        )
    for source in (root / "usr/lib/python3.11").rglob("*.py"):
        source.unlink()


def make_initrd(materials: Materials, out: Path) -> None:
    """Pack what QEMU boots: the root file system, and the modules of the kernel beside it."""
    [kernel] = (path for name, path in materials.images.items() if name != "root")
    modules = initramfs.archive(kernel / "modules", prefix="modules/")
    (out / "initrd.cpio").write_bytes(initramfs.archive(materials.images["root"]) + modules)


# in the order in which they are loaded: what a virtio serial port needs
_VIRTIO = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev",
           "virtio_pci", "virtio_console")  # fmt: skip


def make_cloud_kernel(materials: Materials, out: Path) -> None:
    """Make a PVH kernel out of a Debian kernel package, with the modules that it needs."""
    [image] = (materials.packages / "boot").glob("vmlinuz-*")
    (out / "vmlinux").write_bytes(initramfs.vmlinux(image.read_bytes()))
    modules = out / "modules"
    modules.mkdir()
    present = {
        re.sub(r"\.ko.*$", "", path.name).replace("-", "_"): path
        for path in (materials.packages / "lib/modules").rglob("*.ko*")
    }
    order = []
    for name in _VIRTIO:
        if name in present:
            shutil.copy2(present[name], modules / present[name].name)
            order.append(f"/modules/{present[name].name}\n")
    (modules / "order").write_text("".join(order))
    (out / "release").write_text(image.name.removeprefix("vmlinuz-") + "\n")
