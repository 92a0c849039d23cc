"""QEMU: an emulated or virtual machine with a kernel of Debian's."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from foothold_lab.harness.guests import host_dir, snapshot
from foothold_lab.harness.guests.architectures import Architecture
from foothold_lab.harness.guests.base import (
    LEAVE_ROOT,
    NO_HOST_ROOT,
    BootRecord,
    GuestConfig,
    Support,
    Tracer,
)
from foothold_lab.harness.guests.kvm_probe import Kvm
from foothold_lab.harness.guests.snapshot import Monitor, Snapshot
from foothold_lab.harness.guests.vm_process import AGENT, SHOWN, Launch, Machine
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.model.record import UNTRACED, Record, Supervision
from foothold_lab.harness.transport.keys import Keys
from foothold_lab.harness.transport.stream import Stream
from foothold_lab.images import apt, disks, initramfs
from foothold_lab.images.errors import ImageError

# a nested KVM may offer arch-capabilities and then refuse the MSR behind it (measured)
_KVM_PROCESSOR = "max,-arch-capabilities"
# a guest boots in about one where KVM works; where it does not, it may just hang
_KVM_SECONDS = 8.0
_RESTORE_SECONDS = 10.0  # a restored guest answers within half of one (measured)


@dataclass(frozen=True)
class Parts:
    """The files that a guest is made of: QEMU's image, the kernel, the initramfs."""

    tool: Path
    kernel: Path
    initrd: Path


