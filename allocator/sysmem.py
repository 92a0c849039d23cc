"""Memory from the kernel (Go: mem_linux.c): SysAlloc, SysFree, SysReserve, SysMap, memlimit."""

from .death import SIGSEGV, Exit, Killed, Throw
from .kernel import (
    EACCES,
    ENOMEM,
    MAP_ANON,
    MAP_FIXED,
    PROT_NONE,
)
from .policy import ASSUME, PROBE_FIXED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .death import Console
    from .kernel import Kernel
    from .policy import Policy
    from .stats import MStats

PROBE_LENGTH = 64 << 10
MINCORE_STEP = 4096 * 4096  # the runtime's vector has 4096 bytes, one for each page


class SysMem:
    """The operating system layer of one runtime. Addresses and lengths in bytes; 0 is nil."""

    __slots__ = ("_mask", "console", "has_goroutines", "kernel", "policy", "stats")

    def __init__(self, kernel: "Kernel", policy: "Policy", stats: "MStats", console: "Console"):
        self.kernel = kernel
        self._mask = kernel.width.mask
        self.policy = policy
        self.stats = stats
        self.console = console
        self.has_goroutines = False  # set at the end of mallocinit

    def mmap(self, v: int, n: int, prot: int, flags: int) -> int:
        """`runtime·mmap`: the address, or an errno as a small positive number.

        The assembly stub does not recognise errno 4095, which it returns as a very large address.
        """
        p = self.kernel.mmap(v, n, prot, flags)
        return -p if -4095 < p < 0 else p & self._mask

    def munmap(self, v: int, n: int) -> None:
        """`runtime·munmap`: it crashes on purpose if the call fails."""
        if self.kernel.munmap(v, n) != 0:
            # `notok` writes to address 0xf1. The signal handler of a goroutine panics, which
            # allocates memory within malloc. Without a goroutine the signal kills the process.
            if self.has_goroutines:
                raise Throw("malloc/free - deadlock")
            raise Killed(SIGSEGV)

    def sys_alloc(self, n: int) -> int:
        """`runtime·SysAlloc`: map n bytes anywhere, 0 on failure. `stats.sys` grows in any case."""
        self.stats.sys += n
        p = self.mmap(0, n, self.policy.prot, MAP_ANON)
        if p >= 4096:
            return p
        if p == EACCES:
            self.console.printf("runtime: mmap: access denied\n")
            self.console.printf("if you're running SELinux, enable execmem for this process.\n")
            raise Exit("runtime: mmap: access denied")
        return 0

    def sys_free(self, v: int, n: int) -> None:
        """`runtime·SysFree`."""
        self.stats.sys -= n
        self.munmap(v, n)

    def sys_reserve(self, v: int, n: int) -> int:
        """`runtime·SysReserve`: v, another address (low hints only), or 0. `sys` does not grow."""
        policy = self.policy
        if v >= policy.careful_from:
            if policy.reserve == ASSUME:
                return v
            if policy.reserve == PROBE_FIXED:
                p = self._mmap_careful(v, PROBE_LENGTH, PROT_NONE)
            else:
                p = self.mmap(v, PROBE_LENGTH, PROT_NONE, MAP_ANON)
            if p != v:
                return 0  # the misplaced probe stays mapped, as in Go
            self.munmap(p, PROBE_LENGTH)
            return v
        p = self.mmap(v, n, PROT_NONE, MAP_ANON)
        return 0 if p < 4096 or -p & self._mask < 4096 else p

    def sys_map(self, v: int, n: int) -> None:
        """`runtime·SysMap`: map n bytes at exactly v, or throw."""
        self.stats.sys += n
        if v >= self.policy.careful_from:
            p = self._mmap_careful(v, n, self.policy.prot)
            if p == ENOMEM:
                raise Throw("runtime: out of memory")
            if p != v:
                self.console.printf(f"runtime: address space conflict: map({v:#x}) = {p:#x}\n")
                raise Throw("runtime: address space conflict")
            return
        p = self.mmap(v, n, self.policy.prot, MAP_ANON | MAP_FIXED)
        if p == ENOMEM:
            raise Throw("runtime: out of memory")
        if p != v:
            raise Throw("runtime: cannot map pages in arena address space")

    def _mmap_careful(self, v: int, n: int, prot: int) -> int:
        """Map with v as a hint. If the kernel maps elsewhere although v is free, use MAP_FIXED."""
        p = self.mmap(v, n, prot, MAP_ANON)
        if p != v and self.addrspace_free(v, n):
            if p > 4096:
                self.munmap(p, n)
            p = self.mmap(v, n, prot, MAP_ANON | MAP_FIXED)
        return p

    def addrspace_free(self, v: int, n: int) -> bool:
        """`addrspace_free`: whether each step of 16 MiB has at least one unmapped page.

        This is a defect of the runtime, kept here: one hole makes the whole step count as free.
        """
        for off in range(0, n, MINCORE_STEP):
            step = v + off & self._mask
            if self.kernel.mincore(step, min(MINCORE_STEP, n - off)) != -ENOMEM:
                return False
        return True

    def memlimit(self, image: int) -> int:
        """`runtime·memlimit` (2012-02-24): bytes for the arena under RLIMIT_AS, 0 if unlimited.

        `image` is the size of the program's text, data and bss in bytes. The used bytes are
        subtracted twice, in unsigned arithmetic: if little is left, the result wraps to a very
        large number.
        """
        limit = self.kernel.getrlimit()
        if limit < 0 or limit >= 0x7FFFFFFF:
            return 0
        used = image + (64 << 20)
        if used >= limit or limit - used < 16 << 20:
            return 0
        return limit - used - used & self._mask
