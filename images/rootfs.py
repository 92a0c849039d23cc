"""Root file systems: the same small set of programs for every port, from the port's suite.

The library in a root is compiled by the Python of the same suite for this machine: bytecode does
not depend on the machine. A port whose suite has no such root compiles its library itself, under
qemu-user, which is an image of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from foothold_lab.images import elf, initramfs, processes
from foothold_lab.images.debian_arch import AMD64, Port
from foothold_lab.images.errors import ImageError
from foothold_lab.images.manifest import MANIFEST
from foothold_lab.images.recipes import Materials, library_directories, loader

# not needed by a guest's Python: tests, user interfaces, network encryption
_STDLIB_EXCLUDED = (
    "test", "idlelib", "lib2to3", "ensurepip", "distutils", "pydoc_data", "tkinter", "turtledemo",
    "turtle.py", "sqlite3", "curses", "dbm", "venv", "__pycache__",
    "sitecustomize.py",  # a link to /etc
)  # fmt: skip
_MODULES_EXCLUDED = (
    "_ssl",
    "_hashlib",
    "_sqlite3",
    "_curses",
    "_dbm",
    "readline",
    "nis",
    "_tkinter",
)
# users that programs look up or run as: those of Debian, and those of packaged servers
_ACCOUNTS = (
    ("daemon", 1, "/usr/sbin"), ("bin", 2, "/bin"), ("sys", 3, "/dev"), ("games", 60, "/usr/games"),
    ("mail", 8, "/var/mail"), ("proxy", 13, "/bin"), ("www-data", 33, "/var/www"),
    ("backup", 34, "/var/backups"), ("messagebus", 100, "/nonexistent"),
    ("postgres", 101, "/var/lib/postgresql"), ("redis", 102, "/var/lib/redis"),
    ("mysql", 103, "/nonexistent"), ("memcache", 104, "/nonexistent"),
    ("nginx", 105, "/nonexistent"), ("mongodb", 106, "/var/lib/mongodb"),
    ("rabbitmq", 107, "/var/lib/rabbitmq"), ("user", 1000, "/home/user"),
    ("nobody", 65534, "/nonexistent"),
)  # fmt: skip
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n"
    + "".join(f"{name}:x:{n}:{n}::{home}:/bin/sh\n" for name, n, home in _ACCOUNTS),
    "group": "root:x:0:\n"
    + "".join(f"{name}:x:{n}:\n" for name, n, _ in _ACCOUNTS)
    + "tty:x:5:\nnogroup:x:65534:\n",
    "shells": "/bin/sh\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def make_root(materials: Materials, out: Path) -> None:
    """Make a root file system: the userland, and the agent as /init."""
    shutil.copytree(
        materials.image("userland"),
        out,
        symlinks=True,
        dirs_exist_ok=True,
        ignore=lambda _, names: [name for name in names if name == MANIFEST],
    )
    shutil.copy2(materials.image("agent") / "agent", out / "init")


def make_userland(materials: Materials, out: Path) -> None:
    """Make the userland of a root file system: Python, dropbear, SFTP, busybox, strace."""
    packages, port = materials.packages, materials.port
    libraries = out / "lib" / port.libraries
    for folder in (
        "bin",
        "dev",
        "etc",
        "host",
        "modules",
        "proc",
        "root",
        "run",
        "sbin",
        "share",
        "sys",
        "tmp",
        "home",
        "var/cache",
        "var/lib",
        "var/log",
        "var/spool",
        "var/tmp",
        "usr/bin",
        "usr/lib",
        "usr/sbin",
        f"usr/lib/{port.libraries}",
        f"lib/{port.libraries}",
        "lib64",
    ):
        (out / folder).mkdir(parents=True, exist_ok=True)
    [python] = (packages / "usr/bin").glob("python3.*")
    busybox = next(packages.glob("bin/busybox"), packages / "usr/bin/busybox")
    programs = {
        f"usr/bin/{python.name}": python,
        "usr/sbin/dropbear": packages / "usr/sbin/dropbear",
        "usr/lib/sftp-server": packages / "usr/lib/openssh/sftp-server",
        "usr/bin/strace": packages / "usr/bin/strace",
        "bin/busybox": busybox,
    }
    for place, program in programs.items():
        shutil.copy2(program, out / place)
    (out / "usr/bin/python3").symlink_to(python.name)
    stdlib = out / "usr/lib" / python.name
    shutil.copytree(packages / "usr/lib" / python.name, stdlib, ignore=_excluded)
    ld = loader(packages, port)
    shutil.copy2(ld.resolve(), libraries / ld.name)
    (out / port.loader[1:]).symlink_to(f"../lib/{port.libraries}/{ld.name}")
    dynamic = [program for program in programs.values() if program is not busybox]
    dynamic += (stdlib / "lib-dynload").glob("*.so")
    for library in elf.closure(
        dynamic, [packages / folder for folder in library_directories(port)]
    ):
        shutil.copy2(library.resolve(), libraries / library.name)
    for name, text in _ETC.items():
        (out / "etc" / name).write_text(text)
    emulators = materials.images.get(port.emulators)
    _link_applets(port, out, emulators)
    native = materials.images.get(AMD64.image("userland"))
    _compile_stdlib(out, port if native is None else AMD64, native or out, emulators)


def _excluded(_: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name in _STDLIB_EXCLUDED
        or name.partition(".")[0] in _MODULES_EXCLUDED
        or name.startswith("config-3.")
    ]


def run(
    port: Port,
    root: Path,
    emulators: Path | None,
    *argv: str,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program of a port's root on this machine and return its standard output.

    `argv` starts with the path of the program in the root. `emulators` is the image of qemu-user,
    which a foreign port needs. Raises ImageError if the program fails.
    """
    program = str(root / argv[0])
    if port.foreign:
        assert emulators
        start = [str(emulators / "usr/bin" / port.emulator), "-L", str(root), program]
    else:
        libraries = root / "lib" / port.libraries
        ld = str(libraries / Path(port.loader).name)
        start = [ld, "--library-path", str(libraries), program]
    done = processes.run([*start, *argv[1:]], env=environment)
    if done.returncode:
        output = (done.stdout + done.stderr).strip()[-500:]
        raise ImageError(f"{argv[0]} in the root of {port.name} failed: {output}", "report this")
    return done.stdout


