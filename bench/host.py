"""What of a host decides how long things take there."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from foothold_lab.harness.guests.kvm_probe import Kvm
from foothold_lab.images.builder import Builder


def describe() -> str:
    """Return one line: the date, the processors, AMX, KVM, the memory, the kernel."""
    fields = {
        name.strip(): value.strip()
        for name, _, value in (
            line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()
        )
    }
    usable, installed = len(os.sched_getaffinity(0)), os.cpu_count()
    amx = "with" if "amx_tile" in fields.get("flags", "").split() else "without"
    kvm = f"no KVM: {why}" if (why := Kvm(Builder().cache.root).reason()) else "KVM"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return "; ".join([
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        fields.get("model name", platform.machine()),
        f"{usable} of {installed} processors",
        f"{amx} AMX",
        kvm,
        f"{memory} GiB",
        f"Linux {platform.release()}",
        f"load {os.getloadavg()[0]:.1f}",
    ])  # fmt: skip
