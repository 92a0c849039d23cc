"""The memory of the profiler itself (Go: mprof.goc). Its allocations show in every program's trace.

Only the deterministic part of its sampling is here: blocks of at least `RATE` bytes. Go samples
smaller blocks at random.
"""

from .death import Throw
from .sizes import BUCK_HASH_SIZE, PAGE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sysmem import SysMem

RATE = 512 << 10
FLAG_NO_PROFILING = 2
BUCKET = 9 + 3  # words: its record, and the return addresses of a call from main: a guess
ADDR_HASH = 2 + 8192  # words: one for each MiB of addresses that ever had a sampled block
ADDR_ENTRIES = 64
ADDR_ENTRY = 3  # words


class MProf:
    """The tables of one runtime's profiler, empty at first."""

    __slots__ = ("_entries", "_mem", "_mibs", "_started", "_word")

    def __init__(self, mem: "SysMem") -> None:
        self._mem = mem
        self._word = mem.kernel.width.pointer
        self._started = False
        self._mibs: set[int] = set()
        self._entries = 0

    def malloc(self, v: int) -> "Iterator[tuple[int, bool]]":
        """`runtime·MProf_Malloc` for the sampled block at v.

        It maps the hash table once, and yields (bytes, zeroed) of each block that the caller has to
        allocate for it without profiling, in the order of Go: a bucket once, a table for each new
        MiB of addresses, and entries.
        """
        word = self._word
        if not self._started:
            self._started = True
            mem = self._mem
            mem.stats.buckhash_sys += BUCK_HASH_SIZE * word
            if mem.sys_alloc(BUCK_HASH_SIZE * word) == 0:
                # Go does not check. The address of the bucket is a hash of return addresses.
                mem.console.printf(f"unexpected fault address {PAGE_SIZE:#x}\n")
                raise Throw("fault")
            yield BUCKET * word, True
        if v >> 20 not in self._mibs:
            yield ADDR_HASH * word, True
            self._mibs.add(v >> 20)
        if self._entries == 0:
            yield ADDR_ENTRIES * ADDR_ENTRY * word, False
            self._entries = ADDR_ENTRIES
        self._entries -= 1

    def free(self) -> None:
        """`runtime·MProf_Free`: the entry of a sampled block becomes free."""
        self._entries += 1
