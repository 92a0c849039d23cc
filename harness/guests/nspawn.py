"""systemd-nspawn: a container without an engine, on the root file system of UML and QEMU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.guests import bubblewrap
from foothold_lab.harness.guests.base import Capabilities, Placement, Support
from foothold_lab.harness.guests.bound_root import FRESH, overlay_steps
from foothold_lab.harness.guests.sandbox import ON_HOST_KERNEL, SandboxView
from foothold_lab.harness.guests.vm_process import ENVIRONMENT
from foothold_lab.images.catalogue import NSPAWN
from foothold_lab.images.debian_arch import AMD64
from foothold_lab.images.recipes import library_directories, loader

_OWN = ("/run", "/tmp")  # systemd-nspawn mounts them
_ROOT = "/run/systemd/root"


@dataclass(frozen=True, kw_only=True)
class Nspawn:
    """`systemd-nspawn` of this machine, or else that of Debian's package."""

    scale: float = 1.5
    capabilities: Capabilities = ON_HOST_KERNEL
    placement: Placement = "bound"
    has_users: bool = False

    @property
    def images(self) -> tuple[str, ...]:
        """Debian's packages of what this machine does not have."""
        return (*bubblewrap.needs(), *(() if shutil.which("systemd-nspawn") else (NSPAWN,)))

    def host_support(self) -> Support:
        """It needs root."""
        if os.geteuid() == 0:
            return Support(True)
        remedy = "run Foothold as root, or take bubblewrap, which needs no root"
        return Support(False, "systemd-nspawn runs as root only", remedy)

    def command(
        self, images: Mapping[str, Path], view: SandboxView, argv: Sequence[str]
    ) -> list[str]:
        """Return the command line that runs a program in a container.

        The root is the lower directory of an overlay. bubblewrap makes it read-only: systemd-nspawn
        makes a lock file beside it, and mount points in it. bubblewrap also keeps from the host what
        systemd-nspawn leaves in /run/systemd. The program has no capabilities: with those of the
        default it could mount file systems of the host. The default filter of system calls would
        refuse tracers.
        """
        return [
            bubblewrap.program(images), "--dev-bind", "/", "/", "--tmpfs", "/run/systemd",
            "--ro-bind", str(view.root), _ROOT, "--",
            *(_packaged(images[NSPAWN]) if NSPAWN in images else ["systemd-nspawn"]),
            "--quiet", "--register=no", "--keep-unit", "--settings=no", "--machine=foothold",
            "--console=pipe", "--private-network", "--link-journal=no", "--resolv-conf=off",
            "--timezone=off", "--drop-capability=all", "--no-new-privileges=yes",
            "--system-call-filter=ptrace process_vm_readv", "--volatile=overlay", "--read-only",
            f"--directory={_ROOT}",
            *(f"--setenv={name}={value}" for name, value in ENVIRONMENT.items()),
            *(f"--tmpfs={path}:mode={mode:o}" for path, mode in FRESH.items() if path not in _OWN),
            *_mounts(view), "--", *argv,
        ]  # fmt: skip


def _packaged(image: Path) -> Iterator[str]:
    """Yield the command of Debian's package: its own library is in a directory that only its loader
    is to know.
    """
    folders = [image / each for each in library_directories(AMD64)]
    searched = ":".join(map(str, (*folders, folders[-1] / "systemd")))
    yield from (str(loader(image, AMD64)), "--library-path", searched)
    yield str(image / "usr/bin/systemd-nspawn")


def _mounts(view: SandboxView) -> Iterator[str]:
    sources = {path: str(source) for path, source in view.shown.items()}
    for step in overlay_steps(view.overlay) if view.overlay else ():
        if step.kind != "directory":  # of a link, what it leads to within the overlay
            sources[step.path] = os.path.realpath(f"{view.overlay}{step.path}")
    yield from _placeholders(view, sources)
    for path, source in sources.items():
        yield f"--bind-ro={_escaped(source)}:{_escaped(path)}"


def _placeholders(view: SandboxView, sources: Mapping[str, str]) -> Iterator[str]:
    """Put a file or a directory over each link of the root at which something is mounted.

    systemd-nspawn follows a link at the end of a path: what is mounted at /bin/sh would also replace
    busybox, to which that and other links lead.
    """
    folders = set()
    for path, source in sources.items():
        if (view.root / path.removeprefix("/")).is_symlink():
            folder, _, name = path.rpartition("/")
            place = view.scratch / "placeholders" / folder.removeprefix("/") / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if Path(source).is_dir():
                place.mkdir(exist_ok=True)
            else:
                place.touch()
            folders.add((folder or "/", str(place.parent)))
    for folder, layer in sorted(folders):
        yield f"--overlay-ro=+{_escaped(folder)}:{_escaped(layer)}:{_escaped(folder)}"


def _escaped(path: str) -> str:
    """Return a path as systemd-nspawn(1) reads it: a colon separates the two."""
    return path.replace("\\", "\\\\").replace(":", "\\:")
