"""QEMU: an emulated or virtual machine with a kernel of Debian."""

from __future__ import annotations

import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness.guests import host_dir, snapshot
from foothold_lab.harness.guests.architectures import Architecture
from foothold_lab.harness.guests.base import (
    LEAVE_ROOT,
    NO_HOST_ROOT,
    BootRecord,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
    image_support,
)
from foothold_lab.harness.guests.kvm_probe import Kvm
from foothold_lab.harness.guests.snapshot import Monitor, Snapshot
from foothold_lab.harness.guests.virtual_machine import Start
from foothold_lab.harness.guests.vm_process import IMAGE_LIST, Launch, VmProcess
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.facts import Facts
from foothold_lab.harness.transport.keys import Keys
from foothold_lab.images import disks, initramfs
from foothold_lab.images.errors import ImageError

# a nested KVM may offer arch-capabilities and then refuse the MSR behind it (measured)
_KVM_PROCESSOR = "max,-arch-capabilities"
# where KVM works, a guest boots in about one second; where it does not, it may hang
_KVM_SECONDS = 8.0
_RESTORE_SECONDS = 10.0  # a restored guest answers within half a second (measured)


def capabilities(architecture: Architecture) -> Capabilities:
    """Return what a guest of this machine can do."""
    return Capabilities(own_kernel=True, tracer=architecture.tracer)


@dataclass(frozen=True, kw_only=True)
class QemuKernel:
    """A kernel of the user instead of Debian's, an initramfs below ours, and words for any kernel."""

    kernel: Path | None = None
    initrd: Path | None = None
    append: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QemuParts:
    """What a guest is made of: the image of QEMU, kernel, initramfs, words that are appended to
    the command line of the kernel, and memory in MiB.
    """

    tool: Path
    kernel: Path
    initrd: Path
    memory: int
    append: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Boot:
    """One boot: parts and keys, and what starts QEMU."""

    parts: QemuParts
    keys: Keys
    start: Start


@dataclass(frozen=True, kw_only=True)
class _Process:
    """How QEMU is started: `options` and open `descriptors` beside the usual. A restored guest does
    not load a kernel.
    """

    accelerator: str
    options: Sequence[str] = ()
    descriptors: tuple[int, ...] = ()
    loads_kernel: bool = True


