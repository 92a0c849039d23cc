"""gVisor: a kernel in a process of the host, `runsc`, which serves the calls of a program.

It runs the program either as a process that it traps by seccomp (systrap), or as one that it traces
(ptrace). The two differ in their address spaces. Source: https://gvisor.dev/docs/architecture_guide.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from foothold_lab.harness.guests.base import HOST_LIMITS, Capabilities, Placement, Support
from foothold_lab.harness.guests.sandbox import SandboxView
from foothold_lab.harness.guests.vm_process import ENVIRONMENT
from foothold_lab.images.catalogue import RUNSC

_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL",
    "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
    "SYS_ADMIN", "SYS_CHROOT", "SYS_NICE", "SYS_PTRACE", "SYS_RESOURCE",
)  # fmt: skip
_NO_SETTING = "gVisor has no such setting that can be changed"
CAPABILITIES = Capabilities(
    own_kernel=True,
    shares_live=True,
    fresh=True,
    unsupported_limits={
        **dict.fromkeys(HOST_LIMITS, _NO_SETTING),
        "exec_refused": "the mounts of a sandbox are not changed",
        "rlimit_data": "gVisor does not count mappings for RLIMIT_DATA",
    },
)


@dataclass(frozen=True, kw_only=True)
class GVisor:
    """`runsc run` with a bundle (OCI Runtime Specification) for each program."""

    platform: Literal["systrap", "ptrace"]
    scale: float
    images: tuple[str, ...] = (RUNSC,)
    capabilities: Capabilities = CAPABILITIES
    placement: Placement = "merged"
    has_users: bool = True
    _numbers: itertools.count[int] = field(default_factory=itertools.count, compare=False)

    def host_support(self) -> Support:
        """Without root, `runsc` does not end when its program has ended (measured)."""
        if os.geteuid() == 0:
            return Support(True)
        return Support(False, "gVisor runs as root only", "run Foothold as root, or take UML")

    def command(
        self, images: Mapping[str, Path], view: SandboxView, argv: Sequence[str]
    ) -> list[str]:
        """Write the bundle of a sandbox, and return the command line that runs it."""
        name = f"s{next(self._numbers)}"
        bundle = view.scratch / name
        bundle.mkdir()
        view = replace(view, root=_root_with_mount_points(view))
        (bundle / "config.json").write_text(json.dumps(_specification(view, argv)))
        return [
            str(images[RUNSC] / "usr/bin/runsc"), f"--platform={self.platform}", "--network=none",
            "--ignore-cgroups", "--overlay2=root:memory", f"--root={view.scratch}", "run",
            f"--bundle={bundle}", name,
        ]  # fmt: skip


def _root_with_mount_points(view: SandboxView) -> Path:
    """Return the root, or a copy of it if it lacks a directory at which something is mounted: `runsc`
    would make the directory in our image.
    """
    if all((view.root / place.removeprefix("/")).is_dir() for place in view.shown):
        return view.root
    copy = view.scratch / "rootfs"
    if not copy.exists():
        part = view.scratch / "rootfs.part"  # of a copy that was not finished
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(view.root, part, symlinks=True)
        part.rename(copy)
    return copy


def _specification(view: SandboxView, argv: Sequence[str]) -> Mapping[str, object]:
    capabilities = [f"CAP_{each}" for each in _CAPABILITIES]
    kinds = ("bounding", "effective", "permitted")
    mounts: list[Mapping[str, object]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs"},
    ]
    mounts += (
        {"destination": place, "type": "bind", "source": str(path), "options": ["rbind", "ro"]}
        for place, path in view.shown.items()
    )
    return {
        "ociVersion": "1.0.0",
        "hostname": "gvisor",
        "root": {"path": str(view.root), "readonly": False},  # what is written is in memory
        "process": {
            "args": list(argv),
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
            "capabilities": dict.fromkeys(kinds, capabilities),
        },
        "mounts": mounts,
        "linux": {"namespaces": [{"type": each} for each in ("pid", "mount", "ipc", "uts")]},
    }