def python_name(root: Path) -> str:
    """Return the name of the Python in a root, `python3.11`."""
    return (root / "usr/bin/python3").readlink().name


def run_python(port: Port, root: Path, emulators: Path | None, *argv: str, path: str = "") -> str:
    """Run the Python of a port's root on this machine; see `run`."""
    return run(
        port,
        root,
        emulators,
        f"usr/bin/{python_name(root)}",
        "-S",
        *argv,
        environment={
            "PYTHONHOME": str(root / "usr"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": path,
            "PATH": "/usr/bin:/bin",
        },
    )


def _link_applets(port: Port, root: Path, emulators: Path | None) -> None:
    for applet in run(port, root, emulators, "bin/busybox", "--list").split():
        if applet != "busybox" and not (root / "usr/bin" / applet).exists():
            (root / "bin" / applet).symlink_to("busybox")


def _compile_stdlib(root: Path, port: Port, compiling: Path, emulators: Path | None) -> None:
    """Compile the standard library of a root with the Python of the root `compiling`, which is of
    this port, and remove the sources.

    A .pyc in the place of its source (-b) is found with fewer system calls, and without sources
    QEMU has to load half as much at boot. unchecked-hash: Python does not look for a source.
    """
    library = root / "usr/lib" / python_name(root)
    assert python_name(compiling) == python_name(root)
    # parallel helper processes cannot be started under an emulator
    parallel = () if port.foreign else ("-j", "0")
    run_python(
        port, compiling, emulators,
        "-m", "compileall", "-b", "-qq", *parallel, "--invalidation-mode", "unchecked-hash",
        "-s", str(root), str(library),
    )  # fmt: skip
    for source in library.rglob("*.py"):
        source.unlink()


def make_initrd(materials: Materials, out: Path) -> None:
    """Pack the initramfs for QEMU: the root file system and the modules of the kernel."""
    root = materials.image("root")
    [kernel] = (path for path in materials.images.values() if path != root)
    modules = initramfs.archive(kernel / "modules", prefix="modules/")
    (out / "initrd.cpio").write_bytes(initramfs.archive(root) + modules)