class Qemu:
    """The hypervisor of QEMU guests.

    /dev/kvm may be there and not work: KVM is tried by booting with it, once for each boot of the
    host. `accelerators` are tried in turn, instead of those of the architecture.
    """

    paths = GuestPaths()

    def __init__(
        self,
        architecture: Architecture,
        config: GuestConfig,
        kernel: QemuKernel = QemuKernel(),
        *,
        accelerators: Sequence[str] = (),
    ) -> None:
        self.scale = architecture.scale
        self.capabilities = capabilities(architecture)
        self.boot_record = BootRecord()
        self._architecture = architecture
        self._config = config
        self._kernel = kernel
        self._accelerators = tuple(accelerators) or architecture.accelerators

    def supported(self) -> Support:
        """QEMU needs its images, or what it takes to build them. It needs no KVM."""
        builder = self._config.builder
        if self._config.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        support = image_support(builder, self._architecture.images)
        if not support.ok or "kvm" not in self._accelerators:
            return support
        reason = Kvm(builder.cache.root).reason()
        return Support(True, notes=(f"KVM: {reason or 'will be tried'}",))

    def boot(self, start: Start, deadline: Deadline) -> Facts:
        """Boot with the first accelerator that works; see `Hypervisor.boot`."""
        if self._config.host_directory:
            host_dir.check(self._config.host_directory)
        boot = _Boot(parts=self._parts(), keys=Keys(), start=start)
        boot.keys.install(self._config.share)
        self._write_image_list()
        kvm = Kvm(self._config.builder.cache.root)
        kvm_failure = ""
        for accelerator in self._accelerators:
            if accelerator == "tcg":
                facts = self._emulated(boot, deadline)
                if kvm_failure:
                    # the same guest boots without KVM, so it is KVM that does not work
                    kvm.does_not_work(kvm_failure)
                return facts
            last = accelerator == self._accelerators[-1]
            if not last and (reason := kvm.reason()):
                self.boot_record.notes.append(f"no KVM: {reason}")
                continue
            process = self._start(boot, _Process(accelerator=accelerator))
            try:
                limit = deadline if last else deadline.within(_KVM_SECONDS)
                facts = _connect(process, limit)
            except GuestError as error:
                if last:
                    raise
                process.stop()
                kvm_failure = f"a guest that was booted with it failed: {error}"
                self.boot_record.notes.append(f"no KVM: {kvm_failure}")
                continue
            self.scale = 2.0
            return facts
        raise GuestError("no accelerator was given to try", "give kvm, tcg or both")

    def with_memory(self, memory: int) -> Qemu:
        """Return the same guest with this memory, in MiB."""
        config = replace(self._config, memory=memory)
        return Qemu(self._architecture, config, self._kernel, accelerators=self._accelerators)

    def cold_command(self) -> tuple[str, ...]:
        """Return the command line of a boot by emulation and without a snapshot. The connection is
        descriptor 0 there.
        """
        return tuple(self._command(self._parts(), 0, _Process(accelerator="tcg")))

    def _parts(self) -> QemuParts:
        builder, architecture = self._config.builder, self._architecture
        kernel = builder.image(architecture.kernel)
        initrd = builder.image(architecture.initrd)
        tool = builder.image(architecture.tool)
        custom = self._kernel.kernel
        file = self._unpacked(custom) if custom else kernel / architecture.file
        self.boot_record.provenance.update(
            {
                "kernel": file.parent.name,
                "release": (kernel / "release").read_text().strip(),
                "qemu": tool.name,
                "initrd": initrd.name,
            }
        )
        archive = initrd / "initrd.cpio"
        if self._kernel.initrd:
            archive = self._joined(self._kernel.initrd, archive)
        return QemuParts(
            tool=tool,
            kernel=file,
            initrd=archive,
            memory=self._config.memory or architecture.memory,
            append=self._kernel.append,
        )

    def _write_image_list(self) -> None:
        """List kernel modules and images that the guest loads and mounts: agent/bind_images.c."""
        config = self._config
        if not config.images:
            return
        lines = []
        modules = disks.modules_image(self._architecture.kernel)
        for module in disks.modules(config.builder.image(modules)):
            shutil.copy2(module, config.share)
            lines.append(f"module none {self.paths.share}/{module.name}\n")
        for n, path in enumerate(config.image_paths()):
            lines.append(f"{disks.TYPE} /dev/{disks.device(n)} {path}\n")
        (config.share / IMAGE_LIST).write_text("".join(lines))

    def _drives(self) -> Iterator[str]:
        """Yield options for the disks of the images, which the guest has in this order."""
        bus = self._architecture.bus
        for n, name in enumerate(self._config.images):
            disk = self._config.builder.image(disks.DISK + name) / disks.FILE
            file = str(disk).replace(",", ",,")  # the escape of QEMU
            yield from ("-drive", f"file={file},format=raw,if=none,id=disk{n},readonly=on")
            address = disks.address(n) if bus == "pci" else ""
            yield from ("-device", f"virtio-blk-{bus},drive=disk{n}{address}")

    def _emulated(self, boot: _Boot, deadline: Deadline) -> Facts:
        """Restore the snapshot; boot without it if it cannot be made, or does not answer.

        A guest with disks is another machine for each set of disks, and has no snapshot.
        """
        config = self._config
        custom = self._kernel.kernel or self._kernel.append or config.images
        if custom or not (config.snapshots and self._architecture.has_snapshots):
            return self._cold(boot, deadline)
        cache = config.builder.cache
        try:
            entry = config.builder.obtain(
                f"snapshot-{self._name}",
                snapshot.key(self._command(boot.parts, 0, _Process(accelerator="tcg"))),
                lambda directory: self._save(boot, Snapshot(directory), deadline),
                space=boot.parts.memory << 20,
            )
        except (GuestError, ImageError) as error:
            self.boot_record.notes.append(
                f"booted without a snapshot, which cannot be made: {error}"
            )
            return self._cold(boot, deadline)
        try:
            saved = Snapshot(entry.path)
            return self._restored(boot, saved, deadline.within(_RESTORE_SECONDS))
        except (GuestError, OSError) as error:
            removed = ", which was removed" if cache.discard(entry) else ""
            self.boot_record.provenance.pop("snapshot", None)
            self.boot_record.notes.append(f"booted without a snapshot{removed}: {error}")
        return self._cold(boot, deadline)

    @property
    def _name(self) -> str:
        return f"qemu-{self._architecture.alias}"

    def _cold(self, boot: _Boot, deadline: Deadline) -> Facts:
        return _connect(self._start(boot, _Process(accelerator="tcg")), deadline)

    def _save(self, boot: _Boot, into: Snapshot, deadline: Deadline) -> Mapping[str, object]:
        """Boot a guest until it waits for its boot payload, and save it."""
        self._config.builder.progress(f"saving a snapshot of {self._name} (once)")
        ours, theirs = socket.socketpair()
        with ours, theirs, into.state.open("wb") as state:
            options = into.to_save(boot.parts.memory, theirs.fileno())
            process = self._start(
                boot,
                _Process(accelerator="tcg", options=options, descriptors=(theirs.fileno(),)),
            )
            try:
                process.ready(deadline)
                Monitor(ours, deadline).save(state.fileno())
            finally:
                process.stop()
        return dict(self.boot_record.provenance)

    def _restored(self, boot: _Boot, saved: Snapshot, deadline: Deadline) -> Facts:
        ours, theirs = socket.socketpair()
        with (
            ours, theirs, saved.state.open("rb") as state,
            saved.readable_memory() as (memory, descriptors),
        ):  # fmt: skip
            process = self._start(
                boot,
                _Process(
                    accelerator="tcg",
                    options=saved.to_restore(boot.parts.memory, theirs.fileno(), memory),
                    descriptors=(theirs.fileno(), *descriptors),
                    # the kernel is in the memory: to load it takes half of the time (arm64)
                    loads_kernel=False,
                ),
            )
            theirs.close()  # the monitor ends with QEMU
            try:
                Monitor(ours, deadline).restore(state.fileno())
                self.boot_record.provenance["snapshot"] = saved.directory.name
                return process.connect(deadline)
            except (GuestError, OSError):
                process.stop()
                raise

    def _start(self, boot: _Boot, how: _Process) -> VmProcess:
        """Start QEMU; it replaces the one that was started before."""
        tool = boot.parts.tool
        process = boot.start(
            Launch(
                agent=self._config.builder.image("agent") / "agent",
                argv=lambda line: self._command(boot.parts, line, how),
                directory=self._config.directory,
                cpu=self._config.cpu,
                keys=boot.keys,
                environment={"QEMU_MODULE_DIR": str(tool / "usr/lib/x86_64-linux-gnu/qemu")},
                descriptors=how.descriptors,
                payload=self._payload,
                has_strace=self.capabilities.tracer == "strace",
            )
        )
        self.boot_record.provenance["accelerator"] = how.accelerator
        return process

    def _payload(self) -> bytes:
        """Return what the guest is sent when it is ready for it: images/agent/boot_payload.c."""
        files = initramfs.archive(self._config.share, prefix="share/")
        if self._config.host_directory:
            files += host_dir.pack(self._config.host_directory)
        seed = secrets.token_hex(32)
        return f"payload {seed} {time.time():17.6f} {len(files):12}\n".encode() + files

    def _unpacked(self, kernel: Path) -> Path:
        """Return a kernel in the form that QEMU starts quickest."""
        data = kernel.read_bytes()
        if data[:4] == b"\x7fELF":
            return kernel
        unpacked = self._config.directory / "vmlinux"
        unpacked.write_bytes(initramfs.vmlinux(data))
        return unpacked

    def _joined(self, theirs: Path, ours: Path) -> Path:
        """Append our initramfs to that of the user: a kernel unpacks one after another."""
        both = self._config.directory / "initrd.cpio"
        data = theirs.read_bytes()
        # an archive begins at a multiple of 4
        both.write_bytes(data + bytes(-len(data) % 4) + ours.read_bytes())
        return both

    def _command(self, parts: QemuParts, line: int, how: _Process) -> list[str]:
        argv = command(
            self._architecture, parts, line, how.accelerator, loads_kernel=how.loads_kernel
        )
        return [*argv, *self._drives(), *how.options]


