"""The machines that QEMU emulates, with a kernel that boots on them, or for single programs.

A new machine is one more value, with the package of its kernel in `images.catalogue`, and one line
of tests/guests/test_architectures.py. docs/guests.md has what was measured of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from foothold_lab.harness.guests.base import Tracer
from foothold_lab.images.debian_arch import (
    AMD64,
    ARM64,
    ARMHF,
    EMULATORS,
    I386,
    LOONG64,
    MIPS64EL,
    PPC64EL,
    RISCV64,
    S390X,
    Port,
)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A machine and its kernel.

    name: of the guest, after `qemu-`.
    suite: of Debian, whose kernel it has. If not empty, the guest is named by the release of that
        kernel, `qemu-x86_64-7.2`, and `qemu-x86_64-testing` is an alias.
    port: of Debian, whose programs it runs; also_runs: other machines whose programs it runs.
    tool, kernel, initrd: images.
    system, board, processor: the program of QEMU in its image, -M, -cpu.
    file: of the image of the kernel, what QEMU loads.
    console, boot_line: words of the command line of the kernel. console is empty for a machine that
        has one console.
    bus: of virtio devices.
    options: further options of QEMU.
    has_snapshots: whether a guest can be restored from a snapshot.
    tracer: what records the system calls of a subject without faults.
    scale: how many times slower than native an emulated program is (measured, with a margin).
    memory: in MiB.
    accelerators: tried in turn.
    """

    name: str
    port: Port
    system: str
    board: str
    processor: str
    tool: str
    kernel: str
    initrd: str
    console: str
    boot_line: tuple[str, ...]
    scale: float
    suite: str = ""
    memory: int = 256
    file: str = "kernel"
    accelerators: tuple[str, ...] = ("tcg",)
    bus: str = "pci"
    options: tuple[str, ...] = ()
    has_snapshots: bool = True
    tracer: Tracer = "strace"
    also_runs: tuple[str, ...] = ()

    @property
    def alias(self) -> str:
        """The name that does not depend on the release of a kernel, after `qemu-`."""
        return f"{self.name}-{self.suite}" if self.suite else self.name

    @property
    def images(self) -> tuple[str, ...]:
        """The images that a boot needs."""
        return (self.tool, self.kernel, self.initrd)


_QUICK = ("quiet", "panic=-1", "cryptomgr.notests=1", "rodata=off")
# initcalls that take long under emulation and are not needed (measured)
_SKIPPED = (
    "initcall_blacklist=crypto_kdf108_init,load_system_certificate_list,jent_mod_init,"
    "bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,init_kprobe_trace,"
    "init_trace_printk_function_export,trace_eval_init,trace_eval_sync,cubictcp_register,"
    "isapnp_init,wakeup_sources_init"
)

