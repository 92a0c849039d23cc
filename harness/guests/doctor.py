"""What this machine can boot, and the remedy for what it cannot. Only machines that are reached by
SSH are booted, which is to log in.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.guests import uml
from foothold_lab.harness.guests.base import BOOT_SECONDS, GuestConfig
from foothold_lab.harness.guests.catalogue import GuestType, catalogue, make
from foothold_lab.harness.guests.host_probe import Host, probe_host
from foothold_lab.harness.guests.kvm_probe import Kvm
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import FootholdError
from foothold_lab.harness.model.sizes import format_size
from foothold_lab.images import apt
from foothold_lab.images.builder import Builder
from foothold_lab.images.errors import ImageError
from foothold_lab.images.mirror import find_mirror

ROOM = 2 << 30  # bytes that a first run needs for downloads and builds (measured: 1.7 GiB)
_OWN_STORE = (
    "ask its owner to run `foothold images build`, or set FOOTHOLD_CACHE to a directory of your own"
)


@dataclass(frozen=True)
class Check:
    """One line of the report. `guest` is the name of a guest, or the part of the host.

    A guest whose check is not `ok` is unsupported on this machine.
    """

    guest: str
    ok: bool
    reason: str
    remedy: str = ""
    notes: tuple[str, ...] = ()


def examine(builder: Builder) -> list[Check]:
    """Check all that a run of all guests needs. Downloads nothing."""
    host = probe_host()
    checks = [
        _packages(),
        _disk(builder),
        _ptrace(host),
        _namespaces(host),
        _tmpfs(host),
        _xstate(host),
        _kvm(builder),
    ]
    try:
        kinds = catalogue(builder)
    except ImageError as error:
        return [*checks, Check("guests", False, str(error), error.remedy)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for kind in kinds.values():
            checks.append(_guest(kind, builder, scratch))
    return checks


def examine_machine(name: str, builder: Builder) -> Check:
    """Check a machine that is reached by SSH: log in, bring the agent there, and leave nothing."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = GuestConfig(directory=Path(folder), share=Path(folder), builder=builder)
            guest = make(builder, name, config)
            try:
                facts = guest.boot(Deadline.after(BOOT_SECONDS))
            finally:
                guest.stop()
    except FootholdError as error:
        return Check(name, False, str(error), error.remedy)
    what = (
        f"can be used: {facts.machine}, {facts.release}, pages of {format_size(facts.page_size)}, "
        f"address space up to {facts.task_size:#x}"
    )
    notes = [f"files in {guest.boot_record.provenance['directory']} until the end"]
    if not guest.paths.python:
        notes.append("no Python 3.11 or newer: the subject allocator cannot run there")
    if facts.tools.ptrace:
        notes.append(f"ptrace is refused ({os.strerror(facts.tools.ptrace)}): nothing is traced")
    return Check(name, True, what, notes=tuple(notes))


def _guest(kind: GuestType, builder: Builder, scratch: Path) -> Check:
    support = kind.supported(builder, scratch)
    reason = support.reason or "can be booted"
    ready = support.ok and all(map(builder.ready, kind.images))
    if support.ok and not ready and not builder.cache.is_writable():
        return Check(
            kind.name, False, f"{builder.cache.root} lacks its images, and is read-only", _OWN_STORE
        )
    if support.ok and not ready:
        size = builder.download_size(kind.images) >> 20
        reason += f"; its images are not built ({size} MiB to download)"
    return Check(kind.name, support.ok, reason, support.remedy, support.notes)


def _packages() -> Check:
    if why := apt.obstacle():
        return Check("packages", False, str(why), why.remedy)
    mirror = find_mirror()
    return Check("packages", True, f"Debian packages from {mirror.url}, from {mirror.chosen_by}")


def _disk(builder: Builder) -> Check:
    place = builder.cache.root
    if not builder.cache.is_writable():
        reason = f"{place} is read-only: its images can be used, but none can be built"
        return Check("disk", False, reason, _OWN_STORE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < ROOM:
        return Check(
            "disk",
            False,
            f"{free >> 20} MiB free for images at {place}",
            "free 2 GiB, run `foothold images prune`, or set FOOTHOLD_CACHE",
        )
    return Check("disk", True, f"{free >> 30} GiB free for images")


def _ptrace(host: Host) -> Check:
    if host.ptrace:
        remedy = "`--cap-add SYS_PTRACE` in a container, else kernel.yama.ptrace_scope=1"
        why = f"refused: {os.strerror(host.ptrace)}; native programs are not traced then"
        return Check("ptrace", False, why, remedy)
    return Check("ptrace", True, "a child can be traced")


def _namespaces(host: Host) -> Check:
    if host.namespaces:
        why = f"refused: {os.strerror(host.namespaces)}; UML guests cannot be confined"
        if uml.unconfined_allowed():
            why += f", and {uml.UNCONFINED}=1 lets them run"
        return Check("namespaces", False, why, uml.ALLOW_NAMESPACES)
    return Check("namespaces", True, "UML guests can be confined")


def _tmpfs(host: Host) -> Check:
    if not host.executable_tmpfs:
        return Check(
            "tmpfs",
            host.namespaces == 0,
            "/dev/shm is absent or not executable",
            uml.EXECUTABLE_TMPFS,
        )
    return Check("tmpfs", True, "/dev/shm is executable")


def _xstate(host: Host) -> Check:
    if not host.xstate:
        # older kernels cannot boot without ptrace, so they need no shim
        return Check("xstate", True, "not measured: this host does not show it to a tracer")
    area = f"this host's floating-point state has {host.xstate} bytes"
    if host.xstate > uml.XSTATE_BUFFER:
        return Check(
            "xstate",
            True,
            f"{area}: UML before 6.13 restores {uml.XSTATE_BUFFER} and would "
            "panic with errno = 14; it runs with the xstate shim",
        )
    return Check("xstate", True, f"{area}, which every UML kernel restores")


def _kvm(builder: Builder) -> Check:
    kvm = Kvm(builder.cache.root)
    if reason := kvm.reason():
        return Check(
            "kvm",
            True,
            f"not used: {reason}; QEMU emulates (TCG), about 15 times slower",
            kvm.remedy(),
        )
    return Check("kvm", True, "present; the first QEMU guest tries whether it works")
