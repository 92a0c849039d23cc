"""The command line: few options, so they are read by hand (argparse would double the start)."""

from .value import Value

HELP = """\
usage: python3 -m allocator [options]        (in a guest: python3 -I -S allocator/boot.py [options])

Allocate as Go's runtime of 2012 did, and report it as JSON lines. Standard error has what the
runtime itself printed; exit status 0, or the runtime's own (2, 3), or 1 if memory was broken.

  --policy NAME     which reservation logic (after):
                    {policies}
  --workload NAME   none, default, hello, grow:SIZE, grow-MIB, block:SIZE (default)
  --hold            wait for a line on standard input once the arena is reserved, and at the end
  --trace           put every call to the kernel into the report
  --end ADDRESS     end of the image, before the low arena (this process's; Go's is 0x2443a68,
                    with pointers of 4 bytes 0x847da08)
  --image SIZE      text, data and bss, which the policy memlimit takes off (Go's)
  --kernel KIND     real, or model: an address space held in memory (real), with
    --pointer-size BYTES  8, or 4: a machine of 32 bits (8)
    --task-size SIZE      its size in bytes, or in bits up to 64 (47; 3 GiB with 4-byte pointers)
    --placement WAY       top-down or bottom-up (top-down)
    --mmap-base ADDRESS   where placement begins (below the top; for bottom-up 0x40000000)
    --rlimit-as SIZE      RLIMIT_AS; what is occupied counts (none)
    --ignore-hints        place mappings as if no address had been given
    --occupied FROM-TO    a range that is taken; may be repeated
    --fail CALL:N:ERRNO   the n-th call of a name fails; may be repeated

Sizes: 4096, 0x1000, 300M, 2G (binary units).
"""


class UsageError(Exception):
    """The command line makes no sense; the message names cause and remedy."""


class Options(Value):
    """The command line, read. `end` None is this process's own, `model` None the real kernel."""

    __slots__ = ("end", "help", "hold", "image", "model", "policy", "trace", "workload")
    policy: str
    workload: str
    hold: bool
    trace: bool
    end: int | None
    image: int | None
    model: "Model | None"
    help: bool


class Model(Value):
    """What the model kernel is made with: see `modelkernel.ModelKernel`."""

    __slots__ = (
        "failures", "hints_honoured", "mmap_base", "occupied", "pointer_size", "rlimit_as",
        "task_size", "top_down",
    )  # fmt: skip
    pointer_size: int
    task_size: int | None
    top_down: bool
    mmap_base: int | None
    rlimit_as: int | None
    hints_honoured: bool
    occupied: tuple[tuple[int, int], ...]
    failures: tuple[tuple[str, int, int], ...]


VALUED = (
    "--policy", "--workload", "--end", "--image", "--kernel", "--task-size", "--placement",
    "--mmap-base", "--rlimit-as", "--occupied", "--fail", "--pointer-size",
)  # fmt: skip
FLAGS = ("--hold", "--trace", "--help", "--ignore-hints")
OF_MODEL = {"--task-size", "--placement", "--mmap-base", "--rlimit-as", "--occupied", "--fail",
            "--ignore-hints", "--pointer-size"}  # fmt: skip
REPEATED = ("--occupied", "--fail")


def parse(argv: list[str]) -> Options:
    """Read the arguments after the program's name. Raises UsageError."""
    given: dict[str, list[str]] = {}
    rest = iter(argv)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == "-h":
            name = "--help"
        if name in FLAGS:
            if equals:
                raise UsageError(f"{name} takes no value: leave out {value!r}")
            given[name] = [""]
        elif name in VALUED:
            if not equals:
                following = next(rest, None)
                if following is None:
                    raise UsageError(f"{name} needs a value: see --help")
                value = following
            if name in REPEATED:
                given.setdefault(name, []).append(value)
            else:
                given[name] = [value]
        else:
            raise UsageError(f"unknown argument {argument!r}: see --help")

    def one(name: str, otherwise: str) -> str:
        return given.get(name, [otherwise])[-1]

    def size(name: str) -> int | None:
        return _named(name, given[name][-1]) if name in given else None

    return Options(
        policy=one("--policy", "after"),
        workload=one("--workload", "default"),
        hold="--hold" in given,
        trace="--trace" in given,
        end=size("--end"),
        image=size("--image"),
        model=_model(given),
        help="--help" in given,
    )


def _model(given: dict[str, list[str]]) -> Model | None:
    kernel = given.get("--kernel", ["real"])[-1]
    if kernel not in ("real", "model"):
        raise UsageError(f"unknown kernel {kernel!r}: use real or model")
    if kernel == "real":
        stray = sorted(OF_MODEL & set(given))
        if stray:
            raise UsageError(f"{stray[0]} is for the model kernel only: add --kernel model")
        return None

    def size(name: str) -> int | None:
        return _named(name, given[name][-1]) if name in given else None

    task_size = size("--task-size")
    placement = given.get("--placement", ["top-down"])[-1]
    if placement not in ("top-down", "bottom-up"):
        raise UsageError(f"--placement {placement!r}: use top-down or bottom-up")
    pointer_size = size("--pointer-size")
    return Model(
        pointer_size=8 if pointer_size is None else pointer_size,
        task_size=None if task_size is None else task_size_of(task_size),
        top_down=placement == "top-down",
        mmap_base=size("--mmap-base"),
        rlimit_as=size("--rlimit-as"),
        hints_honoured="--ignore-hints" not in given,
        occupied=tuple(map(_range, given.get("--occupied", ()))),
        failures=tuple(map(_failure, given.get("--fail", ()))),
    )


def task_size_of(number: int) -> int:
    """Bytes of an address space given in bytes or, up to 64, in bits, less one page."""
    return (1 << number) - 4096 if number <= 64 else number


def parse_size(text: str) -> int:
    """Bytes of `4096`, `0x1000`, `300M`, `2G`, also K, T, P. Raises ValueError."""
    digits, unit = text.strip(), 1
    if digits[:2].lower() != "0x" and digits[-1:].upper() in ("K", "M", "G", "T", "P"):
        unit = 1024 ** (" KMGTP".index(digits[-1].upper()))
        digits = digits[:-1]
    try:
        if not digits.isascii() or digits[:1] in "+-_" or len(digits) > 40:
            raise ValueError
        number = int(digits, 16 if digits[:2].lower() == "0x" else 10) * unit
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no size: write 4096, 0x1000, 300M or 2G") from None
    if number >= 1 << 64:
        raise ValueError(f"{text[:60]!r} is too large: a size has at most 64 bits")
    return number


def _named(name: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _range(text: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    if not dash:
        raise UsageError(f"--occupied {text!r}: write two addresses as FROM-TO")
    low, high = _named("--occupied", start), _named("--occupied", end)
    if low >= high or low % 4096 or high % 4096:
        raise UsageError(f"--occupied {text!r}: must be whole pages, and FROM below TO")
    return low, high


def _failure(text: str) -> tuple[str, int, int]:
    call, _, rest = text.partition(":")
    nth, _, errno = rest.partition(":")
    if call not in ("mmap", "munmap", "mincore", "getrlimit") or not (
        nth.isdigit() and errno.isdigit() and int(nth) > 0 and 0 < int(errno) < 4096
    ):
        raise UsageError(f"--fail {text!r}: write CALL:N:ERRNO, as mmap:2:12")
    return call, int(nth), int(errno)
