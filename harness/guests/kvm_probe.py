"""KVM, which is tried by using it: what is known of it on this host."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Kvm:
    """Does KVM work here? Remembered in the cache until the host boots again."""

    def __init__(self, cache: Path) -> None:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._memory = cache / "probes" / f"kvm-{boot}.json"

    def reason(self) -> str:
        """Say why not; empty if nothing speaks against trying."""
        try:
            with Path("/dev/kvm").open("rb+", buffering=0):
                pass
        except FileNotFoundError:
            return "/dev/kvm is absent"
        except OSError as error:
            return f"/dev/kvm: {error.strerror}"
        try:
            return str(json.loads(self._memory.read_text())["reason"])
        except (OSError, ValueError, KeyError):
            return ""

    def remedy(self) -> str:
        """Say what would make KVM usable."""
        if not Path("/dev/kvm").exists():
            return "load the kvm module, or allow virtualization in the firmware or the cloud"
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return "add the user to the group kvm"
        return f"if the host has changed, remove {self._memory}"

    def does_not_work(self, reason: str) -> None:
        """Remember that a guest with KVM failed."""
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._memory.with_suffix(".new")
        fresh.write_text(json.dumps({"reason": reason}))
        fresh.replace(self._memory)
