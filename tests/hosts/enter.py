"""Runs a command in a directory tree as in a machine: `python enter.py SETTINGS COMMAND...`.

SETTINGS is JSON: tree, user (a number), home, environment, refused (system calls that fail with
EPERM), offline, namespace (the mount namespace of the caller). Needs root, and runs under `unshare
--mount --pid --fork`: all mounts are below the tree, in a namespace that ends with the command.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests import refusing

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
            "tty": (5, 0)}  # fmt: skip
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2",
          "ptmx": "pts/ptmx"}  # fmt: skip
_BIND, _DETACH = 0x1000, 2  # linux/mount.h: MS_BIND, MNT_DETACH
_PIVOT_ROOT = 155  # arch/x86/entry/syscalls/syscall_64.tbl
_LIBC = ctypes.CDLL(None, use_errno=True)


def _mount(kind: str, place: Path, data: str = "") -> None:
    place.mkdir(exist_ok=True)
    if _LIBC.mount(kind.encode(), os.fsencode(place), kind.encode(), 0, data.encode()) < 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {kind} at {place}")


def _make_devices(folder: Path) -> None:
    _mount("tmpfs", folder, "mode=755")
    for name, numbers in _DEVICES.items():
        os.mknod(folder / name, stat.S_IFCHR, os.makedev(*numbers))
        (folder / name).chmod(0o666)
    _mount("devpts", folder / "pts", "newinstance,ptmxmode=0666,mode=620")
    _mount("tmpfs", folder / "shm", "mode=1777")
    for name, target in _LINKS.items():
        (folder / name).symlink_to(target)


def _enter(tree: Path) -> None:
    """Make a tree the root directory; pivot_root(2). A process in a chroot could not make a user
    namespace.
    """
    os.chdir(tree)
    if _LIBC.syscall(_PIVOT_ROOT, b".", b".") < 0 or _LIBC.umount2(b".", _DETACH) < 0:
        raise OSError(ctypes.get_errno(), "cannot change the root directory")
    os.chdir("/")


def _main() -> None:
    settings = json.loads(sys.argv[1])
    if str(Path("/proc/self/ns/mnt").readlink()) == settings["namespace"]:
        raise SystemExit("enter.py runs in a mount namespace of its own: use unshare --mount")
    tree = Path(settings["tree"])
    # pivot_root needs a mount
    if _LIBC.mount(os.fsencode(tree), os.fsencode(tree), None, _BIND, None) < 0:
        raise OSError(ctypes.get_errno(), "cannot mount the tree")
    _mount("proc", tree / "proc")
    _mount("sysfs", tree / "sys")
    _make_devices(tree / "dev")
    _enter(tree)
    os.chdir(settings["home"])
    os.setgroups([])
    os.setresgid(*[settings["user"]] * 3)
    os.setresuid(*[settings["user"]] * 3)
    if settings["refused"]:
        refusing.refuse(errno.EPERM, settings["refused"])
    os.execvpe(sys.argv[2], sys.argv[2:], settings["environment"])


if __name__ == "__main__":
    _main()
