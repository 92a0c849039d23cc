"""QEMU: an emulated or virtual machine with a kernel of Debian's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cells import Limits
from harness.channels.ssh import Keys
from harness.deadline import Deadline
from harness.errors import GuestError
from harness.facts import Facts
from harness.guests.architectures import Architecture
from harness.guests.guest import LEAVE_ROOT, NO_HOST_ROOT, Boot, Support, Workplace
from harness.guests.machine import AGENT, Launch, Machine
from harness.record import UNTRACED, Record, Supervision
from images import apt, initramfs

# a nested KVM may offer arch-capabilities and then refuse the MSR behind it (measured)
_KVM_PROCESSOR = "max,-arch-capabilities"
_KVM_SECONDS = (
    8.0  # a guest boots in about one where KVM works; where it does not, it may just hang
)


@dataclass(frozen=True)
class Parts:
    """The files that a guest is made of: QEMU, the kernel, what that boots from, and the same with
    what is handed in behind it.
    """

    tool: Path
    kernel: Path
    initrd: Path
    initramfs: Path


class Qemu:
    """A QEMU guest. KVM is tried by booting with it, once for each boot of the host: /dev/kvm may
    be there and not work. `accelerators` are tried in turn, instead of the architecture's own.
    """

    share = "/share"
    root = ""
    python = "/usr/bin/python3"
    agent = AGENT
    unable: Mapping[str, str] = {}

    def __init__(
        self,
        name: str,
        architecture: Architecture,
        workplace: Workplace,
        *,
        accelerators: Sequence[str] = (),
        kernel: Path | None = None,
        append: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.scale = architecture.scale
        self.boot_record = Boot()
        self._architecture = architecture
        self._place = workplace
        self._accelerators = tuple(accelerators) or architecture.accelerators
        self._kernel = kernel
        self._append = tuple(append)
        self._machine: Machine | None = None

    def supported(self) -> Support:
        """QEMU needs its images, or the means to make them; an accelerator it can do without."""
        builder = self._place.builder
        if self._place.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        if not all(map(builder.ready, self._architecture.images)) and (why := apt.available()):
            return Support(False, f"its images are not built yet, and cannot be: {why}",
                           "build the images on a Debian machine, or install apt")  # fmt: skip
        if "kvm" not in self._accelerators:
            return Support(True)
        return Support(True, notes=(f"KVM: {Kvm(builder.cache.root).reason() or 'to be tried'}",))

    def boot(self, deadline: Deadline) -> Facts:
        """Boot with the first accelerator that works; see `Guest.boot`."""
        builder = self._place.builder
        parts = self._parts()
        keys = Keys()
        keys.install(self._place.share)
        self._pack(parts)
        kvm = Kvm(builder.cache.root)
        without_kvm = ""
        for accelerator in self._accelerators:
            last = accelerator == self._accelerators[-1]
            if accelerator == "kvm" and not last and (reason := kvm.reason()):
                self.boot_record.notes.append(f"no KVM: {reason}")
                continue
            launch = Launch(
                builder.image("agent") / "agent",
                lambda line, a=accelerator: self._command(parts, line, a),  # type: ignore[misc]
                self._place.directory,
                cpu=self._place.cpu,
                keys=keys,
                environment={"QEMU_MODULE_DIR": str(parts.tool / "usr/lib/x86_64-linux-gnu/qemu")},
            )
            self._machine = Machine(launch)
            self.boot_record.argv = self._machine.argv
            try:
                patience = deadline if last else deadline.within(_KVM_SECONDS)
                facts = self._machine.connect(patience)
            except GuestError as error:
                if last:
                    raise
                self._machine.stop()
                without_kvm = f"tried by booting, and {error}"
                self.boot_record.notes.append(f"no KVM: {without_kvm}")
                continue
            self.boot_record.provenance["accelerator"] = accelerator
            if accelerator == "kvm":
                self.scale = 2.0
            elif without_kvm:
                # all else being equal it boots without: so it is KVM that does not work
                kvm.does_not_work(without_kvm)
            return facts
        raise GuestError("no accelerator was given to try", "give kvm, tcg or both")

    def _parts(self) -> Parts:
        builder, this = self._place.builder, self._architecture
        kernel = builder.image(this.kernel)
        initrd = builder.image(this.initrd)
        tool = builder.image(this.tool)
        self.boot_record.provenance.update(
            {
                "kernel": kernel.name,
                "release": (kernel / "release").read_text().strip(),
                "qemu": tool.name,
                "initrd": initrd.name,
            }
        )
        file = self._own_kernel() if self._kernel else kernel / this.file
        return Parts(tool, file, initrd / "initrd.cpio", self._place.directory / "initramfs.cpio")

    def _pack(self, parts: Parts) -> None:
        """Put what is handed in behind what it boots from."""
        with parts.initramfs.open("wb") as out, parts.initrd.open("rb") as file:
            shutil.copyfileobj(file, out, 1 << 20)
            out.write(initramfs.archive(self._place.share, prefix="share/"))

    def run(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        on_hold: Callable[[str], None] = lambda _: None,
        how: Supervision = UNTRACED,
    ) -> Record:
        """See `Guest.run`."""
        return self._booted().run(argv, limits, deadline, on_hold, how)

    def push(self, source: Path, target: str) -> None:
        """See `Guest.push`."""
        self._booted().push(source, target)

    def pull(self, source: str, target: Path) -> None:
        """See `Guest.pull`."""
        self._booted().pull(source, target)

    def diagnose(self) -> str:
        """See `Guest.diagnose`."""
        return self._machine.diagnose() if self._machine else ""

    def stop(self) -> None:
        """See `Guest.stop`."""
        if self._machine:
            self._machine.stop()
        (self._place.directory / "initramfs.cpio").unlink(missing_ok=True)

    def _booted(self) -> Machine:
        assert self._machine, "boot first"
        return self._machine

    def _own_kernel(self) -> Path:
        """Return the user's kernel in the form that QEMU starts quickest."""
        assert self._kernel
        data = self._kernel.read_bytes()
        if data[:4] == b"\x7fELF":
            return self._kernel
        unpacked = self._place.directory / "vmlinux"
        unpacked.write_bytes(initramfs.vmlinux(data))
        return unpacked

    def _command(self, parts: Parts, line: int, accelerator: str) -> list[str]:
        memory = self._place.memory or self._architecture.memory
        return command(self._architecture, parts, line, accelerator, memory, self._append)


def command(
    this: Architecture,
    parts: Parts,
    line: int,
    accelerator: str,
    memory: int,
    append: Sequence[str] = (),
) -> list[str]:
    """Return QEMU's command line. `line` is the descriptor of the guest's line to us, `memory` in
    MiB, `append` goes to the end of the kernel's own.
    """
    tcg = accelerator == "tcg"
    told = (f"console={this.console}", *this.boot_line, "foothold.port=/dev/vport0p1", *append)
    return [
        str(parts.tool / this.system), "-M", this.board,
        "-cpu", this.processor if tcg else _KVM_PROCESSOR,
        "-accel", "tcg,thread=single" if tcg else "kvm",
        "-m", f"{memory}M",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-L", str(parts.tool / "usr/share/qemu"), "-L", str(parts.tool / "usr/share/seabios"),
        "-kernel", str(parts.kernel), "-initrd", str(parts.initramfs), "-append", " ".join(told),
        "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
        "-chardev", f"socket,id=line,fd={line}",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=line,name=foothold",
    ]  # fmt: skip


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
