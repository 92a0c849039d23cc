"""What makes a tree like Alpine: musl as the only libc, busybox as the only tools, Python for musl."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.hosts.musl import LOADER, python_for_musl

_NAME = "lib/libc.musl-x86_64.so.1"  # of musl in Alpine's packages
_OF_DEBIAN = ("usr/lib/x86_64-linux-musl", "etc/ld-musl-x86_64.path", "etc/ld-musl-x86_64.d",
              "usr/bin/ld-musl-config")  # fmt: skip
# Debian's busybox has these commands, Alpine's does not
_NOT_IN_ALPINE = ("ar", "dpkg", "dpkg-deb", "linuxrc", "rpm", "rpm2cpio")


def complete(tree: Path) -> None:
    """Make a tree with Debian's packages of musl and busybox like Alpine."""
    (tree / "lib64").unlink()
    (tree / "usr/lib64").rmdir()
    for name in _OF_DEBIAN:
        place = tree / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    (tree / LOADER).unlink()
    # the links for merged directories are in the tree already
    shutil.copytree(python_for_musl() / "usr", tree / "usr", symlinks=True, dirs_exist_ok=True)
    shutil.copy2(python_for_musl() / LOADER, tree / LOADER)
    (tree / _NAME).symlink_to(Path(LOADER).name)
    _link_commands(tree)


def _link_commands(tree: Path) -> None:
    """Make a link for each command of busybox, where it wants it. It is a static program."""
    busybox = tree / "usr/bin/busybox"
    listed = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        place = tree / name
        if place.name not in _NOT_IN_ALPINE and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(os.path.relpath(busybox, place.parent.resolve()))
