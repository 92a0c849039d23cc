"""Whether KVM works on this host, as guests that were booted with it have shown."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Kvm:
    """The state of KVM. That it does not work is stored in the cache until the host reboots."""

    def __init__(self, cache: Path) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._file = cache / "probes" / f"kvm-{boot}.json"

    def reason(self) -> str:
        """Return why KVM cannot be used; empty if it can be tried."""
        try:
            with Path("/dev/kvm").open("rb+", buffering=0):
                pass
        except FileNotFoundError:
            return "/dev/kvm is absent"
        except OSError as error:
            return f"/dev/kvm: {error.strerror}"
        try:
            return str(json.loads(self._file.read_text())["reason"])
        except (OSError, ValueError, KeyError):
            return ""

    def remedy(self) -> str:
        """Return what would make KVM usable."""
        if not Path("/dev/kvm").exists():
            return "load the kvm module, or allow virtualization in the firmware or the cloud"
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return "add the user to the group kvm"
        return f"if the host has changed, remove {self._file}"

    def does_not_work(self, reason: str) -> None:
        """Store that a guest with KVM failed."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps({"reason": reason}))
        fresh.replace(self._file)
