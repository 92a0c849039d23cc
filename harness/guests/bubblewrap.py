"""bubblewrap: `bwrap`, which Flatpak and build tools use, runs a program in namespaces of its own.

It needs no root. The program has no capabilities, and the address space that this kernel gives to a
program without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.guests.base import Capabilities, Placement, Support
from foothold_lab.harness.guests.bound_root import FRESH, root_steps
from foothold_lab.harness.guests.host_probe import probe_host
from foothold_lab.harness.guests.sandbox import ON_HOST_KERNEL, SandboxView
from foothold_lab.harness.guests.uml import ALLOW_NAMESPACES
from foothold_lab.harness.guests.vm_process import ENVIRONMENT
from foothold_lab.images.catalogue import BUBBLEWRAP

# A user of the sandbox is the caller on the host, who may be root: without capabilities, but the
# owner of these files. The list is that of readonlyPaths in containers (moby, oci/defaults.go).
_READ_ONLY = tuple(f"/proc/{each}" for each in ("bus", "fs", "irq", "sys", "sysrq-trigger"))
_OPTIONS = {"bind": "--ro-bind", "link": "--symlink", "directory": "--dir"}


@dataclass(frozen=True, kw_only=True)
class Bubblewrap:
    """`bwrap` of this machine, or else that of Debian's package."""

    scale: float = 1.0
    capabilities: Capabilities = ON_HOST_KERNEL
    placement: Placement = "bound"
    has_users: bool = False

    @property
    def images(self) -> tuple[str, ...]:
        """Debian's package, if this machine has no `bwrap`."""
        return needs()

    def host_support(self) -> Support:
        """It needs user namespaces."""
        if not probe_host().namespaces:
            return Support(True)
        return Support(False, "this machine refuses user namespaces", ALLOW_NAMESPACES)

    def command(
        self, images: Mapping[str, Path], view: SandboxView, argv: Sequence[str]
    ) -> list[str]:
        """Return the command line that runs a program as the first process of a sandbox."""
        return [
            program(images), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net",
            "--unshare-uts", "--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL",
            "--new-session", "--as-pid-1", "--clearenv",
            *(word for pair in ENVIRONMENT.items() for word in ("--setenv", *pair)),
            *_root(view), "--proc", "/proc",
            *(word for path in _READ_ONLY for word in ("--ro-bind-try", path, path)),
            "--dev", "/dev", "--remount-ro", "/", "--", *argv,
        ]  # fmt: skip


def needs() -> tuple[str, ...]:
    """Return the image with `bwrap`, if this machine has none."""
    return () if shutil.which("bwrap") else (BUBBLEWRAP,)


def program(images: Mapping[str, Path]) -> str:
    """Return the path of `bwrap`, among these images or on this machine."""
    return str(images[BUBBLEWRAP] / "usr/bin/bwrap") if BUBBLEWRAP in images else "bwrap"


def _root(view: SandboxView) -> Iterator[str]:
    for path, mode in FRESH.items():
        yield from ("--perms", f"{mode:o}", "--tmpfs", path)
    for step in root_steps(view.root, view.overlay, view.shown):
        yield _OPTIONS[step.kind]
        yield from (step.source, step.path) if step.source else (step.path,)
