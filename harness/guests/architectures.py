"""The machines that QEMU emulates: each with the kernel that boots on it, or for single programs
alone. Frozen values.

A new one is a value more (with the package of its kernel in `images.catalogue`), and a line of
tests/guests/test_architectures.py. What was measured of them is in docs/guests.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from foothold_lab.images.debian_arch import AMD64, ARM64, I386, RISCV64, Port
from foothold_lab.images.rootfs import EMULATORS


@dataclass(frozen=True)
class Architecture:
    """A machine and its kernel.

    `name` is what its guest is called after `qemu-`, `port` Debian's, whose programs it runs.
    `tool`, `kernel`, `initrd`: images. `system`, `board`, `processor`: QEMU's program in its image,
    -M, -cpu. `file` is what of the kernel's image is started, `console` and `boot_line` what that
    is told. `memory` in MiB. `scale` is how many times slower than native an emulated program is
    (measured, with a margin). `accelerators` are tried in turn. `runs` names other machines whose
    programs it runs as well.
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
    memory: int = 256
    file: str = "kernel"
    accelerators: tuple[str, ...] = ("tcg",)
    runs: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """The images that a boot needs."""
        return (self.tool, self.kernel, self.initrd)


_QUICK = ("quiet", "panic=-1", "cryptomgr.notests=1", "rodata=off")
# initcalls that take long under emulation and that nobody misses (measured)
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
    runs=(I386.machine,),
)
# Started by its PVH note a kernel stays at four levels: five are set up by what unpacks a bzImage.
X86_64_LA57 = replace(
    X86_64, name="x86_64-la57", processor="max,la57=on", file="bzImage", accelerators=("tcg",)
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
# The same programs under a kernel of 64 bits have nearly all of the 4 GiB.
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
)
ARM64_VA52 = replace(
    ARM64_VA48,
    name="arm64-va52",
    processor="max,pauth-impdef=on",  # the architecture's own pointer authentication is slow
    kernel="cloud-arm64-trixie",  # bookworm's has 48 bits
    initrd="initrd-arm64-trixie",
)
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
ARCHITECTURES = (
    X86_64, X86_64_LA57, I386_PAE, I386_4G, ARM64_VA48, ARM64_VA52,
    RISCV64_SV39, RISCV64_SV48, RISCV64_SV57,
)  # fmt: skip


@dataclass(frozen=True)
class Emulation:
    """A machine that qemu-user emulates for single programs, on the host's own kernel.

    `name` is what its guest is called after `qemu-user-`. With `reserved` bytes, all addresses that
    a program can have are taken beforehand: it has no others.
    """

    name: str
    port: Port
    scale: float
    reserved: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """The images that it needs."""
        return ("agent", self.port.image("agent"), self.port.image("root"), EMULATORS)


_39_BITS = 1 << 39
EMULATIONS = (
    Emulation("riscv64", RISCV64, 12.0),
    Emulation("riscv64-39bit", RISCV64, 12.0, _39_BITS),
    Emulation("arm64", ARM64, 12.0),
    Emulation("arm64-39bit", ARM64, 12.0, _39_BITS),
    Emulation("i386", I386, 12.0),
    Emulation("i386-3g", I386, 12.0, 3 << 30),
)
