"""What the subject does with its allocator, and checks of the memory that it gets.

Workloads: `none` (mallocinit only) and `default`. The others do what a Go program of 2012 does,
including what the runtime does before main: `hello` (one block of a MiB, as the reference program),
`grow:SIZE` (blocks of a MiB until SIZE is held), `grow-N` (the same with N MiB), `block:SIZE` (one
block), `small:N:SIZE` (N blocks of SIZE bytes each).
"""

from .mprof import MProf
from .sizes import MAX_SMALL_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .malloc import Runtime

MIB = 1 << 20
SMALL_PER_CLASS = 3  # one block has a neighbour on each side, which shows an overlap
LARGE = (
    32769,
    100_000,
    256 << 10,
    1 * MIB,
    3 * MIB,
)  # a page more than small, odd, below and above HEAP_ALLOC_CHUNK


class Broken(Exception):
    """An allocated block did not keep its contents, was not zero, or overlaps another block."""


class Outcome:
    """Number of small (up to 32 KiB) and large blocks that a workload allocated, and bytes."""

    __slots__ = ("large", "name", "nbytes", "small")

    def __init__(self, name: str) -> None:
        self.name = name
        self.small = self.large = self.nbytes = 0


class Held:
    """The blocks that a workload holds, by address, each filled with its own pattern."""

    __slots__ = ("_blocks", "_outcome", "_runtime", "_shift", "_words")

    def __init__(self, runtime: "Runtime", outcome: Outcome) -> None:
        self._runtime = runtime
        self._words = runtime.kernel.words
        self._shift = runtime.width.shift
        self._outcome = outcome
        self._blocks: dict[int, int] = {}

    def take(self, size: int) -> int:
        """Allocate a block and write its pattern."""
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
        """Check all patterns, and that no two blocks overlap. Raises Broken."""
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
        """Free every n-th block, n being `every`."""
        for v in list(self._blocks)[::every]:
            self._runtime.free(v)
            del self._blocks[v]

    def _places(self, v: int, size: int) -> "range | tuple[int, ...]":
        """Return the words to write: all of a block up to 64 bytes, the ends of a longer block."""
        first, last = v >> self._shift, (v + size >> self._shift) - 1
        return range(first, last + 1) if size <= 64 else (first, first + 1, last - 1, last)


def run(runtime: "Runtime", name: str) -> Outcome:
    """Run a workload. Throws as the runtime does. Raises Broken, ValueError for an unknown name."""
    outcome = Outcome(name)
    count, size = parse(name)
    if name == "default":
        _default(runtime, outcome)
    elif name != "none":
        # observed: the reference program and all programs for 386 collect before the first block
        _start_up(runtime, collects=name == "hello" or runtime.width.pointer == 4)
        held = Held(runtime, outcome)
        for _ in range(count):
            held.take(size)
        held.check()
    return outcome


def parse(name: str) -> tuple[int, int]:
    """Return the number and the bytes of a workload's blocks, (0, 0) for `none` and `default`.

    Raises ValueError, which lists the workloads.
    """
    from .options import parse_size

    if name in ("none", "default"):
        return 0, 0
    if name == "hello":
        return 1, MIB
    kind, _, amount = name.partition(":")
    if kind == "grow" and amount:
        return -(-parse_size(amount) // MIB), MIB
    if kind == "block" and amount:
        return 1, parse_size(amount)
    if kind == "small":
        count, _, size = amount.partition(":")
        if _is_number(count) and size and parse_size(size) <= MAX_SMALL_SIZE:
            return int(count), parse_size(size)
    if name.startswith("grow-") and _is_number(name[5:]):
        return int(name[5:]), MIB
    raise ValueError(
        f"unknown workload {name!r}: use none, default, hello, grow:SIZE, grow-MIB, block:SIZE, or "
        "small:N:SIZE with a SIZE of at most 32K"
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _default(runtime: "Runtime", outcome: Outcome) -> None:
    """Allocate blocks of all classes and large ones, free and reallocate half, free all."""
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


def _start_up(runtime: "Runtime", *, collects: bool) -> None:
    """What the runtime does between mallocinit and main, as far as the kernel can see.

    The main goroutine gets its stack, and small blocks use 26 pages. The traces do not show their
    sizes: here it is one block of each of the 26 smallest classes with one page for a span. With
    `collects` they end with a collection, else the first block of the workload does. From then on
    the profiler samples.
    """
    runtime.stackalloc.alloc()
    if collects:
        runtime.enable_gc()
    classes = runtime.classes
    for size, npages in zip(classes.size[1:28], classes.allocnpages[1:28], strict=True):
        if npages == 1:
            runtime.malloc(size)
    runtime.mprof = MProf(runtime.mem)
    if not collects:
        runtime.enable_gc()
