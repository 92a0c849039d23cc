"""The images of QEMU: its programs that guests and builds use, without its other ones."""

from __future__ import annotations

import shutil
from pathlib import Path

from foothold_lab.images.debian_arch import EMULATORS, PORTS
from foothold_lab.images.recipes import Materials, make_tool

_USER = tuple(sorted(port.emulator for port in PORTS.values() if port.emulator))
# by image: the programs of usr/bin that are kept; without an entry, all are kept
PROGRAMS = {
    EMULATORS: _USER,
    "qemu-user-trixie": _USER,
    "qemu-x86_64": ("qemu-system-x86_64",),
}
# pages and translations that no program reads; usr/share/doc has the licences
_UNUSED = ("man", "locale", "info", "bash-completion", "applications", "icons")


def make_emulator(materials: Materials, out: Path) -> None:
    """Copy unpacked packages of QEMU as `make_tool` does, with only the programs that are used.

    QEMU's package of user emulators has 35 of them, 110 MB.
    """
    share = materials.packages / "usr/share"
    for name in _UNUSED:
        shutil.rmtree(share / name, ignore_errors=True)
    # changelogs are larger than the programs that are kept
    for path in share.glob("doc/**/changelog*"):
        path.unlink()
    kept = PROGRAMS.get(materials.target.name.rpartition("-")[0])
    if kept:
        for path in (materials.packages / "usr/bin").iterdir():
            if path.name not in kept:
                path.unlink()
    make_tool(materials, out)