def _connect(process: VmProcess, deadline: Deadline) -> Facts:
    process.ready(deadline)
    return process.connect(deadline)


def command(
    architecture: Architecture,
    parts: QemuParts,
    line: int,
    accelerator: str,
    *,
    loads_kernel: bool = True,
) -> list[str]:
    """Return the command line of QEMU. `line` is the descriptor of the connection to the agent."""
    tcg = accelerator == "tcg"
    words = (
        *([f"console={architecture.console}"] if architecture.console else ()),
        *architecture.boot_line,
        "foothold.port=/dev/vport0p1",
        "foothold.payload=1",
        *parts.append,
    )
    kernel = (
        "-kernel", str(parts.kernel), "-initrd", str(parts.initrd), "-append", " ".join(words),
    )  # fmt: skip
    return [
        str(parts.tool / architecture.system), "-M", architecture.board,
        "-cpu", architecture.processor if tcg else _KVM_PROCESSOR,
        "-accel", "tcg,thread=single" if tcg else "kvm",
        "-m", f"{parts.memory}M",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-L", str(parts.tool / "usr/share/qemu"), "-L", str(parts.tool / "usr/share/seabios"),
        *architecture.options, *(kernel if loads_kernel else ()),
        "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
        "-chardev", f"socket,id=line,fd={line}",
        "-device", f"virtio-serial-{architecture.bus}", "-device", "virtserialport,chardev=line,name=foothold",
    ]  # fmt: skip
