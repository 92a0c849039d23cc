"""Memory from the kernel (Go: mem_linux.c): SysAlloc, SysFree, SysReserve, SysMap, memlimit."""

from .death import Exit, Throw
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
    """The OS layer of one runtime. Addresses and lengths in bytes; 0 stands for nil."""

    __slots__ = ("_mask", "console", "kernel", "policy", "stats")

    def __init__(self, kernel: "Kernel", policy: "Policy", stats: "MStats", console: "Console"):
        self.kernel = kernel
        self._mask = kernel.width.mask
        self.policy = policy
        self.stats = stats
        self.console = console

    def mmap(self, v: int, n: int, prot: int, flags: int) -> int:
        """`runtime·mmap`: the address, or an errno as a small positive number.

        The stub's test leaves out errno 4095, which comes back as the huge address that it is.
        """
        p = self.kernel.mmap(v, n, prot, flags)
        return -p if -4095 < p < 0 else p & self._mask

    def munmap(self, v: int, n: int) -> None:
        """`runtime·munmap`: it crashes on purpose if there is an error."""
        if self.kernel.munmap(v, n) != 0:
            # `notok` writes to address 0xf1, which becomes a nil dereference.
            self.console.printf("panic: invalid memory address or nil pointer dereference\n")
            raise Exit("munmap failed")

    def sys_alloc(self, n: int) -> int:
        """`runtime·SysAlloc`: n bytes anywhere, or 0. `stats.sys` grows even when it fails."""
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
        """`runtime·SysReserve`: v, another address (low hints only), or 0. Not counted as `sys`."""
        policy = self.policy
        if v >= policy.careful_from:
            if policy.reserve == ASSUME:
                return v
            if policy.reserve == PROBE_FIXED:
                p = self._mmap_careful(v, PROBE_LENGTH, PROT_NONE)
            else:
                p = self.mmap(v, PROBE_LENGTH, PROT_NONE, MAP_ANON)
            if p != v:
                return 0  # what the kernel gave instead stays mapped
            self.munmap(p, PROBE_LENGTH)
            return v
        p = self.mmap(v, n, PROT_NONE, MAP_ANON)
        return 0 if p < 4096 or -p & self._mask < 4096 else p

    def sys_map(self, v: int, n: int) -> None:
        """`runtime·SysMap`: make n bytes at v usable, exactly there, or throw."""
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
        """Map at v as a hint; if that goes astray and all is free there, with MAP_FIXED."""
        p = self.mmap(v, n, prot, MAP_ANON)
        if p != v and self.addrspace_free(v, n):
            if p > 4096:
                self.munmap(p, n)
            p = self.mmap(v, n, prot, MAP_ANON | MAP_FIXED)
        return p

    def addrspace_free(self, v: int, n: int) -> bool:
        """`addrspace_free`: whether every step of 16 MiB has at least one page that is not mapped.

        One hole makes a whole step count as free: this is the runtime's flaw, and kept.
        """
        for off in range(0, n, MINCORE_STEP):
            if self.kernel.mincore(v + off, min(MINCORE_STEP, n - off)) != -ENOMEM:
                return False
        return True

    def memlimit(self, image: int) -> int:
        """`runtime·memlimit` (2012-02-24): bytes for the arena under RLIMIT_AS; 0 for no limit.

        `image` is the size of the program's text, data and bss in bytes. What is used is taken off
        twice, and unsigned: with little left the result wraps round and is huge.
        """
        limit = self.kernel.getrlimit()
        if limit < 0 or limit >= 0x7FFFFFFF:
            return 0
        used = image + (64 << 20)
        if used >= limit or limit - used < 16 << 20:
            return 0
        return limit - used - used & self._mask