X86_64 = Architecture(
    name="x86_64",
    port=AMD64,
    system="usr/bin/qemu-system-x86_64",
    board="q35",  # microvm is quicker, but with ACPI it hung in 5 of 58 boots (measured)
    processor="qemu64,+rdrand",  # without rdrand a small root has no random numbers: Python dies
    tool="qemu-x86_64",
    kernel="cloud-x86_64",
    initrd="initrd-x86_64",
    console="ttyS0",
    boot_line=(
        *_QUICK,
        "mitigations=off",
        "lpj=4000000",
        "tsc=reliable",
        "no_timer_check",
        "initcall_blacklist=jent_mod_init,crypto_kdf108_init,load_system_certificate_list,"
        "bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,trace_eval_init",
    ),
    scale=15.0,
    accelerators=("kvm", "tcg"),
    also_runs=(I386.machine,),
)
# A kernel that starts by its PVH note stays at four levels; the unpacker of a bzImage sets up five.
X86_64_LA57 = replace(
    X86_64, name="x86_64-la57", processor="max,la57=on", file="bzImage", accelerators=("tcg",)
)
# The oldest kernel in Debian's archive, and the newest.
X86_64_OLD = replace(
    X86_64,
    suite="bullseye",
    kernel="cloud-x86_64-bullseye",
    initrd="initrd-x86_64-bullseye",
)
X86_64_NEW = replace(
    X86_64,
    suite="testing",
    kernel="cloud-x86_64-forky",
    initrd="initrd-x86_64-forky",
    memory=1024,  # with less than 512 MiB the kernel turns transparent huge pages off
)
I386_PAE = Architecture(
    name="i386",
    port=I386,
    system="usr/libexec/qemu-system-i386",
    board="q35",
    processor="max",
    tool="qemu-x86_64",
    kernel="linux-i386",
    initrd="initrd-i386",
    console="ttyS0",
    boot_line=(*_QUICK, _SKIPPED),
    scale=20.0,
    accelerators=("kvm", "tcg"),
)
# Under a kernel of 64 bits the same programs have nearly all of the 4 GiB.
I386_4G = replace(
    I386_PAE,
    name="i386-4g",
    system=X86_64.system,
    kernel=X86_64.kernel,
    initrd="initrd-i386-cloud",
    boot_line=X86_64.boot_line,
)
ARM64_VA48 = Architecture(
    name="arm64",
    port=ARM64,
    system="usr/bin/qemu-system-aarch64",
    board="virt,gic-version=3",
    processor="cortex-a57",
    tool="qemu-arm",
    kernel="cloud-arm64",
    initrd="initrd-arm64",
    console="ttyAMA0",
    boot_line=(*_QUICK, _SKIPPED),
    scale=20.0,
    also_runs=("arm",),
)
ARM64_VA52 = replace(
    ARM64_VA48,
    name="arm64-va52",
    processor="max,pauth-impdef=on",  # the architecture's own pointer authentication is slow
    kernel="cloud-arm64-trixie",  # bookworm's has 48 bits
    initrd="initrd-arm64-trixie",
)
ARM64_16K = replace(
    ARM64_VA48,
    name="arm64-16k",
    processor="cortex-a76",  # cortex-a57 has no pages of 16 KiB: its kernel prints nothing
    kernel="linux-arm64-16k",
    initrd="initrd-arm64-16k",
)
ARM64_16K_VA52 = replace(ARM64_16K, name="arm64-16k-va52", processor=ARM64_VA52.processor)
RISCV64_SV57 = Architecture(
    name="riscv64-sv57",
    port=RISCV64,
    system="usr/bin/qemu-system-riscv64",
    board="virt",
    processor="rv64",
    tool="qemu-riscv",
    kernel="linux-riscv64",
    initrd="initrd-riscv64",
    console="ttyS0",
    boot_line=(*_QUICK, _SKIPPED),
    scale=30.0,
)
RISCV64_SV48 = replace(
    RISCV64_SV57, name="riscv64-sv48", boot_line=(*RISCV64_SV57.boot_line, "no5lvl")
)
RISCV64_SV39 = replace(
    RISCV64_SV57, name="riscv64-sv39", boot_line=(*RISCV64_SV57.boot_line, "no4lvl")
)
PPC64LE_64K = Architecture(
    name="ppc64le-64k",
    port=PPC64EL,
    system="usr/bin/qemu-system-ppc64",
    # without mitigations that TCG lacks; the firmware VOF: SLOF takes 12 seconds
    board="pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off,x-vof=on",
    processor="power9",
    tool="qemu-ppc",
    kernel="linux-ppc64le-64k",
    initrd="initrd-ppc64le-64k",
    console="hvc0",
    boot_line=(*_QUICK, _SKIPPED),
    options=("-bios", "vof.bin"),
    scale=30.0,
    memory=512,
)
PPC64LE = replace(
    PPC64LE_64K, name="ppc64le", kernel="linux-ppc64le", initrd="initrd-ppc64le", memory=256
)
S390X_64 = Architecture(
    name="s390x",
    port=S390X,
    system="usr/bin/qemu-system-s390x",
    board="s390-ccw-virtio",
    processor="max",
    tool="qemu-s390x",
    kernel="linux-s390x",
    initrd="initrd-s390x",
    console="",
    boot_line=(*_QUICK, _SKIPPED),
    bus="ccw",
    scale=30.0,
)
LOONG64_16K = Architecture(
    name="loong64",
    port=LOONG64,
    system="usr/bin/qemu-system-loongarch64",
    board="virt",
    processor="la464",
    tool="qemu-loongarch",
    kernel="linux-loong64",
    initrd="initrd-loong64",
    console="ttyS0,115200",
    boot_line=(*_QUICK, f"{_SKIPPED},i8042_init"),  # with i8042_init it oopses
    scale=30.0,
    options=("-bios", "../qemu-efi-loongarch64/QEMU_EFI.fd"),  # without ACPI there is no PCI
    memory=512,  # with 256 the kernel has no memory left
    tracer="agent",  # the kernel hangs under `strace -DD` (measured)
)
MIPS64 = Architecture(
    name="mips64el",
    port=MIPS64EL,
    system="usr/bin/qemu-system-mips64el",
    board="loongson3-virt",
    processor="Loongson-3A4000",
    tool="qemu-mips",
    kernel="linux-mips64el",
    initrd="initrd-mips64el",
    console="ttyS0,115200",
    boot_line=_QUICK,  # QEMU cuts the command line after 256 bytes
    has_snapshots=False,  # a restored guest does not answer (measured)
    scale=30.0,
    memory=1024,
)
ARMV7 = Architecture(
    name="armhf",
    port=ARMHF,
    system="usr/bin/qemu-system-arm",
    board="virt,highmem=off",
    processor="cortex-a15",
    tool="qemu-arm",
    kernel="linux-armhf",  # with LPAE: others take 15 s to free a large PROT_NONE mapping
    initrd="initrd-armhf",
    console="ttyAMA0",
    boot_line=(*_QUICK, _SKIPPED),
    scale=30.0,
)
ARCHITECTURES = (
    X86_64, X86_64_LA57, X86_64_OLD, X86_64_NEW, I386_PAE, I386_4G,
    ARM64_VA48, ARM64_VA52, ARM64_16K, ARM64_16K_VA52,
    RISCV64_SV39, RISCV64_SV48, RISCV64_SV57,
    PPC64LE_64K, PPC64LE, S390X_64, LOONG64_16K, MIPS64, ARMV7,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Emulation:
    """A machine that qemu-user emulates for single programs, on the kernel of the host.

    name: of the guest, after `qemu-user-`.
    tool: image with the emulator.
    reserved: bytes of address space that are reserved for the program, which gets no others; 0:
        none are reserved.
    page: size of a page in bytes; 0: that of the host. QEMU 10 ignores it.
    """

    name: str
    port: Port
    tool: str = EMULATORS
    scale: float = 12.0
    reserved: int = 0
    page: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """The images that it needs."""
        return ("agent", self.port.image("agent"), self.port.image("root"), self.tool)


_39_BITS = 1 << 39
_QEMU_10 = "qemu-user-trixie"
EMULATIONS = (
    Emulation(name="riscv64", port=RISCV64),
    Emulation(name="riscv64-39bit", port=RISCV64, reserved=_39_BITS),
    Emulation(name="arm64", port=ARM64),
    Emulation(name="arm64-39bit", port=ARM64, reserved=_39_BITS),
    Emulation(name="arm64-16k", port=ARM64, page=16 << 10),
    Emulation(name="arm64-64k", port=ARM64, page=64 << 10),
    Emulation(name="i386", port=I386),
    Emulation(name="i386-3g", port=I386, reserved=3 << 30),
    Emulation(name="armhf", port=ARMHF),
    Emulation(name="ppc64le", port=PPC64EL),
    Emulation(name="mips64el", port=MIPS64EL),
    Emulation(name="riscv64-10.0", port=RISCV64, tool=_QEMU_10),
    Emulation(name="riscv64-10.0-39bit", port=RISCV64, tool=_QEMU_10, reserved=_39_BITS),
    Emulation(name="arm64-10.0", port=ARM64, tool=_QEMU_10),
    Emulation(name="arm64-10.0-39bit", port=ARM64, tool=_QEMU_10, reserved=_39_BITS),
    Emulation(name="i386-10.0", port=I386, tool=_QEMU_10),
    Emulation(name="s390x-10.0", port=S390X, tool=_QEMU_10),
)
