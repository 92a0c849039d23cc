"""What the memory profiler allocates for itself (Go: mprof.goc). It shows in every program's trace.

Of its sampling only the certain part is here: blocks of at least `RATE` bytes. Smaller ones are
sampled at random.
"""

from .death import Throw
from .sizes import BUCK_HASH_SIZE, PAGE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .malloc import Runtime

RATE = 512 << 10
FLAG_NO_PROFILING = 2
BUCKET = 9 + 3  # words: its record, and the return addresses of a call from main: a guess
ADDR_HASH = 2 + 8192  # words: one for each MiB of addresses with a sampled block, for ever
ADDR_ENTRIES = 64
ADDR_ENTRY = 3  # words


class MProf:
    """The tables of one runtime's profiler, empty at first."""

    __slots__ = ("_entries", "_mibs", "_runtime", "_started", "_word")

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._word = runtime.width.pointer
        self._started = False
        self._mibs: set[int] = set()
        self._entries = 0

    def malloc(self, v: int) -> None:
        """`runtime·MProf_Malloc`: the table and a bucket once, and an entry for the block at v."""
        runtime, word = self._runtime, self._word
        if not self._started:
            self._started = True
            runtime.mstats.buckhash_sys += BUCK_HASH_SIZE * word
            if runtime.mem.sys_alloc(BUCK_HASH_SIZE * word) == 0:
                # Nobody looks; the bucket's address is a hash of return addresses.
                runtime.console.printf(f"unexpected fault address {PAGE_SIZE:#x}\n")
                raise Throw("fault")
            runtime.mallocgc(BUCKET * word, FLAG_NO_PROFILING)
        if v >> 20 not in self._mibs:
            runtime.mallocgc(ADDR_HASH * word, FLAG_NO_PROFILING)
            self._mibs.add(v >> 20)
        if self._entries == 0:
            runtime.mallocgc(ADDR_ENTRIES * ADDR_ENTRY * word, FLAG_NO_PROFILING, zeroed=False)
            self._entries = ADDR_ENTRIES
        self._entries -= 1

    def free(self) -> None:
        """`runtime·MProf_Free`: the entry of a sampled block can be used again."""
        self._entries += 1
