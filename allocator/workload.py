"""What the subject does with its allocator, and the checks that it got what it asked for.

Names: `none` (mallocinit alone), `default`; and as programs of 2012, with all that the runtime does
before main, `hello` (a block of a MiB, as the reference program), `grow:SIZE` (blocks of a MiB
until SIZE is held), `grow-N` (the same, N MiB), `block:SIZE` (one block).
"""

from .death import Throw
from .mprof import MProf
from .sizes import GC_WORK_CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .malloc import Runtime

MIB = 1 << 20
SMALL_PER_CLASS = 3  # neighbours on both sides of one, which is what an overlap would show in
LARGE = (32769, 100_000, 256 << 10, 1 * MIB, 3 * MIB)  # a page more, odd, below and past a growth


class Broken(Exception):
    """Memory that the allocator gave did not keep what was written there, or was given twice."""


class Outcome:
    """How many blocks a workload held, small (up to 32 KiB) and large, and their bytes."""

    __slots__ = ("large", "name", "nbytes", "small")

    def __init__(self, name: str) -> None:
        self.name = name
        self.small = self.large = self.nbytes = 0


class Held:
    """Blocks that are held, each filled with a pattern of its own, by address."""

    __slots__ = ("_blocks", "_outcome", "_runtime", "_shift", "_words")

    def __init__(self, runtime: "Runtime", outcome: Outcome) -> None:
        self._runtime = runtime
        self._words = runtime.kernel.words
        self._shift = runtime.width.shift
        self._outcome = outcome
        self._blocks: dict[int, int] = {}

    def take(self, size: int) -> int:
        """Allocate, and write the pattern."""
        v = self._runtime.malloc(size)
        words, shift = self._words, self._shift
        for i in self._places(v, size):
            if words[i] != 0:
                where = f"{size} bytes at {v:#x} is not zero at {i << shift:#x}"
                raise Broken(f"the new block of {where}")
            words[i] = i ^ size
        self._blocks[v] = size
        outcome = self._outcome
        if size <= 32768:
            outcome.small += 1
        else:
            outcome.large += 1
        outcome.nbytes += size
        return v

    def check(self) -> None:
        """Whether all patterns stand, and whether no two blocks overlap."""
        words, shift = self._words, self._shift
        end = 0
        for v, size in sorted(self._blocks.items()):
            if v < end:
                raise Broken(f"the block of {size} bytes at {v:#x} overlaps the one before it")
            end = v + size
            for i in self._places(v, size):
                if words[i] != i ^ size:
                    raise Broken(f"the block of {size} bytes at {v:#x} changed at {i << shift:#x}")

    def drop(self, every: int = 1) -> None:
        """Free each `every`-th block."""
        for v in list(self._blocks)[::every]:
            self._runtime.free(v)
            del self._blocks[v]

    def _places(self, v: int, size: int) -> "range | tuple[int, ...]":
        """Words to write: all of a block up to 64 bytes, both ends of a longer one."""
        first, last = v >> self._shift, (v + size >> self._shift) - 1
        return range(first, last + 1) if size <= 64 else (first, first + 1, last - 1, last)


def run(runtime: "Runtime", name: str) -> Outcome:
    """Run the workload of that name, which must be known. Throws, or raises Broken."""
    outcome = Outcome(name)
    kind, amount = parse(name)
    if kind == "default":
        _default(runtime, outcome)
    elif kind != "none":
        _start_up(runtime)
        held = Held(runtime, outcome)
        if kind == "block":
            held.take(amount)
        else:
            for _ in range(0, amount, MIB):
                held.take(MIB)
        held.check()
    return outcome


def parse(name: str) -> tuple[str, int]:
    """(kind, bytes) of a workload's name. Raises ValueError, which says what there is."""
    from .options import parse_size

    if name in ("none", "default"):
        return name, 0
    if name == "hello":
        return "grow", MIB
    kind, _, amount = name.partition(":")
    if kind in ("grow", "block") and amount:
        return kind, parse_size(amount)
    if name.startswith("grow-") and name[5:].isascii() and name[5:].isdigit():
        return "grow", int(name[5:]) * MIB
    raise ValueError(
        f"no workload {name!r}: use none, default, hello, grow:SIZE, grow-MIB or block:SIZE"
    )


def _default(runtime: "Runtime", outcome: Outcome) -> None:
    """Blocks of every class and some large ones; half are freed and taken again; then all go."""
    held = Held(runtime, outcome)
    sizes = [size for size in runtime.classes.size[1:] for _ in range(SMALL_PER_CLASS)]
    sizes += LARGE
    for size in sizes:
        held.take(size)
    held.check()
    held.drop(every=2)
    held.check()
    for size in sizes[::2]:
        held.take(size)
    held.check()
    held.drop()


def _start_up(runtime: "Runtime") -> None:
    """What the runtime does between mallocinit and main, as far as the kernel can see.

    The main goroutine gets its stack; a first collection makes its work chunk, which stays; blocks
    are allocated that take up 26 pages. Which ones they are the traces do not say: here it is one
    of each of the 26 smallest classes with a page to a span. From then on the profiler samples.
    """
    runtime.stackalloc.alloc()
    if runtime.mem.sys_alloc(GC_WORK_CHUNK) == 0:
        runtime.console.printf("panic: invalid memory address or nil pointer dereference\n")
        raise Throw("panic during gc")
    classes = runtime.classes
    for size, npages in zip(classes.size[1:28], classes.allocnpages[1:28], strict=True):
        if npages == 1:
            runtime.malloc(size)
    runtime.mprof = MProf(runtime)