class Qemu:
    """A QEMU guest. KVM is tried by booting with it, once for each boot of the host: /dev/kvm may
    be there and not work. `accelerators` are tried in turn, instead of the architecture's own.
    """

    share = "/share"
    shares_live = False
    root = ""
    python = "/usr/bin/python3"
    agent = AGENT
    tracer: Tracer = "strace"
    unable: Mapping[str, str] = {}

    def __init__(
        self,
        name: str,
        architecture: Architecture,
        workplace: GuestConfig,
        *,
        accelerators: Sequence[str] = (),
        kernel: Path | None = None,
        initrd: Path | None = None,
        append: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.scale = architecture.scale
        self.boot_record = BootRecord()
        self._architecture = architecture
        self._place = workplace
        self._accelerators = tuple(accelerators) or architecture.accelerators
        self._kernel = kernel
        self._initrd = initrd
        self._append = tuple(append)
        self._machine: Machine | None = None

    def supported(self) -> Support:
        """QEMU needs its images, or the means to make them; an accelerator it can do without."""
        builder = self._place.builder
        if self._place.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        if not all(map(builder.ready, self._architecture.images)) and (
            why := apt.unavailable_reason()
        ):
            return Support(
                False,
                f"its images are not built yet, and cannot be: {why}",
                "build the images on a Debian machine, or install apt",
            )
        if "kvm" not in self._accelerators:
            return Support(True)
        return Support(True, notes=(f"KVM: {Kvm(builder.cache.root).reason() or 'to be tried'}",))

    def boot(self, deadline: Deadline) -> Facts:
        """Boot with the first accelerator that works; see `Guest.boot`."""
        if self._place.host_directory:
            host_dir.check(self._place.host_directory)
        parts = self._parts()
        keys = Keys()
        keys.install(self._place.share)
        self._write_shown()
        kvm = Kvm(self._place.builder.cache.root)
        without_kvm = ""
        for accelerator in self._accelerators:
            if accelerator == "tcg":
                facts = self._emulated(parts, keys, deadline)
                if without_kvm:
                    # all else being equal it boots without: so it is KVM that does not work
                    kvm.does_not_work(without_kvm)
                return facts
            last = accelerator == self._accelerators[-1]
            if not last and (reason := kvm.reason()):
                self.boot_record.notes.append(f"no KVM: {reason}")
                continue
            try:
                patience = deadline if last else deadline.within(_KVM_SECONDS)
                facts = self._cold(parts, keys, accelerator, patience)
            except GuestError as error:
                if last:
                    raise
                self._booted().stop()
                without_kvm = f"tried by booting, and {error}"
                self.boot_record.notes.append(f"no KVM: {without_kvm}")
                continue
            self.scale = 2.0
            return facts
        raise GuestError("no accelerator was given to try", "give kvm, tcg or both")

    def _parts(self) -> Parts:
        builder, this = self._place.builder, self._architecture
        kernel = builder.image(this.kernel)
        initrd = builder.image(this.initrd)
        tool = builder.image(this.tool)
        file = self._own_kernel() if self._kernel else kernel / this.file
        self.boot_record.provenance.update(
            {
                "kernel": file.parent.name,
                "release": (kernel / "release").read_text().strip(),
                "qemu": tool.name,
                "initrd": initrd.name,
            }
        )
        archive = initrd / "initrd.cpio"
        return Parts(tool, file, self._with_own(archive) if self._initrd else archive)

    def _write_shown(self) -> None:
        """Say in the share which modules and file systems show the images: images/agent/bind_images.c."""
        if not self._place.images:
            return
        lines = []
        modules = disks.modules_image(self._architecture.kernel)
        for module in disks.modules(self._place.builder.image(modules)):
            shutil.copy2(module, self._place.share)
            lines.append(f"module none {self.share}/{module.name}\n")
        for n, path in enumerate(self._place.shown()):
            lines.append(f"{disks.TYPE} /dev/vd{chr(ord('a') + n)} {path}\n")
        (self._place.share / SHOWN).write_text("".join(lines))

    def _drives(self) -> Iterator[str]:
        """Options for the images' disks, which the guest sees in this order."""
        for n, name in enumerate(self._place.images):
            disk = self._place.builder.image(disks.DISK + name) / disks.FILE
            file = str(disk).replace(",", ",,")  # as QEMU wants it
            yield from ("-drive", f"file={file},format=raw,if=none,id=disk{n},readonly=on")
            yield from ("-device", f"virtio-blk-pci,drive=disk{n}")

    def _emulated(self, parts: Parts, keys: Keys, deadline: Deadline) -> Facts:
        """Go on from the snapshot; boot cold if that cannot be had, or does not answer. A guest
        with disks is another machine with each set of them, and always boots cold.
        """
        known = not (self._kernel or self._append or self._place.images)
        if not (known and self._place.snapshots):
            return self._cold(parts, keys, "tcg", deadline)
        cache = self._place.builder.cache
        try:
            entry = self._place.builder.obtain(
                f"snapshot-{self.name}",
                snapshot.key(self._command(parts, 0, "tcg")),
                lambda directory: self._save(parts, Snapshot(directory), keys, deadline),
                space=self._memory << 20,
            )
        except (GuestError, ImageError) as error:
            self.boot_record.notes.append(f"booted cold: no snapshot could be made: {error}")
            return self._cold(parts, keys, "tcg", deadline)
        saved = Snapshot(entry.path)
        try:
            return self._restored(parts, saved, keys, deadline.within(_RESTORE_SECONDS))
        except (GuestError, OSError) as error:
            self.stop()
            with contextlib.suppress(ImageError, OSError):  # somebody else's cache, perhaps
                cache.discard(entry)
            self.boot_record.provenance.pop("snapshot", None)
            self.boot_record.notes.append(f"booted cold: its snapshot was thrown away: {error}")
        return self._cold(parts, keys, "tcg", deadline)

    def _cold(self, parts: Parts, keys: Keys, accelerator: str, deadline: Deadline) -> Facts:
        self._start(parts, keys, accelerator)
        self._booted().ready(deadline)
        return self._booted().connect(deadline)

    def _save(
        self, parts: Parts, into: Snapshot, keys: Keys, deadline: Deadline
    ) -> Mapping[str, object]:
        """Boot a guest to the point where it waits for its boot payload, and save it."""
        self._place.builder.progress(f"saving a snapshot of {self.name} (once)")
        ours, theirs = socket.socketpair()
        with ours, theirs, into.state.open("wb") as state:
            extra = into.to_save(self._memory, theirs.fileno())
            self._start(parts, keys, "tcg", extra, (theirs.fileno(),))
            try:
                self._booted().ready(deadline)
                Monitor(ours, deadline).save(state.fileno())
            finally:
                self.stop()
        return dict(self.boot_record.provenance)

    def _restored(self, parts: Parts, saved: Snapshot, keys: Keys, deadline: Deadline) -> Facts:
        ours, theirs = socket.socketpair()
        with ours, theirs, saved.state.open("rb") as state:
            extra = saved.to_restore(self._memory, theirs.fileno())
            # its kernel is in its memory: to load it again would take half of the time (arm64)
            self._start(parts, keys, "tcg", extra, (theirs.fileno(),), boots=False)
            Monitor(ours, deadline).restore(state.fileno())
            self.boot_record.provenance["snapshot"] = saved.directory.name
            return self._booted().connect(deadline)

    def _start(
        self,
        parts: Parts,
        keys: Keys,
        accelerator: str,
        extra: Sequence[str] = (),
        descriptors: tuple[int, ...] = (),
        *,
        boots: bool = True,
    ) -> None:
        """Start QEMU; what an earlier one was is forgotten."""
        launch = Launch(
            self._place.builder.image("agent") / "agent",
            lambda line: self._command(parts, line, accelerator, extra, boots=boots),
            self._place.directory,
            cpu=self._place.cpu,
            keys=keys,
            environment={"QEMU_MODULE_DIR": str(parts.tool / "usr/lib/x86_64-linux-gnu/qemu")},
            descriptors=descriptors,
            payload=self._payload,
        )
        self._machine = Machine(launch)
        self.boot_record.argv = self._machine.argv
        self.boot_record.provenance["accelerator"] = accelerator

    def _payload(self) -> bytes:
        """What the guest is handed as soon as it is ready: images/agent/boot_payload.c."""
        files = initramfs.archive(self._place.share, prefix="share/")
        if self._place.host_directory:
            files += host_dir.pack(self._place.host_directory)
        seed = secrets.token_hex(32)
        return f"payload {seed} {time.time():17.6f} {len(files):12}\n".encode() + files

    def run(
        self,
        argv: Sequence[str],
        limits: Limits,
        deadline: Deadline,
        on_checkpoint: Callable[[str], None] = lambda _: None,
        how: Supervision = UNTRACED,
    ) -> Record:
        """See `Guest.run`."""
        return self._booted().run(argv, limits, deadline, on_checkpoint, how)

    def open(
        self, argv: Sequence[str], limits: Limits, deadline: Deadline, how: Supervision = UNTRACED
    ) -> AbstractContextManager[Stream]:
        """See `Guest.open`."""
        return self._booted().open(argv, limits, deadline, how)

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

    def _with_own(self, ours: Path) -> Path:
        """Lay our initramfs over the user's: a kernel unpacks one after another."""
        assert self._initrd
        both = self._place.directory / "initrd.cpio"
        theirs = self._initrd.read_bytes()
        # an archive begins at a multiple of 4
        both.write_bytes(theirs + bytes(-len(theirs) % 4) + ours.read_bytes())
        return both

    @property
    def _memory(self) -> int:
        return self._place.memory or self._architecture.memory

    def cold(self) -> tuple[str, ...]:
        """Return the command line that boots it, emulated and without a snapshot; its line to us
        is descriptor 0 there.
        """
        return tuple(self._command(self._parts(), 0, "tcg"))

    def _command(
        self,
        parts: Parts,
        line: int,
        accelerator: str,
        extra: Sequence[str] = (),
        *,
        boots: bool = True,
    ) -> list[str]:
        this = self._architecture
        argv = command(this, parts, line, accelerator, self._memory, self._append, boots=boots)
        return [*argv, *self._drives(), *extra]


def command(
    this: Architecture,
    parts: Parts,
    line: int,
    accelerator: str,
    memory: int,
    append: Sequence[str] = (),
    *,
    boots: bool = True,
) -> list[str]:
    """Return QEMU's command line. `line` is the descriptor of the guest's line to us, `memory` in
    MiB, `append` goes to the end of what the kernel is told, if it `boots` one.
    """
    tcg = accelerator == "tcg"
    told = (
        f"console={this.console}",
        *this.boot_line,
        "foothold.port=/dev/vport0p1",
        "foothold.payload=1",
        *append,
    )
    kernel = ("-kernel", str(parts.kernel), "-initrd", str(parts.initrd), "-append", " ".join(told))
    return [
        str(parts.tool / this.system), "-M", this.board,
        "-cpu", this.processor if tcg else _KVM_PROCESSOR,
        "-accel", "tcg,thread=single" if tcg else "kvm",
        "-m", f"{memory}M",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-L", str(parts.tool / "usr/share/qemu"), "-L", str(parts.tool / "usr/share/seabios"),
        *(kernel if boots else ()),
        "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
        "-chardev", f"socket,id=line,fd={line}",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=line,name=foothold",
    ]  # fmt: skip
